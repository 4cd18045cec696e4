//! The one test binary: the link is paid once.

mod mirror;
