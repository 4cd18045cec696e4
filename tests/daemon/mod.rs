//! Every way to a daemon, against the simulated one: what it tells, what it is asked, and every
//! fault that it can have. What is the same over each way is one suite.

mod faults;
mod login;

mod sites;

pub(crate) use sites::{Calm, Served, Site, Way};
