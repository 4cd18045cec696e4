//! From the `route_*` keywords of a `route` section to a [`Forward`].

use std::collections::BTreeSet;

use super::hash::hash_policies;
use super::model::{Forward, Target};
use super::{policies, spread, texts};
use crate::gateway::exposes::Exposed;
use crate::inventory::Problem;
use crate::inventory::keywords::Keywords;

/// Reads how the requests of a route are forwarded.
///
/// # Errors
/// The first keyword that cannot be taken and that decides what the instance is asked for.
pub(super) fn forward(
    exposed: &Exposed<'_>,
    keywords: &Keywords<'_>,
    problems: &mut BTreeSet<Problem>,
) -> Result<Forward, Problem> {
    let header = texts::header(keywords, "route_cluster_header")?;
    let weighted = spread::weighted(exposed, keywords)?;
    if header.is_some() && weighted.is_some() {
        let reason = "has both route_cluster_header and weighted_exposes";
        return Err(keywords.problem("", reason));
    }
    let owner = &exposed.owner;
    let namespace = (!owner.is_in_root()).then(|| owner.namespace());
    let to = match header {
        Some(header) => Target::ClusterHeader {
            header,
            namespace: namespace.map(str::to_owned),
        },
        None => weighted.unwrap_or_else(|| Target::Cluster(exposed.cluster())),
    };
    Ok(Forward {
        to,
        prefix_rewrite: texts::path(keywords, "route_prefix_rewrite")?,
        host_rewrite: texts::host(keywords, "route_host_rewrite")?,
        timeout_ms: tuning(texts::milliseconds(keywords, "route_timeout"), problems),
        websocket: tuning(keywords.boolean("route_use_websocket"), problems),
        hash_policies: hash_policies(exposed, keywords, problems),
        retry: tuning(policies::retry(keywords), problems).map(Box::new),
        mirror: tuning(spread::mirror(exposed, keywords), problems).map(Box::new),
    })
}

/// What only tunes is as if it were not set where it is bad.
fn tuning<T>(value: Result<Option<T>, Problem>, problems: &mut BTreeSet<Problem>) -> Option<T> {
    value.unwrap_or_else(|problem| {
        problems.insert(problem.hence("it has no effect"));
        None
    })
}

/// Whether the keyword says anything; an empty text or list does not.
pub(super) fn is_set(keywords: &Keywords<'_>, keyword: &str) -> bool {
    keywords.value(keyword).is_some_and(|value| {
        value.as_str() != Some("") && value.as_array().is_none_or(|list| !list.is_empty())
    })
}

/// The keywords that a redirect has no use for.
pub(super) const FORWARD_KEYWORDS: &[&str] = &[
    "hash_policies",
    "mirror_expose",
    "retry_count",
    "retry_on",
    "retry_timeout",
    "route_cluster_header",
    "route_host_rewrite",
    "route_prefix_rewrite",
    "route_timeout",
    "route_use_websocket",
    "weighted_exposes",
];
