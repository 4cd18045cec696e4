//! An account without one right at a time, over TLS: what is said of it, what is served beside it,
//! and that it clears when the right is given.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use osvc_igw::controller::View;
use osvc_igw::gateway::Policy;
use osvc_igw::inventory::Problem;
use osvc_igw::opensvc::raw::Limits;
use osvc_igw::xds::ResourceType;

use super::sites::{SERVICE, limits};
use super::{Served, Site, Way};

/// A service of another namespace, on another port.
const OTHER: &str = "other/svc/web2";
/// What is said where the configurations of `test` may not be read.
const UNREAD: &str = "the account igw has no grant admin:test: its configurations are not read, \
                      nor is what they define served (om system/usr/igw set --kw \
                      grant+=admin:test)";
/// What is said of the right, whatever was asked so far.
const LACK: &str = "the account igw has no grant admin:test: its configurations and the keys of \
                    its sec objects are not read, so its services are not served, or as they \
                    were read last, and listener_port=0 is not replaced by a port (om \
                    system/usr/igw set --kw grant+=admin:test)";

fn ini(port: u16, more: &str) -> String {
    format!(
        "[DEFAULT]\ntopology = flex\n[ip#1]\nipname = 10.0.1.1\nipdev = lo\nnetmask = 8\nexpose = \
         expose#0\n[expose#0]\ntype = envoy\nport = 80\nlistener_port = {port}\n{more}"
    )
}

/// TLS with the certificate of a `sec` object.
fn tls(secret: &str) -> String {
    let expose = "sni = web2.example.com\nlistener_certificates = certificate#front\n";
    format!("{expose}[certificate#front]\ntype = tls\ncertificate_secret = {secret}\n")
}

/// The site's service in `test`, one in `other`, and an account with this grant.
fn site(grant: &str) -> Site {
    let site = Site::start(Way::Tls);
    site.sim.create(OTHER, &ini(8090, "")).expect("a service");
    site.sim.set_user("igw", grant, None);
    site
}

/// A `sec` object with a certificate in it.
fn secret(site: &Site, path: &str) {
    let pair = site.authority.issue("web2", &["web2.example.com"]);
    let pair = pair.expect("a certificate");
    site.sim.create(path, "").expect("an object");
    for (key, text) in [
        ("certificate_chain", &pair.chain_pem),
        ("private_key", &pair.key_pem),
    ] {
        site.sim.set_key(path, key, text).expect("a key");
    }
}

/// A controller that asks anew who it is every half second.
fn served(site: &Site) -> Served {
    served_with(site, Policy::default())
}

fn served_with(site: &Site, policy: Policy) -> Served {
    let refresh = Duration::from_millis(500);
    let limits = Limits {
        refresh,
        ..limits()
    };
    Served::with(site.daemon_with(limits), policy)
}

fn reasons(view: &View, object: &str) -> Vec<String> {
    let problems = view.problems.iter();
    let of = problems.filter(|problem| problem.object.to_string() == object);
    of.map(|Problem { reason, .. }| reason.clone()).collect()
}

/// The clusters that are served.
fn clusters(served: &Served) -> BTreeSet<String> {
    let Some(snapshot) = served.snapshot() else {
        return BTreeSet::new();
    };
    let empty = osvc_igw::xds::Snapshot::default();
    let names = snapshot.changes(&empty);
    let clusters = names.filter(|(kind, _)| *kind == ResourceType::Cluster);
    clusters.map(|(_, name)| name.to_owned()).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The controller, with a service whose certificate is lent by a third namespace.
fn served_with_lent_secret(site: &Site) -> Served {
    secret(site, "certs/sec/web2");
    let with_tls = ini(8090, &tls("certs/sec/web2"));
    site.sim.edit(OTHER, &with_tls).expect("a service");
    let policy = Policy {
        secrets_of: names(&["certs"]),
        ..Policy::default()
    };
    served_with(site, policy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_with_every_right_lacks_nothing() {
    let site = site("guest:* admin:test admin:other");
    let served = served(&site);
    let view = served.shows(|view| view.resources.get(&ResourceType::Cluster) == Some(&2));
    let view = view.await;
    assert_eq!(view.account.as_deref(), Some("igw"));
    assert_eq!((view.lacks, view.problems), (names(&[]), Arc::default()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_admin_of_a_namespace_the_others_are_served_at_once() {
    let site = site("guest:* admin:other");
    let served = served(&site);
    let view = served.shows(|view| view.ready).await;
    assert_eq!(clusters(&served), names(&["other/svc/web2.expose#0"]));
    assert_eq!(reasons(&view, SERVICE), [UNREAD]);
    assert_eq!(view.lacks, names(&[LACK]));
    site.sim
        .set_user("igw", "guest:* admin:other admin:test", None);
    let cleared = |view: &View| view.problems.is_empty() && view.lacks.is_empty();
    served.shows(cleared).await;
    let both = names(&["other/svc/web2.expose#0", "test/svc/web1.expose#0"]);
    assert_eq!(clusters(&served), both);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_may_not_be_read_is_named_with_the_grant_that_lets_it() {
    let site = site("guest:* admin:test admin:other");
    let served = served_with_lent_secret(&site);
    let refused = |view: &View| view.ready && !reasons(view, "certs/sec/web2").is_empty();
    let view = served.shows(refused).await;
    assert_eq!(
        reasons(&view, "certs/sec/web2"),
        [
            "the account igw has no grant admin:certs: the keys of its objects are not read, \
             nor is what needs them served (om system/usr/igw set --kw grant+=admin:certs)"
        ]
    );
    assert_eq!(clusters(&served), names(&["test/svc/web1.expose#0"]));
    assert_eq!(view.lacks.len(), 1, "{:?}", view.lacks);
    site.sim
        .set_user("igw", "guest:* admin:test admin:other admin:certs", None);
    served.shows(|view| view.problems.is_empty()).await;
    assert_eq!(clusters(&served).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_not_seen_is_named_with_the_grant_that_shows_it() {
    let site = site("admin:test admin:other");
    let served = served_with_lent_secret(&site);
    let view = served
        .shows(|view| view.ready && !view.lacks.is_empty())
        .await;
    let unseen = "the account igw has no grant guest:certs: its objects are not seen (om \
                  system/usr/igw set --kw grant+=guest:certs)";
    assert!(view.lacks.contains(unseen), "{:?}", view.lacks);
    assert_eq!(clusters(&served), names(&["test/svc/web1.expose#0"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_is_not_seen_any_more_is_named_and_the_others_are_served() {
    let site = site("admin:test admin:other");
    let served = served(&site);
    let both = |view: &View| view.resources.get(&ResourceType::Cluster) == Some(&2);
    served.shows(both).await;
    site.sim.set_user("igw", "admin:other", None);
    let view = served.shows(|view| !view.lacks.is_empty()).await;
    let unseen = "the account igw has no grant guest:test: its objects are not seen (om \
                  system/usr/igw set --kw grant+=guest:test)";
    assert_eq!(view.lacks, names(&[LACK, unseen]));
    assert!(clusters(&served).contains("other/svc/web2.expose#0"));
    site.sim.set_user("igw", "admin:test admin:other", None);
    served.shows(|view| view.lacks.is_empty()).await;
    served.shows(both).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_without_any_grant_is_told_so() {
    let site = site("");
    let served = served(&site);
    let view = served
        .shows(|view| view.ready && !view.lacks.is_empty())
        .await;
    let nothing = "the account igw has no grant guest:NAMESPACE: no object is seen (om \
                   system/usr/igw set --kw grant+=guest:NAMESPACE)";
    assert_eq!(view.lacks, names(&[nothing]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_may_not_be_written_is_shown_with_the_grant_that_lets_it() {
    let site = site("guest:* admin:test admin:other");
    let served = served(&site);
    served.shows(|view| view.ready).await;
    // What was read once is known: without the right the port can be chosen and not written.
    let any = "expose#0.listener_port=0";
    site.sim.set(SERVICE, &[any]).expect("a service");
    served.shows(|view| !view.writes.is_empty()).await;
    site.sim.set_user("igw", "guest:* admin:other", None);
    let view = served.shows(|view| view.writes.iter().any(|one| one.failure.is_some()));
    let view = view.await;
    let failure = view.writes[0].failure.clone().unwrap_or_default();
    assert!(failure.contains("no grant admin:test"), "{failure}");
    assert!(failure.contains("(om system/usr/igw set"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_nobody_knows_is_said_to_be_so_at_once() {
    let site = site("guest:* admin:test admin:other");
    let stranger = site.authority.issue("stranger", &["stranger"]);
    let stranger = stranger.expect("a certificate");
    site.folder.write("cert.pem", &stranger.chain_pem);
    site.folder.write("key.pem", &stranger.key_pem);
    let served = served(&site);
    let view = served.shows(|view| view.failure.is_some()).await;
    let failure = view.failure.unwrap_or_default();
    assert!(
        failure.contains("has to be that of a usr object"),
        "{failure}"
    );
    assert!(!view.connected && !view.ready);
}
