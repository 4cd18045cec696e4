//! osvc-igw: the ingress gateway controller of OpenSVC clusters.

pub mod bootstrap;
pub mod inventory;
pub mod opensvc;
pub mod xds;
