//! PURE: what was looked at once and found good, so that the next of its kind is not looked at.
//! The rules of Envoy's API say nothing of which name a thing has; thousands of services differ
//! in little else.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message;

use super::data::Given;
use super::{Version, cluster, route};
use crate::gateway::{Cluster, RouteAction, RouteConfiguration, Target, VirtualHost};
use envoy_types::pb::envoy::config::cluster::v3::Cluster as PbCluster;

/// The shapes of good messages: what each comes to but for the names in it.
#[derive(Debug, Default)]
pub(super) struct Checked(BTreeSet<Version>);

impl Checked {
    pub(super) fn has(&self, shape: Version) -> bool {
        self.0.contains(&shape)
    }

    pub(super) fn add(&mut self, shape: Version) {
        if self.0.len() >= SHAPES_MAX {
            self.0.clear();
        }
        self.0.insert(shape);
    }
}

/// The shape of a cluster.
pub(super) fn of_cluster(value: &Cluster, given: Given<PbCluster>) -> Version {
    Version::of(&cluster::encode(ANY_NAME, value, given).encode_to_vec())
}

/// The shape of a virtual host.
pub(super) fn of_host(host: &VirtualHost) -> Version {
    let mut host = host.clone();
    rename(&mut host.name);
    host.domains.iter_mut().for_each(rename);
    for route in &mut host.routes {
        let RouteAction::Forward(forward) = &mut route.action else {
            continue;
        };
        match &mut forward.to {
            Target::Cluster(cluster) => rename(cluster),
            Target::ClusterHeader { .. } => {}
            Target::Weighted(parts) => parts.iter_mut().for_each(|part| rename(&mut part.cluster)),
        }
        if let Some(mirror) = &mut forward.mirror {
            rename(&mut mirror.cluster);
        }
    }
    let virtual_hosts = vec![Arc::new(host)];
    let routes = RouteConfiguration { virtual_hosts };
    Version::of(&route::encode(ANY_NAME, &routes, None))
}

/// Puts the same name in the place of any that there is no rule against.
fn rename(name: &mut String) {
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        ANY_NAME.clone_into(name);
    }
}

/// A name with which no rule finds anything wrong.
const ANY_NAME: &str = "x";
/// As many shapes as are worth remembering; a few kilobytes.
const SHAPES_MAX: usize = 4_096;
