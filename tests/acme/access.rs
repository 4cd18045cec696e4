//! The operator over TLS, as an account with the least rights that it needs.

use std::sync::Arc;
use std::time::Duration;

use osvc_igw::acme::{Error, act};
use osvc_igw::cert::dns::Reach;
use osvc_igw::cert::operator::Operator;
use osvc_igw::config::AcmeAction;
use osvc_igw::opensvc::Daemon;
use osvc_igw::opensvc::h2::H2;
use osvc_igw::opensvc::tls::{Access, Login, Server};
use osvc_igw::sim::Sim;
use osvc_igw::sim::certificate::Authority;
use tokio_util::sync::CancellationToken;

use super::site::{Gateway, Running, declare, door, issued, until};
use crate::support::folder::Folder;
use crate::support::pebble::Pebble;

/// The daemon over TLS for an account with this grant.
fn daemon(sim: &Sim, folder: &Folder, grant: &str) -> Arc<dyn Daemon> {
    sim.set_user("acme", grant, None);
    let authority = Authority::new("demo-ca").expect("an authority");
    let identity = authority
        .issue("demo", &["127.0.0.1"])
        .expect("a certificate");
    let bound = sim.serve_tls(([127, 0, 0, 1], 0).into(), &identity, authority.pem());
    let client = authority.issue("acme", &["acme"]).expect("a certificate");
    let access = Access {
        ca: folder.write("ca.pem", authority.pem()),
        login: Login::Certificate {
            chain: folder.write("cert.pem", &client.chain_pem),
            key: folder.write("key.pem", &client.key_pem),
        },
    };
    let server = Server {
        host: "127.0.0.1".to_owned(),
        port: bound.expect("a port").port(),
    };
    Arc::new(H2::at_servers(vec![server], access))
}

async fn check(daemon: &Arc<dyn Daemon>) -> Result<String, Error> {
    let action = AcmeAction::CheckAccess(vec!["test".to_owned()]);
    let door = door(&[], 80, 443);
    act(
        action,
        (door, Reach::default()),
        Arc::clone(daemon),
        CancellationToken::new(),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_the_least_rights_gets_a_certificate_over_tls() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start();
    let folder = Folder::new("access");
    let sim = Sim::start(&folder.0.join("lsnr.sock"), &["n1"]).expect("a daemon");
    declare(&sim, &pebble, "www.acme.org acme.org");
    sim.create("other/sec/foreign", "").expect("a sec object");
    let daemon = daemon(&sim, &folder, "guest:* admin:test");
    let told = check(&daemon).await.expect("every right");
    assert!(told.contains("the account acme has every right"), "{told}");
    let _gateway = Gateway::start(&sim, pebble.http_port).await;
    let mut door = door(&["127.0.0.1"], pebble.http_port, 1);
    door.shown_max = Duration::ZERO;
    let running = Running::start(Operator::new(daemon, door));
    until("the certificate", || issued(&sim)).await;
    running.kill().await;
    assert_eq!((pebble.orders(), pebble.certificates()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_named_with_the_command_that_grants_it() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = Folder::new("access");
    let sim = Sim::start(&folder.0.join("lsnr.sock"), &["n1"]).expect("a daemon");
    sim.create("test/sec/front", "").expect("a sec object");
    let daemon = daemon(&sim, &folder, "guest:test");
    let told = check(&daemon)
        .await
        .expect_err("a right is missing")
        .to_string();
    assert!(
        told.contains("no grant admin:test: certificates and challenges"),
        "{told}"
    );
    assert!(
        told.contains("om system/usr/acme set --kw grant+=admin:test"),
        "{told}"
    );
    assert!(
        told.contains("needed for test/sec/front, test/cfg/osvc-igw-acme"),
        "{told}"
    );
}
