//! The other side, for tests and the demo. It imports nothing from the rest of the crate,
//! because a shared bug is a hidden bug, and the program never uses it.

pub mod backend;
pub mod certificate;
