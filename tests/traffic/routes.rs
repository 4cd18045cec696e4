//! What virtual hosts and routes do to requests: matches, rewrites, redirects, hash policies.

use std::collections::BTreeSet;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::site::{PATIENCE, Site};

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_matched_and_rewritten_as_routes_say() {
    let site = Site::start(&["expose#0"], MATCHES).await;
    site.seen("/ready", "i0 GET www.acme.org/ready").await;
    site.seen("/api/users?a=1", "www.acme.org/v2/users?a=1")
        .await;
    site.seen("/bot", "bots.internal/bot").await;
    site.seen("/bit", "bots.internal/bit").await;
    site.seen("/boot", "www.acme.org/boot").await;
    site.seen("/MiXed/x", "mixed.internal/MiXed/x").await;
    site.seen("/ANY/7/x", "digits.internal/ANY/7/x").await;
    site.seen("/any/x/x", "www.acme.org/any/x/x").await;
    let picked = "x-pick: test/svc/site.expose#0\r\n";
    let answer = site.get("/pick", picked).await.unwrap();
    assert!(
        answer.body.contains("i0 GET picked.internal/pick"),
        "{answer:?}"
    );
    let absent = "x-pick: test/svc/none.expose#0\r\n";
    let answer = site.get("/pick", absent).await.unwrap();
    assert!(matches!(answer.status, 404 | 503), "{answer:?}");
    // What names nothing of the namespace is none of the route's, and the next one takes it.
    for headers in ["", "x-pick: other/svc/site.expose#0\r\n"] {
        let answer = site.get("/pick", headers).await.unwrap();
        assert!(answer.body.contains("GET www.acme.org/pick"), "{answer:?}");
    }
    let wait = "x-wait-ms: 3000\r\n";
    assert_eq!(site.get("/hasty", wait).await.unwrap().status, 504);
    assert_eq!(site.get("/patient", wait).await.unwrap().status, 200);
    assert_eq!(site.instances.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_send_clients_where_routes_say() {
    let site = Site::start(&["expose#0"], REDIRECTS).await;
    for (path, status, location) in [
        ("/host?a=1", 301, "http://new.acme.org/host?a=1"),
        ("/path?a=1", 302, "http://www.acme.org/elsewhere?a=1"),
        ("/prefix/x?a=1", 303, "http://www.acme.org/other/x?a=1"),
        ("/https?a=1", 307, "https://www.acme.org/https?a=1"),
        ("/strip/x?a=1", 308, "http://www.acme.org/stripped/x"),
        ("/all/x?a=1", 301, "https://new.acme.org:8443/x"),
    ] {
        let answer = site.get(path, "").await.unwrap();
        assert_eq!((answer.status, answer.location()), (status, location));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_upgrades_pass_unless_a_route_says_no() {
    let site = Site::start(&["expose#0"], WEBSOCKETS).await;
    for path in ["/default", "/on"] {
        let mut stream = TcpStream::connect(site.gateway).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: www.acme.org\r\n{UPGRADE}\r\n");
        let echoed = async {
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            assert!(head.starts_with("HTTP/1.1 101 "), "{path}: {head}");
            stream.write_all(b"\x81\x02hi").await.unwrap();
            let mut echo = [0; 4];
            stream.read_exact(&mut echo).await.unwrap();
            echo
        };
        let echo = timeout(PATIENCE, echoed).await.unwrap();
        assert_eq!(&echo, b"\x81\x02hi", "{path}");
    }
    let answer = site.get("/off", UPGRADE).await.unwrap();
    assert_eq!(answer.status, 403, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hash_policies_keep_a_client_with_its_instance() {
    let site = Site::start(&["expose#0"; 4], HASHES).await;
    // All four are there before it counts that one of them is kept to.
    let seen = async {
        let mut seen = BTreeSet::new();
        for user in 0.. {
            let header = format!("x-user: u{user}\r\n");
            seen.extend(site.instances("/header", &header, 1).await);
            if seen.len() == 4 {
                break;
            }
        }
    };
    timeout(PATIENCE, seen).await.unwrap();
    for (path, header) in [
        ("/header", "x-user: alice\r\n"),
        ("/old", "x-old: alice\r\n"),
        ("/cookie", "cookie: sid=alice\r\n"),
        ("/source", ""),
    ] {
        let kept = site.instances(path, header, 20).await;
        assert_eq!(kept.len(), 1, "{path}: {kept:?}");
    }
    for (path, header) in [
        ("/header", "x-user: "),
        ("/old", "x-old: "),
        ("/cookie", "cookie: sid="),
    ] {
        let mut spread = BTreeSet::new();
        for user in 0..60 {
            let header = format!("{header}user-{user}\r\n");
            spread.extend(site.instances(path, &header, 1).await);
        }
        assert_eq!(spread.len(), 4, "{path}");
    }
    // A client without the cookie is given one, and stays where it was sent with it.
    let first = site.get("/made", "").await.unwrap();
    let cookie = first.header("set-cookie").expect("a cookie");
    assert!(cookie.contains("; Max-Age=5400; Path=/made"), "{cookie}");
    let (cookie, _) = cookie.split_once(';').unwrap();
    let kept = site
        .instances("/made", &format!("cookie: {cookie}\r\n"), 20)
        .await;
    assert_eq!(kept, BTreeSet::from([first.instance().to_owned()]));
    let unmade = site.get("/cookie", "").await.unwrap();
    assert_eq!(unmade.header("set-cookie"), None, "{unmade:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_route_is_left_out_and_a_removed_one_is_gone() {
    let site = Site::start(&["expose#0"], MATCHES).await;
    let sim = &site.rig.stage.sim;
    sim.set("test/svc/site", &["route#regex.match_regex=/b(?=o)t"])
        .unwrap();
    site.until("/bot", "", |answer| {
        answer.body.contains("www.acme.org/bot")
    })
    .await;
    sim.set("test/svc/site", &["vhost#0.routes=route#api"])
        .unwrap();
    site.until("/ready", "", |answer| answer.status == 404)
        .await;
    site.seen("/api/users", "www.acme.org/v2/users").await;
}

const UPGRADE: &str = "connection: Upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

const MATCHES: &str = "\
[expose#0]
type = envoy
listener_port = GATEWAY
port = PORT
vhosts = vhost#0
[vhost#0]
domains = www.acme.org
routes = route#api route#regex route#mixed route#digits route#pick \
  route#hasty route#patient route#all
[route#api]
match_prefix = /api/
route_prefix_rewrite = /v2/
[route#regex]
match_regex = /b[io]t
route_host_rewrite = bots.internal
[route#mixed]
match_prefix = /mixed/
match_case_sensitive = false
route_host_rewrite = mixed.internal
[route#digits]
match_regex = /any/[0-9]+/.*
match_case_sensitive = false
route_host_rewrite = digits.internal
[route#pick]
match_path = /pick
route_cluster_header = x-pick
route_host_rewrite = picked.internal
[route#hasty]
match_path = /hasty
route_timeout = 1
[route#patient]
match_path = /patient
route_timeout = 0
[route#all]
match_prefix = /
";

const REDIRECTS: &str = "\
[expose#0]
type = envoy
listener_port = GATEWAY
port = PORT
vhosts = vhost#0
[vhost#0]
domains = www.acme.org
routes = route#host route#path route#prefix route#https route#strip route#every route#rest
[route#host]
match_path = /host
redirect_host_redirect = new.acme.org
[route#path]
match_path = /path
redirect_path_redirect = /elsewhere
redirect_response_code = 302
[route#prefix]
match_prefix = /prefix/
redirect_prefix_rewrite = /other/
redirect_response_code = SEE_OTHER
[route#https]
match_path = /https
redirect_https_redirect = true
redirect_response_code = temporary_redirect
[route#strip]
match_prefix = /strip/
redirect_prefix_rewrite = /stripped/
redirect_strip_query = true
redirect_response_code = 308
[route#every]
match_prefix = /all/
redirect_host_redirect = new.acme.org:8443
redirect_prefix_rewrite = /
redirect_https_redirect = true
redirect_strip_query = true
[route#rest]
";

const WEBSOCKETS: &str = "\
[expose#0]
type = envoy
listener_port = GATEWAY
port = PORT
vhosts = vhost#0
[vhost#0]
domains = www.acme.org
routes = route#on route#off route#rest
[route#on]
match_path = /on
route_use_websocket = true
[route#off]
match_path = /off
route_use_websocket = false
[route#rest]
match_prefix = /
";

const HASHES: &str = "\
[expose#0]
type = envoy
listener_port = GATEWAY
port = PORT
lb_policy = ring_hash
vhosts = vhost#0
[vhost#0]
domains = www.acme.org
routes = route#header route#old route#cookie route#made route#source route#rest
[route#header]
match_path = /header
hash_policies = hashpolicy#header
[route#old]
match_path = /old
hash_policies = hash_policy#old
[route#cookie]
match_path = /cookie
hash_policies = hashpolicy#cookie
[route#made]
match_path = /made
hash_policies = hashpolicy#made
[route#source]
match_path = /source
hash_policies = hashpolicy#absent hashpolicy#source
[route#rest]
match_prefix = /
[hashpolicy#header]
header_header_name = x-user
[hash_policy#old]
header_name = x-old
[hashpolicy#cookie]
cookie_name = sid
[hashpolicy#made]
cookie_name = route
cookie_path = /made
cookie_ttl = 1h30m
[hashpolicy#source]
connection_source_ip = true
";
