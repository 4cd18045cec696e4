//! What is counted, and how it stands now, as a page that Prometheus reads. What the numbers mean
//! is said in their help texts; nothing is decided by them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The counters. Cheap to clone; clones count together.
#[derive(Clone)]
pub struct Metrics {
    responses: Family<Labels<1>, Counter>,
    resources: Family<Labels<1>, Counter>,
    acks: Family<Labels<1>, Counter>,
    nacks: Family<Labels<1>, Counter>,
    dropped: Counter,
    registry: Arc<Registry>,
}

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
    /// How many problems there are.
    pub problems: u64,
    /// How many rights the account at the daemon lacks.
    pub lacks: u64,
    /// How many resources are served, by type.
    pub resources: BTreeMap<&'static str, u64>,
    /// How many streams there are.
    pub streams: u64,
    /// What is refused: node, type, name, object, section.
    pub refused: Vec<[String; 5]>,
}

impl Default for Metrics {
    fn default() -> Self {
        let (responses, resources) = (Family::default(), Family::default());
        let (acks, nacks) = (Family::default(), Family::default());
        let dropped = Counter::default();
        let mut registry = Registry::with_prefix(PREFIX);
        let mut add = |name: &str, help: &str, family: &Family<Labels<1>, Counter>| {
            registry.register(name, help, family.clone());
        };
        add("xds_responses", "Responses sent to Envoys", &responses);
        let help = "Resources sent to Envoys, added, changed or removed";
        add("xds_resources_sent", help, &resources);
        add("xds_acks", "Responses that Envoys took", &acks);
        add("xds_nacks", "Responses that Envoys refused", &nacks);
        let help = "Clients dropped, as they did not read or not answer";
        registry.register("xds_clients_dropped", help, dropped.clone());
        Self {
            responses,
            resources,
            acks,
            nacks,
            dropped,
            registry: Arc::new(registry),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// A response of that type went out.
    pub fn sent(&self, kind: &'static str, resources: u64) {
        let labels = Labels::of(kind);
        self.responses.get_or_create(&labels).inc();
        self.resources.get_or_create(&labels).inc_by(resources);
    }

    /// One was taken, or refused.
    pub fn answered(&self, kind: &'static str, taken: bool) {
        let family = if taken { &self.acks } else { &self.nacks };
        family.get_or_create(&Labels::of(kind)).inc();
    }

    /// A client was dropped.
    pub fn dropped(&self) {
        self.dropped.inc();
    }

    /// The page, in the OpenMetrics text format.
    ///
    /// # Errors
    /// Never, as it writes to memory; the encoder's type says so otherwise.
    pub fn page(&self, standing: &Standing) -> Result<String, fmt::Error> {
        let mut page = String::new();
        encode_registry(&mut page, &self.registry)?;
        encode_registry(&mut page, &gauges(standing))?;
        encode_eof(&mut page)?;
        Ok(page)
    }
}

fn gauges(standing: &Standing) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    let mut number = |name: &str, help: &str, value: u64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    };
    let help = "Whether a snapshot has been published since the start";
    number("ready", help, standing.ready.into());
    let help = "Whether what is served was saved by an earlier process";
    number("stale", help, standing.stale.into());
    let help = "Whether the OpenSVC daemon is being followed";
    number("daemon_connected", help, standing.connected.into());
    let help = "How often the daemon's full status was taken";
    number("daemon_full_statuses", help, standing.syncs);
    let help = "What cannot be exposed as it is written";
    number("problems", help, standing.problems);
    let help = "Rights that the account at the OpenSVC daemon lacks for what is served";
    number("daemon_rights_missing", help, standing.lacks);
    number("xds_streams", "Streams of Envoys", standing.streams);
    let served: Family<Labels<1>, Gauge> = Family::default();
    for (kind, count) in &standing.resources {
        let gauge = served.get_or_create(&Labels::of(kind));
        gauge.set(i64::try_from(*count).unwrap_or(i64::MAX));
    }
    registry.register("resources", "Resources that are served", served);
    let refused: Family<Labels<5>, Gauge> = Family::default();
    for values in &standing.refused {
        let names = ["node", "type", "name", "object", "section"];
        refused.get_or_create(&Labels(names, values.clone())).set(1);
    }
    let help = "A resource that an Envoy refuses, and what it was made from";
    registry.register("xds_refused", help, refused);
    let build: Family<Labels<1>, Gauge> = Family::default();
    let version = [env!("CARGO_PKG_VERSION").to_owned()];
    build.get_or_create(&Labels(["version"], version)).set(1);
    registry.register("build_info", "The version of this program", build);
    registry
}

/// Labels and their values.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Labels<const N: usize>([&'static str; N], [String; N]);

impl Labels<1> {
    fn of(kind: &str) -> Self {
        Self(["type"], [kind.to_owned()])
    }
}

impl<const N: usize> EncodeLabelSet for Labels<N> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        let Self(names, values) = self;
        for (name, value) in names.iter().zip(values) {
            (*name, value.as_str()).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

const PREFIX: &str = "osvc_igw";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_counts_and_shows_what_is_refused() {
        let metrics = Metrics::default();
        metrics.sent("cds", 3);
        metrics.answered("cds", false);
        let refused = ["edge", "cds", "web", "test/svc/web1", "expose#0"].map(str::to_owned);
        let standing = Standing {
            streams: 2,
            refused: vec![refused],
            ..Standing::default()
        };
        let page = metrics.page(&standing).unwrap();
        for line in [
            "osvc_igw_xds_responses_total{type=\"cds\"} 1",
            "osvc_igw_xds_resources_sent_total{type=\"cds\"} 3",
            "osvc_igw_xds_nacks_total{type=\"cds\"} 1",
            "osvc_igw_xds_streams 2",
            "osvc_igw_ready 0",
            "osvc_igw_xds_refused{node=\"edge\",type=\"cds\",name=\"web\",object=\"test/svc/web1\",\
             section=\"expose#0\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(page.ends_with("# EOF\n"));
    }
}
