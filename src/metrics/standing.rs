//! How things stand when the page is asked for.

use std::collections::BTreeMap;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Labels, PREFIX};

/// How things stand when the page is asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Standing {
    /// Whether a snapshot of the daemon's has been published.
    pub ready: bool,
    /// Whether what is served was saved by an earlier process.
    pub stale: bool,
    /// Whether the daemon is being followed.
    pub connected: bool,
    /// How often its full status was taken.
    pub syncs: u64,
    /// In how many places one showed that what was followed had gone wrong.
    pub corrections: u64,
    /// When the controller started, in seconds since 1970.
    pub started: u64,
    /// The section of each problem.
    pub problems: Vec<String>,
    /// How many rights the account at the daemon lacks.
    pub lacks: u64,
    /// How many instances are held.
    pub held: u64,
    /// How many writes the daemon does not show yet.
    pub writes: u64,
    /// How many resources are served, by type.
    pub resources: BTreeMap<&'static str, u64>,
    /// How many streams there are.
    pub streams: u64,
    /// How many of them have not got all that is served.
    pub unsynced: u64,
    /// What is refused: node, type, name, object, section.
    pub refused: Vec<[String; 5]>,
    /// The certificates, by object.
    pub certificates: BTreeMap<String, Certificate>,
}

/// A certificate of an object.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Certificate {
    /// When the one that is served expires, in seconds since 1970.
    pub not_after: Option<i64>,
    /// Whether the newest content of the object is not served.
    pub flawed: bool,
}

impl Standing {
    pub(super) fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix(PREFIX);
        self.numbers(&mut registry);
        let counters = [
            (
                "daemon_full_statuses",
                "Full statuses taken of the OpenSVC daemon: one when it is found, and one for \
                 each resynchronization",
                self.syncs,
            ),
            (
                "daemon_corrections",
                "Places in which a full status showed that what was followed had gone wrong",
                self.corrections,
            ),
        ];
        for (name, help, value) in counters {
            let counter: Counter = Counter::default();
            counter.inc_by(value);
            registry.register(name, help, counter);
        }
        let started: Gauge = Gauge::default();
        started.set(signed(self.started));
        registry.register_with_unit("start_timestamp", "When it started", Unit::Seconds, started);
        self.problems(&mut registry);
        self.certificates(&mut registry);
        self.resources(&mut registry);
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let build = family([(Labels(["version"], [version]), 1)]);
        registry.register("build_info", "The version of this program", build);
        registry
    }

    fn numbers(&self, registry: &mut Registry) {
        let numbers = [
            (
                "ready",
                "Whether a snapshot has been published since the start",
                self.ready.into(),
            ),
            (
                "stale",
                "Whether what is served was saved by an earlier process",
                self.stale.into(),
            ),
            (
                "daemon_connected",
                "Whether the OpenSVC daemon is being followed",
                self.connected.into(),
            ),
            (
                "daemon_rights_missing",
                "Rights that the account at the OpenSVC daemon lacks for what is served",
                self.lacks,
            ),
            (
                "held_instances",
                "Instances that are served although their node does not report them",
                self.held,
            ),
            (
                "writes_waiting",
                "What the OpenSVC daemon is asked to write and does not show yet",
                self.writes,
            ),
            ("xds_streams", "Streams of Envoys", self.streams),
            (
                "xds_streams_unsynced",
                "Streams that have not acknowledged all that is served",
                self.unsynced,
            ),
        ];
        for (name, help, value) in numbers {
            let gauge: Gauge = Gauge::default();
            gauge.set(signed(value));
            registry.register(name, help, gauge);
        }
    }

    /// By the kind of section; every kind, so that a problem that clears is a 0.
    fn problems(&self, registry: &mut Registry) {
        let mut counts: BTreeMap<&str, i64> = KINDS.iter().map(|kind| (*kind, 0)).collect();
        for section in &self.problems {
            *counts.entry(kind_of(section)).or_default() += 1;
        }
        let counts = counts.into_iter();
        let counts = counts.map(|(kind, count)| (Labels(["kind"], [kind.to_owned()]), count));
        let help = "What cannot be exposed as it is written, by the kind of section";
        registry.register("problems", help, family(counts));
    }

    fn certificates(&self, registry: &mut Registry) {
        let of = |object: &String| Labels(["object"], [object.clone()]);
        let all = self.certificates.iter();
        let expiries = all.filter_map(|(object, one)| Some((of(object), one.not_after?)));
        let help = "When the certificate that is served of an object expires";
        let (name, expiries) = ("certificate_expiry_timestamp", family(expiries));
        registry.register_with_unit(name, help, Unit::Seconds, expiries);
        let all = self.certificates.iter();
        let flawed = all.map(|(object, one)| (of(object), one.flawed.into()));
        let help = "Whether the newest content of an object is not served, as it is not good";
        registry.register("certificate_flawed", help, family(flawed));
    }

    fn resources(&self, registry: &mut Registry) {
        let served = self.resources.iter();
        let served = served.map(|(kind, count)| (Labels::of(kind), signed(*count)));
        registry.register("resources", "Resources that are served", family(served));
        let names = ["node", "type", "name", "object", "section"];
        let refused = self.refused.iter();
        let refused = refused.map(|values| (Labels(names, values.clone()), 1));
        let help = "A resource that an Envoy refuses, and what it was made from";
        registry.register("xds_refused", help, family(refused));
    }
}

fn family<const N: usize>(
    values: impl IntoIterator<Item = (Labels<N>, i64)>,
) -> Family<Labels<N>, Gauge> {
    let family: Family<Labels<N>, Gauge> = Family::default();
    for (labels, value) in values {
        family.get_or_create(&labels).set(value);
    }
    family
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// What somebody writes cannot make more kinds than there are.
fn kind_of(section: &str) -> &'static str {
    let kind = section.split('#').next().unwrap_or_default();
    let known = KINDS.iter().find(|known| **known == kind);
    match (known, section.is_empty()) {
        (Some(known), _) => known,
        (None, true) => "object",
        (None, false) => "other",
    }
}

const KINDS: &[&str] = &[
    "certificate",
    "expose",
    "hashpolicy",
    "ip",
    "object",
    "other",
    "route",
    "vhost",
];

#[cfg(test)]
mod tests {
    use super::kind_of;

    #[test]
    fn a_problem_has_the_kind_of_its_section() {
        let kinds = ["expose#0", "route#x#y", "", "<b>#1", "DEFAULT"].map(kind_of);
        assert_eq!(kinds, ["expose", "route", "object", "other", "other"]);
    }
}
