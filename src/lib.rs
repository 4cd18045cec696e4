//! osvc-igw: the ingress gateway controller of OpenSVC clusters.

pub mod gateway;
pub mod inventory;
pub mod opensvc;
