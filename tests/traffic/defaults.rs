//! What every client of the gateway gets, whatever a service writes.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use osvc_igw::demo::ports;
use reqwest::{Client, Version};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::support::rig::Rig;

/// A backend that answers with the headers that it was sent, and with the protocol's version.
struct Mirror {
    url: String,
    task: JoinHandle<()>,
}

impl Mirror {
    /// `keywords` are lines of the expose section.
    async fn start(rig: &Rig, keywords: &str) -> Self {
        let headers = async |version: Version, headers: HeaderMap| {
            let headers = headers.iter().map(|(name, value)| {
                let value = value.to_str().unwrap_or_default();
                (name.to_string(), Value::from(value))
            });
            let version = ("version".to_owned(), Value::from(format!("{version:?}")));
            Value::Object(headers.chain([version]).collect()).to_string()
        };
        let app = Router::new().fallback(headers);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        let port = ports::free().expect("a free port");
        let configuration = format!(
            "[ip#1]\nipname = 127.0.0.1\nipdev = lo\nnetmask = 8\nexpose = expose#0\n\n\
             [expose#0]\ntype = envoy\nport = {backend}\nlistener_addr = 127.0.0.1\n\
             listener_port = {port}\nvhosts = vhost#0\n{keywords}\n[vhost#0]\ndomains = *\n",
        );
        rig.stage
            .sim
            .create("test/svc/mirror", &configuration)
            .unwrap();
        let url = format!("http://127.0.0.1:{port}/where?a=b");
        Self { url, task }
    }

    /// The headers that the backend saw, once it is answered for.
    async fn seen(&self, headers: &[(&str, &str)]) -> Value {
        let client = Client::builder().no_proxy().build().unwrap();
        let answered = async {
            loop {
                let mut request = client.get(&self.url);
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                if let Ok(answer) = request.send().await
                    && answer.status().is_success()
                {
                    return serde_json::from_str(&answer.text().await.unwrap()).unwrap();
                }
                sleep(PAUSE).await;
            }
        };
        timeout(ANSWER_MAX, answered).await.expect("an answer")
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The line of Envoy's access log that `judge` takes; Envoy writes it some seconds later.
async fn logged(rig: &Rig, judge: impl Fn(&Value) -> bool) -> Value {
    let found = async {
        loop {
            let log = rig.envoy.log();
            let mut lines = log
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            if let Some(line) = lines.find(&judge) {
                return line;
            }
            sleep(PAUSE).await;
        }
    };
    timeout(ANSWER_MAX, found)
        .await
        .expect("a line in the access log")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_say_who_it_is_and_what_it_asked_is_logged() {
    let rig = Rig::bare(&[]).await;
    let mirror = Mirror::start(&rig, "").await;
    let seen = mirror
        .seen(&[
            ("x-forwarded-for", "203.0.113.7"),
            ("x-envoy-external-address", "203.0.113.8"),
            ("X_Forwarded_Proto", "https"),
            ("x-request-id", "chosen"),
        ])
        .await;
    let forwarded = seen["x-forwarded-for"].as_str().unwrap();
    assert!(
        forwarded.starts_with("203.0.113.7,"),
        "the gateway adds what it saw: {forwarded}"
    );
    assert_ne!(seen["x-envoy-external-address"], "203.0.113.8");
    assert_eq!(seen["x-forwarded-proto"], "http");
    assert_eq!(seen["x_forwarded_proto"], Value::Null);
    assert_ne!(seen["x-request-id"], "chosen");
    let line = logged(&rig, |line| line["response_code"] == 200).await;
    assert_eq!(line["method"], "GET");
    assert_eq!(line["path"], "/where?a=b");
    assert_eq!(line["upstream_cluster"], "test/svc/mirror.expose#0");
    assert_eq!(line["request_id"], seen["x-request-id"]);
    let client = line["client"].as_str().unwrap();
    assert!(client.starts_with("127.0.0.1:"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_says_who_the_client_is() {
    let rig = Rig::bare(&["--xff-trusted-hops", "1"]).await;
    let mirror = Mirror::start(&rig, "").await;
    let seen = mirror
        .seen(&[
            ("x-forwarded-for", "198.51.100.1, 203.0.113.7"),
            ("x-request-id", "chosen"),
        ])
        .await;
    assert_eq!(seen["x-envoy-external-address"], "203.0.113.7");
    assert_eq!(seen["x-request-id"], "chosen");
    let line = logged(&rig, |line| line["response_code"] == 200).await;
    assert_eq!(line["client"], "203.0.113.7:0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_speak_http2() {
    let rig = Rig::bare(&["--access-log", "none"]).await;
    let mirror = Mirror::start(&rig, "").await;
    mirror.seen(&[]).await;
    let client = Client::builder().no_proxy().http2_prior_knowledge();
    let client = client.build().unwrap();
    let answer = client.get(&mirror.url).send().await.unwrap();
    assert_eq!(
        (answer.version(), answer.status().as_u16()),
        (Version::HTTP_2, 200)
    );
    assert_eq!(
        answer.headers().get("server"),
        None,
        "the application's own"
    );
    assert!(answer.headers().contains_key("x-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_may_speak_http2_and_say_how_it_is_by_it() {
    let rig = Rig::bare(&[]).await;
    let keywords = "backend_protocol = http2\nhealth_check_path = /healthz\n";
    let mirror = Mirror::start(&rig, keywords).await;
    assert_eq!(mirror.seen(&[]).await["version"], "HTTP/2.0");
}

const PAUSE: Duration = Duration::from_millis(50);
/// Envoy writes its access log every ten seconds.
const ANSWER_MAX: Duration = Duration::from_secs(40);
