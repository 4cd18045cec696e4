//! EDGE: the way of an event as a trace, for a collector of OpenTelemetry that the environment
//! names (OTLP over HTTP, as the exporter's specification has its variables). Without one nothing
//! is made.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Span, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::{info, warn};

/// Where traces go. Cheap to clone; by default nowhere.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Sending>>);

struct Sending {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traces")
    }
}

impl Traces {
    /// To the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` or the variable for traces names, if
    /// one of them does. Call it within the runtime that is to send.
    pub fn from_environment(gateway: &str) -> Self {
        let named = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let off = std::env::var_os(OFF).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let Some(variable) = ENDPOINTS.iter().find(|name| named(name) && !off) else {
            return Self::default();
        };
        match sending(gateway) {
            Ok(sending) => {
                info!(variable, "sending traces");
                Self(Some(Arc::new(sending)))
            }
            Err(error) => {
                warn!(variable, error, "cannot send traces; going on without");
                Self::default()
            }
        }
    }

    /// An event was heard at that time since 1970. Who asks for what it was is asked only where
    /// there is a trace.
    pub fn begin(&self, at: Duration, what: impl FnOnce() -> [(&'static str, String); 2]) -> Trace {
        let Some(sending) = &self.0 else {
            return Trace::default();
        };
        let span = sending.tracer.span_builder("event");
        let span = span
            .with_kind(SpanKind::Consumer)
            .with_start_time(time(at))
            .with_attributes(what().map(|(name, value)| KeyValue::new(name, value)));
        let span = span.start_with_context(&sending.tracer, &Context::new());
        let context = Context::new().with_span(span);
        Trace(Some((Arc::clone(sending), context)))
    }

    /// Sends what is left.
    pub async fn finish(self) {
        let Some(sending) = self.0 else { return };
        let provider = sending.provider.clone();
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST));
        if let Ok(Err(error)) = flushed.await {
            warn!(%error, "the last traces were not sent");
        }
    }
}

/// The trace of one event, if there is one.
#[derive(Clone, Default)]
pub struct Trace(Option<(Arc<Sending>, Context)>);

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trace")
    }
}

/// A part of an event's way.
#[derive(Clone, Debug)]
pub struct Part {
    /// `compile`, `encode`, `push` or `ack`.
    pub name: &'static str,
    /// When it began and ended, since 1970.
    pub times: [Duration; 2],
    /// What was refused, in the client's words.
    pub refused: Option<String>,
}

impl Trace {
    /// Notes a part of the way. The attributes are asked for only where there is a trace.
    pub fn note<const N: usize>(
        &self,
        part: Part,
        attributes: impl FnOnce() -> [(&'static str, String); N],
    ) {
        let Some((sending, context)) = &self.0 else {
            return;
        };
        let [began, ended] = part.times;
        let span = sending.tracer.span_builder(part.name);
        let span = span
            .with_start_time(time(began))
            .with_attributes(attributes().map(|(name, value)| KeyValue::new(name, value)));
        let mut span = span.start_with_context(&sending.tracer, context);
        if let Some(refused) = part.refused {
            span.set_status(Status::error(refused));
        }
        span.end_with_timestamp(time(ended));
    }

    /// What led to it is published.
    pub fn published(&self, at: Duration) {
        if let Some((_, context)) = &self.0 {
            context.span().end_with_timestamp(time(at));
        }
    }
}

fn time(since_1970: Duration) -> SystemTime {
    UNIX_EPOCH + since_1970
}

fn sending(gateway: &str) -> Result<Sending, String> {
    let client = reqwest::Client::builder().timeout(SEND_MAX).build();
    let client = Client {
        client: client.map_err(|error| error.to_string())?,
        runtime: Handle::try_current().map_err(|error| error.to_string())?,
    };
    let exporter = SpanExporter::builder().with_http().with_http_client(client);
    let exporter = exporter.build().map_err(|error| error.to_string())?;
    // `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` are read by the builder, and win.
    let named = std::env::var_os("OTEL_SERVICE_NAME").is_some();
    let mut resource = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("osvc_igw.gateway", gateway.to_owned()),
    ]);
    if !named {
        resource = resource.with_service_name("osvc-igw");
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build();
    let tracer = provider.tracer("osvc-igw");
    Ok(Sending { provider, tracer })
}

/// The exporter has a thread of its own; what is sent is sent in the runtime.
#[derive(Debug)]
struct Client {
    client: reqwest::Client,
    runtime: Handle,
}

#[tonic::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let answer = client.execute(request.try_into()?).await?;
            let status = answer.status();
            let body = answer.bytes().await?;
            Ok::<_, HttpError>(Response::builder().status(status).body(body)?)
        });
        sent.await?
    }
}

const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];
const OFF: &str = "OTEL_SDK_DISABLED";
/// How long one request may take.
const SEND_MAX: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the last ones.
const LAST: Duration = Duration::from_secs(2);
