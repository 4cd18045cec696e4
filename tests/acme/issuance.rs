//! A first certificate: the challenge goes through the cluster to every gateway, and the new
//! certificate comes back the same way.

use osvc_igw::bootstrap::{Bootstrap, XdsAddress};
use osvc_igw::cert::operator::Operator;
use osvc_igw::demo::ports;
use osvc_igw::sim::backend::Backend;

use super::site::{CARRIER, FRONT, ISSUER, Running, daemon, declare, door, issued, record, until};
use crate::support::controller::{Controller, Options};
use crate::support::envoy::Envoy;
use crate::support::folder::Folder;
use crate::support::pebble::Pebble;
use crate::support::rig::Rig;

/// A gateway beside the rig's own, of another name.
pub(super) struct Second {
    _envoy: Envoy,
    _controller: Controller,
    _folder: Folder,
}

impl Second {
    pub(super) async fn start(rig: &Rig, more: &[&str]) -> Self {
        let folder = Folder::new("second");
        let mut options = Options::new(&folder.0);
        options.daemon.clone_from(&rig.options.daemon);
        let options = options.with(&["--name", "second"]).with(more);
        let mut controller = Controller::start(&options);
        controller.ready().await;
        let bootstrap = Bootstrap {
            node_id: "second".to_owned(),
            node_cluster: "second".to_owned(),
            xds: XdsAddress::Tcp {
                host: "127.0.0.1".to_owned(),
                port: options.xds.port(),
            },
            admin: ([127, 0, 0, 1], 0).into(),
        };
        Self {
            _envoy: Envoy::start(&bootstrap).await,
            _controller: controller,
            _folder: folder,
        }
    }
}

/// A TLS service of a gateway with the certificate that is asked for.
pub(super) fn site(
    rig: &Rig,
    name: &str,
    gateway: &str,
    address: &str,
    port: u16,
    backend: &Backend,
) {
    let (ip, backend_port) = (backend.address().ip(), backend.address().port());
    let config = format!(
        "[ip#1]\nipname = {ip}\nipdev = lo\nexpose = expose#0\n[expose#0]\ntype = envoy\n\
         gateway = {gateway}\nport = {backend_port}\nlistener_addr = {address}\n\
         listener_port = {port}\nvhosts = vhost#0\nlistener_certificates = certificate#0\n\
         [vhost#0]\ndomains = www.acme.org acme.org\n\
         [certificate#0]\ncertificate_secret = front\n"
    );
    rig.stage.sim.create(name, &config).expect("a service");
}

/// A plain service that sends everybody to https.
fn redirect(rig: &Rig, port: u16, backend: &Backend) {
    let (ip, backend_port) = (backend.address().ip(), backend.address().port());
    let config = format!(
        "[ip#1]\nipname = {ip}\nipdev = lo\nexpose = expose#0\n[expose#0]\ntype = envoy\n\
         gateway = envoy\nport = {backend_port}\nlistener_addr = 127.0.0.1\n\
         listener_port = {port}\n\
         vhosts = vhost#0\n[vhost#0]\ndomains = www.acme.org\nroutes = route#0\n\
         [route#0]\nmatch_prefix = /\nredirect_https_redirect = true\n"
    );
    rig.stage
        .sim
        .create("test/svc/plain", &config)
        .expect("a service");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_certificate_is_issued_and_shown_by_two_gateways() {
    let pebble = Pebble::start();
    let http = pebble.http_port.to_string();
    let rig = Rig::bare(&["--acme-http-port", &http]).await;
    let _second = Second::start(&rig, &["--acme-http-port", &http]).await;
    let backend = Backend::start("127.77.5.1:0".parse().expect("an address"), "back", None).await;
    let backend = backend.expect("a backend");
    let tls = ports::free().expect("a free port");
    site(&rig, "test/svc/one", "envoy", "127.0.0.1", tls, &backend);
    site(&rig, "test/svc/two", "second", "127.0.0.2", tls, &backend);
    redirect(&rig, pebble.http_port, &backend);
    let sim = &rig.stage.sim;
    declare(sim, &pebble, "www.acme.org acme.org");
    let door = door(&["127.0.0.1", "127.0.0.2"], pebble.http_port, tls);
    let operator = Running::start(Operator::new(daemon(&rig.options.daemon), door));
    until("the certificate", || issued(sim)).await;
    assert!(
        record(sim)["deployed"].as_i64().is_some_and(|at| at > 0),
        "{}",
        record(sim)
    );
    assert_eq!((pebble.orders(), pebble.certificates()), (1, 1));
    assert_eq!(sim.key(CARRIER, "http-01").as_deref(), Some("[]"));
    assert!(sim.key(ISSUER, "account").is_some());
    for key in ["private_key", "certificate", "certificate_chain", "fullpem"] {
        assert!(
            sim.key(FRONT, key)
                .is_some_and(|text| text.contains("-----BEGIN")),
            "{key}"
        );
    }
    operator.kill().await;
}
