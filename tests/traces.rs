//! The way of an event as a trace, at a small collector: the real binary, a simulated daemon, a
//! real Envoy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use osvc_igw::bootstrap::{Bootstrap, XdsAddress};
use osvc_igw::sim::Sim;
use prost::Message;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crate::support::controller::{Controller, Options};
use crate::support::envoy::Envoy;
use crate::support::folder::Folder;
use crate::support::stand::LATE;

/// Takes OTLP over HTTP.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

impl Collector {
    async fn start() -> (Self, SocketAddr) {
        let collector = Self::default();
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(collector.clone());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async { axum::serve(listener, router).await });
        (collector, address)
    }

    fn spans(&self) -> Vec<Span> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn take(State(collector): State<Collector>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
    let scopes = request
        .resource_spans
        .into_iter()
        .flat_map(|it| it.scope_spans);
    let mut spans = collector.0.lock().unwrap_or_else(PoisonError::into_inner);
    spans.extend(scopes.flat_map(|scope| scope.spans));
}

fn attribute(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|it| it.key == name);
    format!("{:?}", found.and_then(|it| it.value.as_ref()))
}

/// The names of the parts of the trace that a span belongs to, from one that tells of a service.
fn way(spans: &[Span]) -> Option<Vec<&str>> {
    let mut traces: BTreeMap<&[u8], Vec<&Span>> = BTreeMap::new();
    for span in spans {
        traces.entry(&span.trace_id).or_default().push(span);
    }
    let mut traces = traces.into_values();
    traces.find_map(|mut parts| {
        parts.sort_by_key(|span| (span.start_time_unix_nano, span.end_time_unix_nano));
        let root = parts.iter().find(|span| span.parent_span_id.is_empty())?;
        assert_eq!(root.name, "event");
        let children = parts.iter().filter(|span| !span.parent_span_id.is_empty());
        let mut children = children.peekable();
        children.peek()?;
        assert!(children.all(|span| span.parent_span_id == root.span_id));
        let names: Vec<&str> = parts.iter().map(|span| span.name.as_str()).collect();
        let whole = ["event", "compile", "encode", "push", "ack"];
        let ours = attribute(root, "opensvc.object").contains("test/svc/web1");
        (ours && whole.iter().all(|part| names.contains(part))).then_some(names)
    })
}

const SERVICE: &str = "[DEFAULT]\nnodes = n1\n[ip#1]\nipname = 10.99.0.10\nipdev = lo\n\
    netmask = 32\nexpose = expose#0\n[expose#0]\ntype = envoy\nport = 80\n\
    listener_addr = 127.0.0.1\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_way_of_an_event_is_seen_from_the_daemon_to_the_acknowledgement() {
    let (collector, address) = Collector::start().await;
    let folder = Folder::new("traces");
    let options = Options::new(&folder.0)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{address}"))
        .env("OTEL_BSP_SCHEDULE_DELAY", "100");
    let sim = Sim::start(&options.daemon, &["n1"]).expect("a daemon");
    let mut controller = Controller::start(&options);
    controller.ready().await;
    let _envoy = Envoy::start(&Bootstrap {
        node_id: "traced".to_owned(),
        node_cluster: "envoy".to_owned(),
        xds: XdsAddress::Tcp {
            host: "127.0.0.1".to_owned(),
            port: options.xds.port(),
        },
        admin: ([127, 0, 0, 1], 0).into(),
    })
    .await;
    let connected = async {
        while controller.status().await["clients"][0]["synced"] != true {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LATE, connected).await.expect("Envoy has nothing");
    let port = osvc_igw::demo::ports::free().expect("a port");
    let service = format!("{SERVICE}listener_port = {port}\n");
    sim.create("test/svc/web1", &service).expect("a service");
    let seen = async {
        while way(&collector.spans()).is_none() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let late = timeout(LATE, seen).await.is_err();
    let spans = collector.spans();
    let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
    assert!(!late, "{names:?}");
    let mut acks = spans.iter().filter(|span| span.name == "ack");
    assert!(acks.all(|span| attribute(span, "xds.node").contains("traced")));
    let (status, _) = controller.signal("TERM");
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_nothing_but_the_traces() {
    let folder = Folder::new("traces");
    let nobody = osvc_igw::demo::ports::free().expect("a port");
    let nobody = format!("http://127.0.0.1:{nobody}");
    let options = Options::new(&folder.0)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &nobody)
        .env("OTEL_BSP_SCHEDULE_DELAY", "20");
    let sim = Sim::start(&options.daemon, &["n1"]).expect("a daemon");
    let mut controller = Controller::start(&options);
    controller.ready().await;
    let service = format!("{SERVICE}listener_port = 8010\n");
    sim.create("test/svc/web1", &service).expect("a service");
    let served = async {
        while controller.status().await["resources"]["lds"] != 1 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LATE, served).await.expect("it is served");
    let (status, _) = controller.signal("TERM");
    assert!(status.success(), "{status}");
    for line in controller.log().lines() {
        let parsed = serde_json::from_str::<serde_json::Value>(line);
        assert!(parsed.is_ok_and(|line| line.is_object()), "{line}");
    }
}
