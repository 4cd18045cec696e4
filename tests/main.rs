//! The one test binary: the link is paid once.

#![allow(clippy::disallowed_methods, reason = "tests are an edge")]

mod bootstrap;
mod captures;
mod convergence;
mod fake;
mod mirror;
mod model;
mod random;
mod raw;
mod session;
mod support;
mod tidy;
