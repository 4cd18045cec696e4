//! What more than one test needs. No test lives here.

pub(crate) mod envoy;
