//! osvc-igw: the ingress gateway controller of OpenSVC clusters.

pub mod admin;
pub mod ads;
pub mod backoff;
pub mod config;
pub mod controller;
pub mod gateway;
pub mod inventory;
pub mod opensvc;
pub mod run;
pub mod xds;
