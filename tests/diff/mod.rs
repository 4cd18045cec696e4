//! What would change and what it does: the difference in its forms, its command, and whether Envoy
//! and the controller keep its word.

mod golden;
mod impact;
