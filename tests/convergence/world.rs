//! Random snapshots that are consistent: what is named exists, and no two listeners share a port.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use osvc_igw::xds::{Resource, ResourceType, Snapshot, Version};

use crate::model::{Bad, Content};
use crate::random::Random;

/// What is to be served, by type and name.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) all: BTreeMap<(ResourceType, String), Content>,
    /// How many of a hundred resources are bad.
    pub(super) bad_percent: usize,
}

impl World {
    /// Changes a few things.
    pub(super) fn change(&mut self, random: &mut Random, now: Duration) {
        for _ in 0..=random.below(3) {
            match random.below(6) {
                0 | 1 => self.roll_cluster(random, now),
                2 => self.roll(random, now, ResourceType::Secret, "s", SECRETS),
                3 => self.roll_route(random, now),
                4 => self.roll_listener(random, now),
                _ => {
                    let name = format!("c{}", random.below(CLUSTERS));
                    if let Some(content) = self.all.get_mut(&(ResourceType::Endpoint, name)) {
                        content.number = random.below(4) as u32;
                    }
                }
            }
        }
        self.repair(random, now);
    }

    fn content(&self, random: &mut Random, now: Duration) -> Content {
        let bad = if random.below(100) >= self.bad_percent {
            Bad::No
        } else {
            match random.below(4) {
                0 => Bad::Root,
                1 => Bad::Until(now.as_secs() + random.below(40) as u64),
                _ => Bad::Yes,
            }
        };
        Content {
            bad,
            number: random.below(3) as u32,
            ..Content::default()
        }
    }

    fn roll(
        &mut self,
        random: &mut Random,
        now: Duration,
        kind: ResourceType,
        letter: &str,
        count: usize,
    ) {
        let name = format!("{letter}{}", random.below(count));
        let content = self.content(random, now);
        self.all.insert((kind, name), content);
    }

    fn roll_cluster(&mut self, random: &mut Random, now: Duration) {
        let name = format!("c{}", random.below(CLUSTERS));
        let key = (ResourceType::Cluster, name.clone());
        if random.below(3) == 0 {
            self.all.remove(&key);
            return;
        }
        let mut content = self.content(random, now);
        content.secret = (random.below(4) == 0).then(|| format!("s{}", random.below(SECRETS)));
        self.all.insert(key, content);
        if random.below(3) == 0 {
            let content = self.content(random, now);
            self.all.insert((ResourceType::Endpoint, name), content);
        }
    }

    fn roll_listener(&mut self, random: &mut Random, now: Duration) {
        let port = random.below(LISTENERS);
        let names = ["l", "m"].map(|letter| format!("{letter}{port}"));
        for name in &names {
            self.all.remove(&(ResourceType::Listener, name.clone()));
        }
        if random.below(4) == 0 {
            return;
        }
        let mut content = self.content(random, now);
        content.port = Some(port as u16);
        content.secret = (random.below(4) == 0).then(|| format!("s{}", random.below(SECRETS)));
        if random.below(3) == 0 {
            content.clusters = self.some_clusters(random);
        } else {
            let letter = ["q", "r"][random.below(2)];
            content.route = Some(format!("{letter}{port}"));
        }
        let name = names[random.below(2)].clone();
        self.all.insert((ResourceType::Listener, name), content);
    }

    fn roll_route(&mut self, random: &mut Random, now: Duration) {
        let letter = ["q", "r"][random.below(2)];
        let mut content = self.content(random, now);
        content.clusters = self.some_clusters(random);
        let name = format!("{letter}{}", random.below(LISTENERS));
        self.all.insert((ResourceType::Route, name), content);
    }

    fn some_clusters(&self, random: &mut Random) -> Vec<String> {
        let names = (0..CLUSTERS).map(|number| format!("c{number}"));
        names.filter(|_| random.below(3) == 0).collect()
    }

    /// Makes it consistent again.
    fn repair(&mut self, random: &mut Random, now: Duration) {
        let keys = |world: &Self, wanted| -> Vec<String> {
            let keys = world.all.keys().filter(|(kind, _)| *kind == wanted);
            keys.map(|(_, name)| name.clone()).collect()
        };
        let clusters = keys(self, ResourceType::Cluster);
        for name in &clusters {
            let content = self.content(random, now);
            let key = (ResourceType::Endpoint, name.clone());
            self.all.entry(key).or_insert(content);
        }
        let contents: Vec<Content> = self.all.values().cloned().collect();
        let routes: Vec<String> = contents
            .iter()
            .filter_map(|one| one.route.clone())
            .collect();
        let secrets: Vec<String> = contents
            .iter()
            .filter_map(|one| one.secret.clone())
            .collect();
        for (kind, names) in [
            (ResourceType::Secret, &secrets),
            (ResourceType::Route, &routes),
        ] {
            for name in names {
                let mut content = self.content(random, now);
                if kind == ResourceType::Route {
                    content.clusters = self.some_clusters(random);
                }
                self.all.entry((kind, name.clone())).or_insert(content);
            }
        }
        self.all.retain(|(kind, name), content| {
            content.clusters.retain(|name| clusters.contains(name));
            match kind {
                ResourceType::Endpoint => clusters.contains(name),
                ResourceType::Route => routes.contains(name),
                _ => true,
            }
        });
    }

    pub(super) fn get(&self, kind: ResourceType, name: &str) -> Option<&Content> {
        self.all.get(&(kind, name.to_owned()))
    }

    /// The snapshot of it, each resource as `change` leaves it.
    pub(super) fn snapshot(&self, change: impl Fn(&mut Resource)) -> Arc<Snapshot> {
        let mut snapshot = Snapshot::default();
        for ((kind, name), content) in &self.all {
            let body = content.encode();
            let mut resource = Resource::new(name, Version::of(&body));
            resource.body = body;
            resource.clusters = content.clusters.as_slice().into();
            resource.warms_until_acked = *kind == ResourceType::Cluster && content.secret.is_some();
            change(&mut resource);
            snapshot.insert(*kind, Arc::new(resource));
        }
        Arc::new(snapshot)
    }
}

const CLUSTERS: usize = 5;
const SECRETS: usize = 3;
const LISTENERS: usize = 3;
