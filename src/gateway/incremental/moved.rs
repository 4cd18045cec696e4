//! Services of which nothing changed but the addresses: what they are and where each is up. That
//! is most of what happens in a cluster, and it touches nothing but endpoints.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::exposes::{cluster, endpoints_of, owner};
use super::super::{Endpoint, LbPolicy};
use super::parts::Id;
use super::{Incremental, objects_of};
use crate::inventory::{Instance, Inventory, Object, ObjectPath, Resource};

/// The endpoints of a cluster, and the part that it is in.
type Moved = (Id, String, Arc<Vec<Endpoint>>);

impl Incremental {
    /// Takes in that these objects were told anew. Returns whether that was all there was to do;
    /// if not, nothing was done.
    pub(super) fn move_endpoints(
        &mut self,
        inventory: &Inventory,
        put: &BTreeSet<ObjectPath>,
    ) -> bool {
        let told = put.iter().map(|path| inventory.objects.get(path));
        let Some(told) = told.collect::<Option<Vec<&Arc<Object>>>>() else {
            return false;
        };
        let Some(moved) = self.moved(inventory, &told) else {
            return false;
        };
        for (id, cluster, endpoints) in moved {
            let part = self.parts.get_mut(&id);
            if let Some(known) = part.and_then(|part| part.piece.endpoints.get_mut(&cluster)) {
                *known = Arc::clone(&endpoints);
            }
            self.gateway.endpoints.insert(cluster, endpoints);
        }
        for object in told {
            if let Some(member) = self.owners.get_mut(&object.path) {
                member.object = Arc::clone(object);
            }
        }
        true
    }

    /// What moved; `None` where more than that may have happened.
    fn moved(&self, inventory: &Inventory, told: &[&Arc<Object>]) -> Option<Vec<Moved>> {
        if !self.asking.is_empty() {
            return None;
        }
        let mut concerned = BTreeSet::new();
        for object in told {
            let (_, owner) = owner(object)?;
            if owner != self.owners.get(&object.path)?.owner {
                return None;
            }
            concerned.insert(owner);
        }
        let mut moved = Vec::new();
        for owner in concerned {
            moved.extend(self.moved_of(inventory, &owner)?);
        }
        Some(moved)
    }

    /// The endpoints of an owner that are others now; `None` where there is more to tell of it
    /// than endpoints.
    fn moved_of(&self, inventory: &Inventory, path: &ObjectPath) -> Option<Vec<Moved>> {
        let id = *self.part_of.get(path)?;
        let part = self.parts.get(&id)?;
        let told = &part.piece.sets;
        if !told.problems.is_empty() || !told.wants.is_empty() {
            return None;
        }
        let members = self.members.get(path)?;
        let objects = objects_of(inventory, members);
        // What becomes of one can change another: a slave takes over from its scaler.
        for (_, object) in &objects {
            let before = &self.owners.get(&object.path)?.object;
            if !std::ptr::eq(before.as_ref(), *object) && !is_moved(before, object) {
                return None;
            }
        }
        if objects.len() != members.len() {
            return None;
        }
        let mut moved = Vec::new();
        for (section, endpoints) in endpoints_of(inventory, path, &objects)? {
            let cluster = cluster(path, section);
            match part.piece.endpoints.get(&cluster) {
                Some(known) if **known == endpoints => {}
                Some(_) => moved.push((id, cluster, Arc::new(endpoints))),
                // Envoy finds the hosts of such a cluster itself.
                None if part.piece.clusters.get(&cluster)?.lb_policy == LbPolicy::OriginalDst => {}
                None => return None,
            }
        }
        Some(moved)
    }
}

/// Whether an object differs in nothing but what becomes an endpoint, or how it is.
fn is_moved(before: &Object, now: &Object) -> bool {
    let same = |one: &Object| (one.slave, one.instances.len());
    let mut instances = before.instances.iter().zip(&now.instances);
    same(before) == same(now)
        && before.revision == now.revision
        && instances.all(|((node, before), (same_node, now))| {
            node == same_node && is_moved_instance(before, now)
        })
}

fn is_moved_instance(before: &Instance, now: &Instance) -> bool {
    let same = |one: &Instance| (one.failover, one.scaler, one.resources.len());
    let mut resources = before.resources.iter().zip(now.resources.iter());
    let mut are_moved = || {
        resources.all(|((rid, before), (same_rid, now))| {
            rid == same_rid && (before == now || is_moved_ip(before, now))
        })
    };
    same(before) == same(now) && (Arc::ptr_eq(&before.resources, &now.resources) || are_moved())
}

fn is_moved_ip(before: &Resource, now: &Resource) -> bool {
    before.is_of("ip")
        && before.driver == now.driver
        && before
            .keywords
            .differ_in_no_more_than(&now.keywords, ADDRESS)
}

/// Where an ip is.
const ADDRESS: &str = "ipaddr";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Name, Table, Values};

    fn object() -> Object {
        let resource = |driver: &str, keyword: &str| {
            let keywords = Values::from([(keyword, "x".into())]);
            Arc::new(Resource {
                driver: driver.to_owned().into(),
                status: "up".into(),
                keywords,
            })
        };
        let instance = Instance {
            resources: Arc::new(Table::from([
                ("expose#0".to_owned(), resource("expose.envoy", "sni")),
                ("ip#1".to_owned(), resource("ip.cni", "ipaddr")),
            ])),
            ..Instance::default()
        };
        Object {
            path: "test/svc/web".parse().unwrap(),
            revision: "n1=a".into(),
            slave: false,
            instances: Table::from([("n1".to_owned(), instance)]),
        }
    }

    #[track_caller]
    fn check(expected: bool, change: impl FnOnce(&mut Object, &str)) {
        let mut now = object();
        change(&mut now, "n1");
        assert_ne!(now, object());
        assert_eq!(is_moved(&object(), &now), expected);
    }

    fn change(object: &mut Object, section: &str, change: impl FnOnce(&mut Resource)) {
        let instance = object.instances.get_mut("n1").unwrap();
        change(Arc::make_mut(
            instance.resources_mut().get_mut(section).unwrap(),
        ));
    }

    #[test]
    fn an_address_and_how_an_instance_is_are_no_more_than_endpoints() {
        check(true, |it, node| {
            it.instances.get_mut(node).unwrap().monitor = "stopping".into();
        });
        check(true, |it, _| {
            change(it, "ip#1", |ip| ip.status = "down".into())
        });
        check(true, |it, _| {
            change(it, "ip#1", |ip| ip.keywords.insert("ipaddr", 1));
        });
    }

    #[test]
    fn everything_else_is_more_than_that() {
        check(false, |it, _| it.revision = Name::default());
        check(false, |it, _| it.slave = true);
        check(false, |it, node| {
            let instance = it.instances.remove(node).unwrap();
            it.instances.insert("n2".to_owned(), instance);
        });
        check(false, |it, node| {
            it.instances.get_mut(node).unwrap().scaler = true
        });
        check(false, |it, node| {
            it.instances
                .get_mut(node)
                .unwrap()
                .resources_mut()
                .remove("expose#0");
        });
        check(false, |it, _| {
            change(it, "ip#1", |ip| ip.driver = "ip".into())
        });
        check(false, |it, _| {
            change(it, "ip#1", |ip| ip.keywords.insert("expose", 1));
        });
        check(false, |it, _| {
            change(it, "expose#0", |one| one.keywords.insert("sni", 1));
        });
        check(false, |it, _| {
            change(it, "expose#0", |one| one.status = "down".into())
        });
    }
}
