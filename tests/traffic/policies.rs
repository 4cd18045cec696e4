//! What routes do beside sending requests on: conditions, headers, retries, rate limits, shares
//! of the traffic, copies of it, CORS, compression.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::site::{PATIENCE, Site};

#[tokio::test(flavor = "multi_thread")]
async fn conditions_and_header_edits_are_as_routes_say() {
    let site = Site::start(&["expose#0"], CONDITIONS).await;
    for (method, path, headers, host) in [
        (
            "GET",
            "/",
            "x-user: alice\r\nx-beta: 1\r\n",
            "header.internal",
        ),
        ("GET", "/", "x-user: alice\r\n", "www.acme.org"),
        ("GET", "/", "x-user: bob\r\nx-beta: 1\r\n", "www.acme.org"),
        ("GET", "/?debug&user=alice", "", "query.internal"),
        ("GET", "/?debug&user=bob", "", "www.acme.org"),
        ("PUT", "/", "content-length: 0\r\n", "method.internal"),
        ("DELETE", "/", "", "method.internal"),
    ] {
        let answer = site.request(method, path, headers).await.unwrap();
        let seen = format!("i0 {method} {host}/");
        assert!(answer.body.contains(&seen), "{seen}: {answer:?}");
    }
    let sent = "x-test-env: mine\r\nx-test-debug: 1\r\n";
    let answer = site.get("/headers", sent).await.unwrap();
    assert_eq!(answer.header("saw-x-test-env"), Some("prod 100%"));
    assert_eq!(answer.header("saw-x-test-debug"), None);
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    assert_eq!(answer.header("x-instance"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_fails_at_one_instance_is_tried_at_another() {
    let site = Site::start(&["expose#0"; 2], POLICIES).await;
    let failing = "x-fail-at: i0\r\n";
    // Both instances are there: without retries one of them fails.
    site.until("/plain", failing, |answer| answer.status == 503)
        .await;
    site.until("/plain", failing, |answer| answer.status == 200)
        .await;
    for path in ["/retried", "/retried-status"] {
        for _ in 0..20 {
            let answer = site.get(path, failing).await.unwrap();
            assert_eq!((answer.status, answer.instance()), (200, "i1"), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_over_the_rate_are_answered_429() {
    let site = Site::start(&["expose#0"], POLICIES).await;
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(site.get("/limited", "").await.unwrap().status);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429, 429]);
    assert_eq!(site.get("/plain", "").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_of_allowed_origins_are_answered() {
    let site = Site::start(&["expose#0"], POLICIES).await;
    let asked = "access-control-request-method: PUT\r\n";
    for (origin, allowed) in [
        ("https://app.acme.org", true),
        ("https://x.acme.net", true),
        ("https://evil.org", false),
    ] {
        let headers = format!("origin: {origin}\r\n{asked}");
        let answer = site.request("OPTIONS", "/cors", &headers).await.unwrap();
        let header = answer.header("access-control-allow-origin");
        assert_eq!(header, allowed.then_some(origin), "{answer:?}");
        let methods = answer.header("access-control-allow-methods");
        assert_eq!(methods, allowed.then_some("GET,PUT"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_for_who_takes_it() {
    let site = Site::start(&["expose#0"], POLICIES).await;
    // The instance repeats the path, which is longer than what is worth it.
    let (any, gzip) = ("/compressed/", "/gzip/");
    for (path, accepts, expect) in [
        (any, "gzip", Some("gzip")),
        (any, "br", Some("br")),
        (any, "zstd", Some("zstd")),
        (any, "gzip, deflate, br, zstd", Some("br")),
        (any, "br;q=0.1, gzip", Some("gzip")),
        (any, "deflate", None),
        (any, "", None),
        (gzip, "gzip, br", Some("gzip")),
        (gzip, "br", None),
        ("/plain/", "gzip, br", None),
    ] {
        let long = format!("{path}{}", "x".repeat(2_000));
        let headers = format!("accept-encoding: {accepts}\r\n");
        let headers = if accepts.is_empty() { "" } else { &headers };
        let answer = site.get(&long, headers).await.unwrap();
        let found = answer.header("content-encoding");
        assert_eq!(found, expect, "{path} {accepts}: {answer:?}");
        assert_eq!(answer.body.contains(&long), expect.is_none(), "{answer:?}");
    }
    let short = site.get(any, "accept-encoding: br\r\n").await.unwrap();
    assert_eq!(short.header("content-encoding"), None, "{short:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_the_limits_is_answered_503() {
    let site = Site::start(&["expose#0"], LIMITS).await;
    // One is under way, one waits for its connection, and for the third there is no room.
    let ask = || site.get("/", "x-wait-ms: 3000\r\n");
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    let mut statuses = [one, two, three].map(|answer| answer.unwrap().status);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503]);
    let overflows = "cluster.test/svc/site.expose#0.upstream_rq_pending_overflow";
    assert_eq!(site.rig.envoy.stat(overflows).await, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_shared_nine_to_one_and_copied() {
    let site = Site::start(&["expose#0", "expose#1"], SHARES).await;
    // Envoy takes a cluster's first endpoints a moment after its routes.
    site.until("/canary", "", |answer| answer.instance() == "i1")
        .await;
    let mut canaries = 0;
    for _ in 0..1_000 {
        let answer = site.get("/shared", "").await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        canaries += u32::from(answer.instance() == "i1");
    }
    assert!((50..=150).contains(&canaries), "{canaries} of 1000");
    let copies = "cluster.test/svc/site.expose#1.upstream_rq_total";
    let before = site.rig.envoy.stat(copies).await.unwrap();
    for _ in 0..20 {
        let answer = site.get("/copied", "").await.unwrap();
        assert_eq!(answer.instance(), "i0", "{answer:?}");
    }
    let copied = async {
        while site.rig.envoy.stat(copies).await.unwrap() < before + 20 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, copied).await.unwrap();
    // The canary goes: its share is the other's, and no request fails.
    let sim = &site.rig.stage.sim;
    sim.set("test/svc/site", &["ip#1.expose=expose#0"]).unwrap();
    let gone = |path: &'static str| site.until(path, "", |answer| answer.status == 200);
    for path in ["/shared", "/copied", "/canary"] {
        gone(path).await;
    }
}

const CONDITIONS: &str = "\
[expose#0]
type = envoy
listener_port = GATEWAY
port = PORT
vhosts = vhost#0
[vhost#0]
domains = www.acme.org
routes = route#header route#query route#method route#edits route#rest
[route#header]
match_headers = X-User:alice x-beta
route_host_rewrite = header.internal
[route#query]
match_query = debug user=alice
route_host_rewrite = query.internal
[route#method]
match_methods = put DELETE
route_host_rewrite = method.internal
[route#edits]
match_path = /headers
request_headers_add = \"x-test-env:prod 100%\"
request_headers_remove = X-Test-Debug
response_headers_add = x-frame-options:DENY
response_headers_remove = x-instance
[route#rest]
match_prefix = /
";

const POLICIES: &str = "\
[expose#0]
type = envoy
listener_port = GATEWAY
port = PORT
vhosts = vhost#0
[vhost#0]
domains = www.acme.org
routes = route#retried route#status route#limited route#cors route#small route#gzip route#rest
[route#retried]
match_path = /retried
retry_on = 5xx
retry_timeout = 5s
[route#status]
match_path = /retried-status
retry_on = 503
retry_count = 2
[route#limited]
match_path = /limited
rate_limit = 5/h
[route#cors]
match_path = /cors
cors_allow_origins = https://app.acme.org *.acme.net
cors_allow_methods = GET PUT
[route#small]
match_prefix = /compressed
compression = br gzip zstd
[route#gzip]
match_prefix = /gzip
compression = gzip
[route#rest]
match_prefix = /
";

const LIMITS: &str = "\
[expose#0]
type = envoy
listener_port = GATEWAY
port = PORT
vhosts = vhost#0
max_connections = 1
max_pending_requests = 1
[vhost#0]
domains = www.acme.org
";

const SHARES: &str = "\
[expose#0]
type = envoy
listener_port = GATEWAY
port = PORT
vhosts = vhost#0
[expose#1]
type = envoy
listener_port = SPARE
port = PORT
[vhost#0]
domains = www.acme.org
routes = route#shared route#canary route#copied route#rest
[route#shared]
match_path = /shared
weighted_exposes = expose#0:90 expose#1:10
[route#canary]
match_path = /canary
weighted_exposes = expose#1:1
[route#copied]
match_path = /copied
mirror_expose = expose#1
[route#rest]
match_prefix = /
";
