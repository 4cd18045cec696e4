//! osvc-igw: the ingress gateway controller of OpenSVC clusters.

pub mod backoff;
pub mod gateway;
pub mod inventory;
pub mod opensvc;
pub mod xds;
