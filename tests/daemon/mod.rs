//! Every way to a daemon, against the simulated one, recorded traffic and servers that do what a
//! test tells them: what a daemon tells, what it is asked, and every fault that it can have. What
//! is the same over each way is one suite.

mod binary;
mod fake;
mod faults;
mod grants;
mod local;
mod login;
mod rights;
mod sites;
mod streams;
mod transcripts;

use sites::{Calm, Served, Site, Way};
