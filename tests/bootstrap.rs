//! The bootstrap, judged by a real Envoy. What Envoy does afterwards is no matter of this file.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use osvc_igw::bootstrap::{self, Bootstrap, XdsAddress};
use tokio::net::TcpListener;
use tokio::time;

use crate::support::envoy::{self, Envoy};

fn bootstrap(xds: XdsAddress) -> Bootstrap {
    Bootstrap {
        node_id: "edge \"1\" é: {a}\n#".into(),
        node_cluster: "envoy".into(),
        xds,
        admin: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}

fn tcp(host: &str, port: u16) -> XdsAddress {
    XdsAddress::Tcp {
        host: host.into(),
        port,
    }
}

#[test]
fn envoy_accepts_the_bootstrap_for_every_kind_of_address() {
    let unix = XdsAddress::Unix("/var/run/xds/xds.sock".into());
    for xds in [
        tcp("127.0.0.1", 50051),
        tcp("::1", 50051),
        tcp("igw.example", 50051),
        unix,
    ] {
        let yaml = bootstrap::yaml(&bootstrap(xds));
        envoy::validate(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    }
}

#[test]
fn envoy_refuses_a_field_it_does_not_know() {
    let yaml = bootstrap::yaml(&bootstrap(tcp("127.0.0.1", 50051)));
    let error = envoy::validate(&yaml.replace("connect_timeout", "conect_timeout")).unwrap_err();
    assert!(error.contains("conect_timeout"), "{error}");
}

#[tokio::test]
async fn envoy_calls_the_controller_and_is_not_ready_without_it() {
    let controller = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = controller.local_addr().unwrap().port();
    let envoy = Envoy::start(&bootstrap(tcp("127.0.0.1", port))).await;

    let called = time::timeout(Duration::from_secs(10), controller.accept()).await;
    called.expect("a connection in time").unwrap();
    let info = envoy.json("/server_info").await;
    assert_eq!(info["node"]["id"], "edge \"1\" é: {a}\n#");
    assert_eq!(info["node"]["cluster"], "envoy");
    assert_ne!(info["state"], "LIVE", "it has nothing to serve yet");
    assert_eq!(envoy.stat("cluster_manager.active_clusters").await, Some(1));
    // A careful bootstrap leaves Envoy nothing to warn of but the connection that we never answer.
    let log = envoy.log();
    let warnings = log
        .lines()
        .filter(|line| line.contains("[warning]") && !line.contains("gRPC"));
    assert_eq!(warnings.collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(envoy.id() > 0);
}

#[tokio::test]
async fn vanished_controller_is_noticed_within_30_seconds() {
    let controller = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = controller.local_addr().unwrap().port();
    let _envoy = Envoy::start(&bootstrap(tcp("127.0.0.1", port))).await;

    // Held open and never answered, as when the other machine lost its power.
    let (_silent, _) = controller.accept().await.unwrap();
    let again = time::timeout(Duration::from_secs(30), controller.accept()).await;
    again
        .expect("Envoy gives the silent connection up and calls again")
        .unwrap();
}
