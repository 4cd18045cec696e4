//! From `weighted_exposes` and `mirror_expose` to the clusters of other exposes of the object.
//! Whether those are served is known only when every expose was compiled. The agent 2.1 has no
//! definition of the keywords.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::model::{Mirror, RouteAction, Target, WeightedCluster};
use super::texts;
use crate::gateway::exposes::Exposed;
use crate::gateway::{Cluster, RouteConfiguration, VirtualHost};
use crate::inventory::Problem;
use crate::inventory::keywords::Keywords;
use crate::named::Named;

/// Reads `weighted_exposes`, such as `expose#1:90 expose#2:10`.
///
/// # Errors
/// A problem for what is none.
pub(super) fn weighted(
    exposed: &Exposed<'_>,
    keywords: &Keywords<'_>,
) -> Result<Option<Target>, Problem> {
    let keyword = "weighted_exposes";
    let mut parts = Vec::new();
    for word in keywords.words(keyword)? {
        let part = word.split_once(':').and_then(|(section, weight)| {
            let weight = weight.parse().ok().filter(|weight| *weight <= WEIGHT_MAX)?;
            let cluster = cluster(exposed, section)?;
            Some(WeightedCluster { cluster, weight })
        });
        match part {
            Some(part) => parts.push(part),
            None => {
                let wrong = format!("is no share such as expose#1:90, 0 to {WEIGHT_MAX}");
                return Err(keywords.problem(keyword, texts::shown(&word, &wrong)));
            }
        }
    }
    if parts.len() > PARTS_MAX {
        let reason = format!("names more than {PARTS_MAX} exposes");
        return Err(keywords.problem(keyword, reason));
    }
    if !parts.is_empty() && parts.iter().all(|part| part.weight == 0) {
        return Err(keywords.problem(keyword, "gives no expose any weight"));
    }
    Ok((!parts.is_empty()).then_some(Target::Weighted(parts)))
}

/// Reads `mirror_expose`, such as `expose#2:10%`; without a percentage it is all requests.
///
/// # Errors
/// A problem for what is none.
pub(super) fn mirror(
    exposed: &Exposed<'_>,
    keywords: &Keywords<'_>,
) -> Result<Option<Mirror>, Problem> {
    let keyword = "mirror_expose";
    let Some(text) = texts::line(keywords, keyword)? else {
        return Ok(None);
    };
    let (section, percent) = text.split_once(':').unwrap_or((&text, "100%"));
    let percent = percent.strip_suffix('%').and_then(|text| text.parse().ok());
    let percent = percent.filter(|percent| *percent <= 100);
    match (cluster(exposed, section), percent) {
        (Some(cluster), Some(percent)) => Ok(Some(Mirror { cluster, percent })),
        _ => {
            let reason = texts::shown(&text, "is no mirror such as expose#2:10%");
            Err(keywords.problem(keyword, reason))
        }
    }
}

fn cluster(exposed: &Exposed<'_>, section: &str) -> Option<String> {
    let number = section.strip_prefix("expose#")?;
    (!number.is_empty()).then(|| format!("{}.{section}", exposed.owner))
}

/// Takes out of the routes what names a cluster that is not served, so that Envoy takes the rest.
/// A route that is left with none goes where it would go without the keyword.
pub fn settle(
    routes: &mut Named<RouteConfiguration>,
    clusters: &Named<Cluster>,
    problems: &mut BTreeSet<Problem>,
) {
    routes.change_all(|routes| {
        for host in &mut routes.virtual_hosts {
            settle_host(Arc::make_mut(host), clusters, problems);
        }
    });
}

fn settle_host(
    host: &mut VirtualHost,
    clusters: &Named<Cluster>,
    problems: &mut BTreeSet<Problem>,
) {
    let VirtualHost {
        origin,
        cluster: own,
        routes,
        ..
    } = host;
    for route in routes {
        let RouteAction::Forward(forward) = &mut route.action else {
            continue;
        };
        let mut is_served = |cluster: &str, keyword: &str| {
            let served = clusters.contains_key(cluster);
            if !served {
                problems.insert(Problem {
                    object: origin.object.clone(),
                    section: route.section.clone(),
                    keyword: keyword.to_owned(),
                    reason: format!("{cluster} is not served; it gets nothing"),
                });
            }
            served
        };
        if let Target::Weighted(parts) = &mut forward.to {
            parts.retain(|part| is_served(&part.cluster, "weighted_exposes"));
            if parts.iter().all(|part| part.weight == 0) {
                forward.to = Target::Cluster(own.clone());
            }
        }
        let mirror = forward.mirror.take();
        forward.mirror = mirror.filter(|mirror| is_served(&mirror.cluster, "mirror_expose"));
    }
}

/// Finer shares than one in a million are not asked for.
const WEIGHT_MAX: u32 = 1_000_000;
/// With the largest weights their sum still fits in 32 bits, which Envoy asks for.
const PARTS_MAX: usize = 1_000;
