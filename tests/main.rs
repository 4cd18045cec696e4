//! The one test binary: the link is paid once.

mod captures;
mod fake;
mod mirror;
mod random;
mod raw;
