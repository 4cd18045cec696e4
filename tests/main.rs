//! The one test binary: the link is paid once.

mod captures;
mod mirror;
mod random;
