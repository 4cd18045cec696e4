//! What would change and what it does: the difference in its forms, its command, and whether Envoy
//! and the controller keep its word.

mod command;
pub(crate) mod envoy;
mod golden;
mod impact;
mod predict;
pub(crate) mod readme;
mod scene;
