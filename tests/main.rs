//! The one test binary: the link is paid once.

#![allow(clippy::disallowed_methods, reason = "tests are an edge")]

mod acked;
mod acme;
mod ask;
mod bad_input;
mod bootstrap;
mod captures;
mod churn;
mod controller;
mod convergence;
mod crowd;
mod daemon;
mod fake;
mod fuzz;
mod golden;
mod graph;
mod grpc;
mod metrics;
mod mirror;
mod model;
mod page;
mod pipeline;
mod ports;
mod preflight;
mod process;
mod random;
mod raw;
mod raw_elsewhere;
mod raw_writes;
mod readme;
mod reconnect;
mod references;
mod refusals;
mod session;
mod state;
mod status;
mod status_page;
mod storm;
mod support;
mod tidy;
mod traces;
mod traffic;
mod variants;
mod walk_through;
mod write_queue;
