//! A certificate whose names are those that services serve with it, as they come and go.

use std::time::Duration;

use osvc_igw::cert::operator::Operator;
use osvc_igw::sim::Sim;

use super::site::{FRONT, Gateway, ISSUER, Running, daemon, declare, door, issued, record, until};
use crate::support::folder::Folder;
use crate::support::pebble::Pebble;

fn service(sim: &Sim, name: &str, domains: &str) {
    named(sim, name, domains, "certificate_secret");
}

/// A service that names its certificate by this keyword.
fn named(sim: &Sim, name: &str, domains: &str, keyword: &str) {
    let config = format!(
        "[ip#1]\nipname = 127.77.6.1\nipdev = lo\nexpose = expose#0\n[expose#0]\ntype = envoy\n\
         gateway = envoy\nport = 80\nlistener_port = 443\nvhosts = vhost#0\n\
         listener_certificates = certificate#0\n[vhost#0]\ndomains = {domains}\n\
         [certificate#0]\n{keyword} = front\n"
    );
    sim.create(name, &config).expect("a service");
}

/// The names of the certificate that is there.
fn names(sim: &Sim) -> Vec<String> {
    let chain = sim.key(FRONT, "certificate_chain").unwrap_or_default();
    let leaf = osvc_igw::cert::leaf::Leaf::of_pem(&chain);
    Vec::from_iter(leaf.map(|leaf| leaf.names).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_come_and_go_with_the_services_that_serve_them() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start();
    let folder = Folder::new("auto");
    let socket = folder.0.join("lsnr.sock");
    let sim = Sim::start(&socket, &["n1"]).expect("a daemon");
    sim.create(ISSUER, "").expect("an object");
    for (key, text) in [
        ("directory", pebble.directory().as_str()),
        ("ca_bundle", pebble.ca_pem()),
    ] {
        sim.set_key(ISSUER, key, text).expect("a key");
    }
    let config = format!("[DEFAULT]\nca = {ISSUER}\n[labels]\nacme.names = auto\n");
    sim.create(FRONT, &config).expect("an object");
    service(&sim, "test/svc/one", "www.acme.org *");
    let _gateway = Gateway::start(&sim, pebble.http_port).await;
    let mut door = door(&["127.0.0.1"], pebble.http_port, 1);
    door.shown_max = Duration::ZERO;
    let operator = Operator::new(daemon(&socket), door).with_quiet(1);
    let running = Running::start(operator);
    until("the certificate", || issued(&sim)).await;
    assert_eq!(names(&sim), ["www.acme.org"]);
    service(&sim, "test/svc/two", "shop.acme.org");
    until("the next certificate", || {
        issued(&sim) && names(&sim).len() == 2
    })
    .await;
    assert_eq!(names(&sim), ["shop.acme.org", "www.acme.org"]);
    sim.remove("test/svc/one").expect("a service less");
    service(&sim, "test/svc/three", "new.acme.org");
    until("the last certificate", || {
        issued(&sim) && names(&sim).contains(&"new.acme.org".to_owned())
    })
    .await;
    running.kill().await;
    assert_eq!(names(&sim), ["new.acme.org", "shop.acme.org"]);
    assert_eq!(pebble.certificates(), 3, "{}", record(&sim));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_a_certificate_lacks_is_told_of_also_where_the_status_does_not_name_it() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pebble = Pebble::start();
    let folder = Folder::new("auto");
    let socket = folder.0.join("lsnr.sock");
    let sim = Sim::start(&socket, &["n1"]).expect("a daemon");
    declare(&sim, &pebble, "www.acme.org");
    service(&sim, "test/svc/one", "www.acme.org shop.acme.org");
    named(&sim, "test/svc/two", "api.acme.org", "secret");
    let door = door(&["127.0.0.1"], pebble.http_port, 1);
    let mut operator = Operator::new(daemon(&socket), door);
    let survey = operator.look().await.expect("a survey");
    let told: Vec<String> = survey.problems.iter().map(ToString::to_string).collect();
    let lacks = |service: &str, name: &str| {
        format!(
            "{service} expose#0.listener_certificates: {name} is served with the certificate \
             test/sec/front, which is not for it"
        )
    };
    let expect = [
        lacks("test/svc/one", "shop.acme.org"),
        lacks("test/svc/two", "api.acme.org"),
    ];
    assert_eq!(told, expect);
    assert_eq!(pebble.orders(), 0);
}
