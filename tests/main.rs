//! The one test binary: the link is paid once.

#![allow(clippy::disallowed_methods, reason = "tests are an edge")]

mod acked;
mod bad_input;
mod bootstrap;
mod captures;
mod controller;
mod convergence;
mod fake;
mod fuzz;
mod golden;
mod mirror;
mod model;
mod pipeline;
mod ports;
mod preflight;
mod process;
mod random;
mod raw;
mod raw_elsewhere;
mod raw_writes;
mod readme;
mod references;
mod refusals;
mod session;
mod status_page;
mod storm;
mod support;
mod tidy;
mod traffic;
mod walk_through;
