//! What more than one test needs. No test lives here.

pub(crate) mod chromium;
pub(crate) mod controller;
pub(crate) mod envoy;
pub(crate) mod folder;
pub(crate) mod knot;
pub(crate) mod load;
pub(crate) mod om;
pub(crate) mod page;
pub(crate) mod pebble;
pub(crate) mod relay;
pub(crate) mod rig;
pub(crate) mod session;
pub(crate) mod stand;
pub(crate) mod wire;
