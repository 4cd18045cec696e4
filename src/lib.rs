//! osvc-igw: the ingress gateway controller of OpenSVC clusters.

pub mod admin;
pub mod ads;
pub mod backoff;
pub mod bootstrap;
pub mod config;
pub mod controller;
pub mod demo;
pub mod gateway;
pub mod inventory;
pub mod opensvc;
pub mod run;
pub mod sim;
pub mod start;
pub mod xds;
