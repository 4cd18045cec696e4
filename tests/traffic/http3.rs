//! HTTP/3 beside TLS: a second Envoy is the client that speaks it.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use osvc_igw::demo::ports;
use osvc_igw::sim::certificate::Authority;
use serde_json::{Value, json};

use super::certificates::{backend, pair, service, status, until};
use super::tls_client::get;
use crate::support::envoy::Envoy;
use crate::support::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn http3_is_served_beside_tls_and_goes_without_touching_it() {
    let rig = Rig::bare(&[]).await;
    let authority = Authority::new("http3").unwrap();
    let names = ["www.acme.org", "old.acme.org"];
    pair(
        &rig,
        "test/sec/front",
        &authority.issue("front", &names).unwrap(),
    );
    let (port, back) = (ports::free().unwrap(), backend(None).await);
    for (name, http3) in [("www", "true"), ("old", "false")] {
        let keywords = [
            // A free port is reserved by a UDP socket of another loopback address.
            "expose#0.listener_addr=127.0.0.1",
            "expose#0.vhosts=vhost#0",
            "expose#0.listener_certificates=certificate#0",
            "certificate#0.certificate_secret=front",
            &format!("vhost#0.domains={name}.acme.org"),
            &format!("expose#0.http3={http3}"),
        ];
        service(&rig, &format!("test/svc/{name}"), &back, port, &keywords);
    }
    let over_tls = async |name| get(&format!("https://{name}"), port, &authority, None, None).await;
    for (name, alternative) in [
        ("www.acme.org", Some(format!("h3=\":{port}\"; ma=86400"))),
        ("old.acme.org", None),
    ] {
        until(name, async || {
            let answer = over_tls(name).await;
            status(&answer, 200)?;
            let told = answer?
                .headers
                .get("alt-svc")
                .map(|it| it.to_str().unwrap().to_owned());
            let wrong = format!("{told:?}");
            (told == alternative).then_some(()).ok_or(wrong)
        })
        .await;
    }
    let client = client(port, &authority).await;
    until("HTTP/3", async || {
        let answer = client.get(&authority).await;
        status(&answer, 200)?;
        let body = answer?.body;
        assert!(body.starts_with("back GET www.acme.org"), "{body}");
        Ok(())
    })
    .await;
    let connections = client.envoy.stat("cluster.gateway.upstream_cx_http3_total");
    assert!(connections.await.unwrap_or_default() > 0);
    let modified = "listener_manager.listener_modified";
    let before = rig.envoy.stat(modified).await;
    let sim = &rig.stage.sim;
    sim.set("test/svc/www", &["expose#0.http3=false"]).unwrap();
    until("the end of HTTP/3", async || {
        match rig.envoy.stat("listener_manager.listener_removed").await {
            Some(1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let answer = over_tls("www.acme.org").await;
    status(&answer, 200).unwrap();
    assert_eq!(rig.envoy.stat(modified).await, before);
}

/// An Envoy that takes plain HTTP and asks the gateway over HTTP/3.
struct Client {
    envoy: Envoy,
    port: u16,
}

async fn client(gateway: u16, authority: &Authority) -> Client {
    let port = ports::free().unwrap();
    let yaml = bootstrap(port, gateway, authority).to_string();
    let envoy = Envoy::start_yaml(&yaml, &["--log-level", "warn"]).await;
    Client { envoy, port }
}

impl Client {
    async fn get(&self, authority: &Authority) -> Result<super::tls_client::Answer, String> {
        get("http://www.acme.org", self.port, authority, None, None).await
    }
}

fn bootstrap(port: u16, gateway: u16, authority: &Authority) -> Value {
    let at = |port| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let with_type = |name: &str, kind: &str, mut config: Value| {
        config["@type"] = format!("type.googleapis.com/envoy.extensions.{kind}").into();
        json!({"name": name, "typed_config": config})
    };
    let router = with_type("router", "filters.http.router.v3.Router", json!({}));
    let manager = json!({
        "stat_prefix": "client",
        "route_config": {"virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "gateway"}}],
        }]},
        "http_filters": [router],
    });
    let kind = "filters.network.http_connection_manager.v3.HttpConnectionManager";
    let tls = json!({"upstream_tls_context": {
        "sni": "www.acme.org",
        "common_tls_context": {"validation_context": {
            "trusted_ca": {"inline_string": authority.pem()},
        }},
    }});
    let quic = "transport_sockets.quic.v3.QuicUpstreamTransport";
    let http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    json!({
        "admin": {"address": at(0)},
        "static_resources": {
            "listeners": [{
                "address": at(port),
                "filter_chains": [{"filters": [with_type("http", kind, manager)]}],
            }],
            "clusters": [{
                "name": "gateway",
                "load_assignment": {"cluster_name": "gateway", "endpoints": [
                    {"lb_endpoints": [{"endpoint": {"address": at(gateway)}}]},
                ]},
                "transport_socket": with_type("envoy.transport_sockets.quic", quic, tls),
                "typed_extension_protocol_options": {http: {
                    "@type": format!("type.googleapis.com/{http}"),
                    "explicit_http_config": {"http3_protocol_options": {}},
                }},
            }],
        },
    })
}
