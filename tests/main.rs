//! The one test binary: the link is paid once.

#![allow(clippy::disallowed_methods, reason = "tests are an edge")]

mod bootstrap;
mod captures;
mod fake;
mod golden;
mod mirror;
mod pipeline;
mod random;
mod raw;
mod references;
mod support;
mod tidy;
