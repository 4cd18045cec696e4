//! What is counted and how long things take, as a page that Prometheus reads. What the numbers
//! mean is said in their help texts; nothing is decided by them.

mod classic;
mod standing;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub use classic::classic;
pub use standing::{Certificate, Standing};

/// The counters. Cheap to clone; clones count together.
#[derive(Clone)]
pub struct Metrics {
    responses: Counters,
    resources: Counters,
    acks: Counters,
    nacks: Counters,
    dropped: Counter,
    events: Counter,
    last_event: Gauge,
    outcomes: Counters,
    compiling: Histogram,
    to_push: Histogram,
    to_ack: Histograms,
    registry: Arc<Registry>,
}

type Counters = Family<Labels<1>, Counter>;
type Histograms = Family<Labels<1>, Histogram, fn() -> Histogram>;

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let mut counters = |name: &str, help: &str, labels: &[Labels<1>]| {
            let family = Counters::default();
            for labels in labels {
                // What never happened is a 0, so that its first time is seen as an increase.
                let _ = family.get_or_create(labels);
            }
            registry.register(name, help, family.clone());
            family
        };
        let types = TYPES.map(Labels::of);
        let responses = counters("xds_responses", "Responses sent to Envoys", &types);
        let help = "Resources sent to Envoys, added, changed or removed";
        let resources = counters("xds_resources_sent", help, &types);
        let acks = counters("xds_acks", "Responses that Envoys took", &types);
        let nacks = counters("xds_nacks", "Responses that Envoys refused", &types);
        let help = "What came of asking authorities for certificates in this process";
        let outcomes = [ISSUED, FAILED].map(|outcome| Labels(["outcome"], [outcome.to_owned()]));
        let outcomes = counters("acme_outcomes", help, &outcomes);
        let (dropped, events) = (Counter::default(), Counter::default());
        let help = "Clients dropped, as they did not read or not answer";
        registry.register("xds_clients_dropped", help, dropped.clone());
        let help = "Events of the OpenSVC daemon that were taken in";
        registry.register("daemon_events", help, events.clone());
        let last_event = Gauge::default();
        let (name, help) = ("daemon_last_event_timestamp", "When the last of them came");
        registry.register_with_unit(name, help, Unit::Seconds, last_event.clone());
        let (compiling, to_push) = (histogram(), histogram());
        let help = "How long it takes to make a snapshot of what is known";
        registry.register_with_unit("compile", help, Unit::Seconds, compiling.clone());
        let help = "From an event of the OpenSVC daemon to the first response that tells of it, \
                    for each stream";
        registry.register_with_unit("event_to_push", help, Unit::Seconds, to_push.clone());
        let to_ack = Histograms::new_with_constructor(histogram);
        let help = "From a response to the acknowledgement of it";
        registry.register_with_unit("push_to_ack", help, Unit::Seconds, to_ack.clone());
        Self {
            responses,
            resources,
            acks,
            nacks,
            dropped,
            events,
            last_event,
            outcomes,
            compiling,
            to_push,
            to_ack,
            registry: Arc::new(registry),
        }
    }
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
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

    /// One was taken after so long.
    pub fn acknowledged(&self, kind: &'static str, after: Duration) {
        let histogram = self.to_ack.get_or_create(&Labels::of(kind));
        histogram.observe(after.as_secs_f64());
    }

    /// A client was dropped.
    pub fn dropped(&self) {
        self.dropped.inc();
    }

    /// The daemon told something at that second since 1970.
    pub fn heard(&self, at: i64) {
        self.events.inc();
        self.last_event.set(at);
    }

    /// When it told something last, in seconds since 1970; 0 where it has told nothing.
    pub fn heard_last(&self) -> i64 {
        self.last_event.get()
    }

    /// A snapshot was made within so long.
    pub fn compiled(&self, within: Duration) {
        self.compiling.observe(within.as_secs_f64());
    }

    /// A stream was told of an event after so long.
    pub fn pushed(&self, after: Duration) {
        self.to_push.observe(after.as_secs_f64());
    }

    /// An authority gave a certificate, or something stood in the way.
    pub fn asked_for_certificate(&self, issued: bool) {
        let outcome = if issued { ISSUED } else { FAILED };
        let labels = Labels(["outcome"], [outcome.to_owned()]);
        self.outcomes.get_or_create(&labels).inc();
    }

    /// The page, in the OpenMetrics text format.
    ///
    /// # Errors
    /// Never, as it writes to memory; the encoder's type says so otherwise.
    pub fn page(&self, standing: &Standing) -> Result<String, fmt::Error> {
        let mut page = String::new();
        encode_registry(&mut page, &self.registry)?;
        encode_registry(&mut page, &standing.registry())?;
        encode_eof(&mut page)?;
        Ok(page)
    }
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
const TYPES: [&str; 6] = ["cds", "eds", "sds", "srds", "lds", "rds"];
const ISSUED: &str = "issued";
const FAILED: &str = "failed";
/// The bounds of what is measured: from a quick push to a machine that is far too busy.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_counts_and_shows_what_is_refused() {
        let metrics = Metrics::default();
        metrics.sent("cds", 3);
        metrics.answered("cds", false);
        metrics.pushed(Duration::from_millis(3));
        metrics.acknowledged("eds", Duration::from_millis(30));
        metrics.heard(1_700_000_000);
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
            "osvc_igw_xds_nacks_total{type=\"eds\"} 0",
            "osvc_igw_xds_streams 2",
            "osvc_igw_ready 0",
            "osvc_igw_event_to_push_seconds_bucket{le=\"0.005\"} 1",
            "osvc_igw_event_to_push_seconds_bucket{le=\"0.0025\"} 0",
            "osvc_igw_push_to_ack_seconds_count{type=\"eds\"} 1",
            "osvc_igw_daemon_last_event_timestamp_seconds 1700000000",
            "osvc_igw_acme_outcomes_total{outcome=\"failed\"} 0",
            "osvc_igw_xds_refused{node=\"edge\",type=\"cds\",name=\"web\",object=\"test/svc/web1\",\
             section=\"expose#0\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(page.ends_with("# EOF\n"));
    }
}
