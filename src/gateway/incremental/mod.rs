//! Compiling what changed. The services are compiled one by one, each as if there were no other,
//! and those that are in each other's way together; what they come to is put together by name. A
//! change costs what it touches, and comes to the same as [`compile`] of everything.
//!
//! Why that is so: exposes meet in the claims to their listeners alone. A claim is made, or lost to
//! one that was made before. Where no two parts have the same claim when each was compiled by
//! itself, none would have lost one to the other, in whichever order they had been compiled. Who
//! has lost something stays together with all who have it, as it is told who was the first of them.

mod counted;
mod few;
mod merge;
mod moved;
mod parts;
mod piece;
mod settled;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::compile::{Compiled, compile, draft};
use super::exposes::{in_order, of_owner, owner};
use super::{Gateway, Policy, settle};
use crate::inventory::{Inventory, Object, ObjectPath, Touched};
use few::Few;
use parts::{Holders, Id, remove};
use piece::{Piece, Sets};
use settled::{Counts, Shares};

/// Compiles an inventory again and again.
#[derive(Debug)]
pub struct Incremental {
    policy: Policy,
    /// The services by whom they are served for, and those that are.
    members: BTreeMap<ObjectPath, Few<ObjectPath>>,
    owners: BTreeMap<ObjectPath, Member>,
    /// The objects that may carry challenges.
    carriers: BTreeSet<ObjectPath>,
    parts: BTreeMap<Id, Box<Part>>,
    part_of: BTreeMap<ObjectPath, Id>,
    /// The owners that name a `sec` object.
    users: BTreeMap<ObjectPath, Few<ObjectPath>>,
    next: Id,
    holders: Holders,
    shares: Shares,
    /// The parts in which a port is asked for.
    asking: BTreeSet<Id>,
    /// What all parts come to, but for the answers to challenges.
    gateway: Gateway,
    /// What the answers to challenges brought beside it.
    answers: Sets,
    counts: Counts,
    compiled: Compiled,
    /// What everything comes to while a port is asked for, which depends on all others.
    whole: Option<Compiled>,
}

/// A service.
#[derive(Debug)]
struct Member {
    owner: ObjectPath,
    /// What was known of it when it was compiled.
    object: Arc<Object>,
}

/// Some owners that are compiled together.
#[derive(Debug)]
struct Part {
    owners: Box<[ObjectPath]>,
    piece: Piece,
    asks: bool,
}

impl Incremental {
    /// Compiles nothing yet.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            members: BTreeMap::new(),
            owners: BTreeMap::new(),
            carriers: BTreeSet::new(),
            parts: BTreeMap::new(),
            part_of: BTreeMap::new(),
            users: BTreeMap::new(),
            next: 0,
            holders: Holders::default(),
            shares: Shares::default(),
            asking: BTreeSet::new(),
            gateway: Gateway::default(),
            answers: Sets::default(),
            counts: Counts::default(),
            compiled: Compiled::default(),
            whole: None,
        }
    }

    /// What the inventory came to when it was last followed: what [`compile`] would say.
    pub fn compiled(&self) -> &Compiled {
        self.whole.as_ref().unwrap_or(&self.compiled)
    }

    /// Compiles what was touched since the last time. Returns whether the problems, or those that
    /// time will bring, may be others.
    pub fn follow(&mut self, inventory: &Inventory, touched: &Touched) -> bool {
        let had_whole = self.whole.is_some();
        let owners = match touched {
            Touched::All => {
                let policy = self.policy.clone();
                *self = Self::new(policy);
                self.index(inventory, inventory.objects.keys())
            }
            Touched::Objects { put, others } => {
                if others.is_empty() && self.move_endpoints(inventory, put) {
                    self.answer(inventory);
                    return std::mem::take(&mut self.counts.problems.changed);
                }
                self.index(inventory, put.union(others))
            }
        };
        self.replace(inventory, owners);
        self.answer(inventory);
        let asks = !self.asking.is_empty();
        self.whole = asks.then(|| compile(inventory, &self.policy));
        let counts = &mut self.counts;
        let problems = std::mem::take(&mut counts.problems.changed);
        let expiries = std::mem::take(&mut counts.expiries.changed);
        problems || expiries || asks || had_whole || *touched == Touched::All
    }

    /// Notes who serves these objects now; returns the owners that they concern.
    fn index<'p>(
        &mut self,
        inventory: &Inventory,
        paths: impl IntoIterator<Item = &'p ObjectPath>,
    ) -> BTreeSet<ObjectPath> {
        let mut concerned = BTreeSet::new();
        for path in paths {
            concerned.extend(self.users.get(path).into_iter().flatten().cloned());
            if let Some(Member { owner, .. }) = self.owners.remove(path) {
                remove(&mut self.members, &owner, |members| {
                    members.remove(path);
                    members.is_empty()
                });
                concerned.insert(owner);
            }
            let object = inventory.objects.get(path);
            let owner = object.and_then(|object| Some((object, owner(object)?.1)));
            if let Some((object, owner)) = owner {
                let members = self.members.entry(owner.clone()).or_default();
                members.insert(path.clone());
                let member = Member {
                    owner: owner.clone(),
                    object: Arc::clone(object),
                };
                self.owners.insert(path.clone(), member);
                concerned.insert(owner);
            }
            if settle::is_carrier(path) {
                match object {
                    Some(_) => self.carriers.insert(path.clone()),
                    None => self.carriers.remove(path),
                };
            }
        }
        concerned
    }

    /// Compiles these owners anew, and those with which they were compiled together.
    fn replace(&mut self, inventory: &Inventory, owners: BTreeSet<ObjectPath>) {
        let mut stale = Vec::new();
        let mut waiting: Vec<BTreeSet<ObjectPath>> = Vec::new();
        for owner in owners {
            let known = self.part_of.get(&owner).copied();
            if let Some((id, part)) = known.and_then(|id| Some((id, self.take(id)?))) {
                let alone = part.owners.iter().map(|one| BTreeSet::from([one.clone()]));
                waiting.extend(alone);
                stale.push((id, part));
            }
            waiting.push(BTreeSet::from([owner]));
        }
        let mut fresh = BTreeSet::new();
        while let Some(mut owners) = waiting.pop() {
            // One may wait twice.
            owners.retain(|owner| self.members.contains_key(owner));
            let known = owners.iter().any(|owner| self.part_of.contains_key(owner));
            if owners.is_empty() || known {
                continue;
            }
            let part = self.part(inventory, owners);
            let in_the_way = self.holders.in_the_way(&part.piece);
            if in_the_way.is_empty() {
                fresh.insert(self.put(part));
                continue;
            }
            let mut together: BTreeSet<ObjectPath> = part.owners.into_iter().collect();
            for id in in_the_way {
                let Some(other) = self.take(id) else {
                    continue;
                };
                together.extend(other.owners.iter().cloned());
                if !fresh.remove(&id) {
                    stale.push((id, other));
                }
            }
            waiting.push(together);
        }
        self.settle(&fresh, &stale);
    }

    /// Compiles some owners together.
    fn part(&self, inventory: &Inventory, owners: BTreeSet<ObjectPath>) -> Part {
        let mut compiled = Compiled::default();
        let (problems, wants) = (&mut compiled.problems, &mut compiled.wants);
        let mut exposes = Vec::new();
        for owner_path in &owners {
            let members = self.members.get(owner_path).into_iter().flatten();
            let objects = objects_of(inventory, members);
            let policy = &self.policy;
            exposes.extend(of_owner(
                inventory, policy, owner_path, &objects, problems, wants,
            ));
        }
        let asks = exposes.iter().any(|exposed| exposed.asks);
        exposes.retain(|exposed| !exposed.asks);
        let piece = draft(inventory, &self.policy, &exposes, compiled).into();
        Part {
            owners: owners.into_iter().collect(),
            piece,
            asks,
        }
    }

    /// Takes a part in.
    fn put(&mut self, part: Part) -> Id {
        let id = self.next;
        self.next += 1;
        self.holders.add(id, &part.piece);
        for owner in &part.owners {
            self.part_of.insert(owner.clone(), id);
            for path in &part.piece.uses {
                let users = self.users.entry(path.clone()).or_default();
                users.insert(owner.clone());
            }
        }
        if part.asks {
            self.asking.insert(id);
        }
        self.parts.insert(id, Box::new(part));
        id
    }

    /// Takes a part out.
    fn take(&mut self, id: Id) -> Option<Box<Part>> {
        let part = self.parts.remove(&id)?;
        self.holders.remove(id, &part.piece);
        for owner in &part.owners {
            self.part_of.remove(owner);
            for path in &part.piece.uses {
                remove(&mut self.users, path, |users| {
                    users.remove(owner);
                    users.is_empty()
                });
            }
        }
        self.asking.remove(&id);
        Some(part)
    }
}

/// The objects of these paths, as they are served for one owner: in order.
fn objects_of<'i, 'p>(
    inventory: &'i Inventory,
    paths: impl IntoIterator<Item = &'p ObjectPath>,
) -> Vec<(u32, &'i Object)> {
    let objects = paths.into_iter();
    let objects = objects.filter_map(|path| inventory.objects.get(path));
    let mut objects: Vec<_> = objects
        .filter_map(|object| Some((owner(object)?.0, object.as_ref())))
        .collect();
    in_order(&mut objects);
    objects
}
