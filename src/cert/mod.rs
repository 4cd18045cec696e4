//! PURE: the certificate operator: what the objects of the cluster ask of certificate authorities,
//! what is done next for each, and what is kept of it. The authority is asked in `authority`, the
//! steps are taken in `issue`, and `operator` is the loop; its only output is what it writes to
//! OpenSVC, and the records of challenges that `dns` writes.

mod alpn;
pub mod authority;
pub mod auto;
pub mod declaration;
pub mod dns;
#[cfg(test)]
mod example;
pub mod issue;
pub mod leaf;
pub mod method;
pub mod names;
pub mod operator;
pub mod plan;
mod preflight;
pub mod probe;
mod prove;
pub mod record;
pub mod refusal;
pub mod report;
pub mod schedule;
pub mod survey;
pub mod turn;
pub mod wire;
pub mod writer;
