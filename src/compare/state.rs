//! EDGE: what would be served, from the daemon as it is now: one full status, and every read that
//! it takes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{sleep_until, timeout_at};

use super::{Error, put, saved};
use crate::clock::now;
use crate::gateway::{Policy, Want, compile};
use crate::inventory::{Config, Event, Inventory, NodeStatus, ObjectPath, Problem};
use crate::opensvc::{self, Daemon};
use crate::reads::Reads;
use crate::xds::{Encoding, Snapshot};

/// Where a state is from.
pub(super) enum Source {
    /// From the daemon.
    Daemon(Arc<dyn Daemon>),
    /// From a file: what else would be read is not to be had.
    Saved,
}

/// A state, and what would be served for it.
#[derive(Clone)]
pub(super) struct State {
    pub(super) inventory: Inventory,
    pub(super) snapshot: Snapshot,
    pub(super) problems: BTreeSet<Problem>,
}

impl Source {
    /// Everything that the daemon tells.
    pub(super) async fn inventory(&self, notes: &mut Vec<String>) -> Result<Inventory, Error> {
        let Self::Daemon(daemon) = self else {
            return Ok(Inventory::default());
        };
        let mut inventory = Inventory::default();
        let mut events = daemon.watch();
        let (end, mut whole) = (now() + PATIENCE, false);
        let mut settled_by = end;
        while !whole || (starting(&inventory).is_some() && now() < settled_by) {
            let next = timeout_at(if whole { settled_by } else { end }, events.next());
            match next.await {
                Ok(Some(event)) => {
                    let event = event?;
                    if matches!(event, Event::Reset(_)) {
                        whole = true;
                        settled_by = now() + STARTING_MAX;
                    }
                    put(&mut inventory, event);
                }
                Ok(None) => return Err(opensvc::Error::Closed.into()),
                Err(_) if whole => break,
                Err(_) => {
                    return Err(Error::Unsettled {
                        seconds: PATIENCE.as_secs(),
                        missing: "its status".to_owned(),
                    });
                }
            }
        }
        if let Some(node) = starting(&inventory) {
            notes.push(format!(
                "the daemon of {node} is starting, and has not told all yet"
            ));
        }
        Ok(inventory)
    }

    /// Compiles, and reads what that takes, until nothing more is wanted. What the account may
    /// not read is left out, and is a problem.
    pub(super) async fn settle(
        &self,
        mut inventory: Inventory,
        policy: &Policy,
        known: &[(ObjectPath, Config)],
    ) -> Result<State, Error> {
        let mut problems;
        let gateway = match self {
            Self::Saved => loop {
                let compiled = compile(&inventory, policy);
                if !saved::answer(&mut inventory, &compiled.wants, known) {
                    problems = compiled.problems;
                    break compiled.gateway;
                }
            },
            Self::Daemon(daemon) => {
                let mut reads = Reads::new(Arc::clone(daemon));
                let end = now() + PATIENCE;
                loop {
                    let compiled = compile(&inventory, policy);
                    reads.want(compiled.wants.clone(), false);
                    if reads.is_idle() {
                        problems = compiled.problems;
                        break compiled.gateway;
                    }
                    loop {
                        tokio::select! {
                            event = reads.next() => put(&mut inventory, event),
                            () = sleep_until(end) => return Err(unread(&compiled.wants)),
                        }
                        if reads.is_done() {
                            break;
                        }
                    }
                }
            }
        };
        let mut encoding = Encoding::with_scopes_above(policy.scoped_routes_above);
        encoding.follow(&gateway);
        problems.extend(encoding.problems().cloned());
        let snapshot = encoding.snapshot().clone();
        Ok(State {
            inventory,
            snapshot,
            problems,
        })
    }
}

fn starting(inventory: &Inventory) -> Option<&String> {
    let mut nodes = inventory.nodes.iter();
    let starts = nodes.find(|(_, status)| **status == NodeStatus::Starting);
    starts.map(|(name, _)| name)
}

fn unread(wants: &BTreeSet<Want>) -> Error {
    let names: BTreeSet<String> = wants.iter().map(|want| want.path().to_string()).collect();
    let shown: Vec<&str> = names.iter().map(String::as_str).take(SHOWN_MAX).collect();
    Error::Unsettled {
        seconds: PATIENCE.as_secs(),
        missing: format!("what is in {}", shown.join(", ")),
    }
}

/// How long the daemon may take to tell everything.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long nodes are waited for that are starting.
const STARTING_MAX: Duration = Duration::from_secs(5);
/// How many objects an error names.
const SHOWN_MAX: usize = 5;
