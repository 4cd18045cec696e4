//! The one test binary: the link is paid once.

#![allow(clippy::disallowed_methods, reason = "tests are an edge")]

mod bootstrap;
mod support;
mod tidy;
