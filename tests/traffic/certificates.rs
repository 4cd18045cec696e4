//! Certificates: who is let in, who is believed, and what is shown while a secret changes.

use std::time::Duration;

use osvc_igw::demo::ports;
use osvc_igw::sim::backend::Backend;
use osvc_igw::sim::certificate::{Authority, Identity};
use tokio::time::{sleep, timeout};

use super::tls_client::{Answer, get, leaf, sha256};
use crate::support::folder::Folder;
use crate::support::rig::Rig;

/// Tries until it holds.
pub(super) async fn until(what: &str, mut holds: impl AsyncFnMut() -> Result<(), String>) {
    let mut last = String::new();
    let trying = async {
        while let Err(why) = holds().await {
            last = why;
            sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = timeout(Duration::from_secs(20), trying).await;
    assert!(in_time.is_ok(), "{what}: {last}");
}

pub(super) fn status(answer: &Result<Answer, String>, wanted: u16) -> Result<(), String> {
    match answer {
        Ok(answer) if answer.status == wanted => Ok(()),
        Ok(answer) => Err(format!("{} {}", answer.status, answer.body)),
        Err(why) => Err(why.clone()),
    }
}

fn secret(rig: &Rig, path: &str, keys: &[(&str, &str)]) {
    rig.stage.sim.create(path, "").expect("a sec object");
    for (key, value) in keys {
        rig.stage.sim.set_key(path, key, value).expect("a key");
    }
}

pub(super) fn pair(rig: &Rig, path: &str, identity: &Identity) {
    let keys = [
        ("private_key", identity.key_pem.as_str()),
        ("certificate_chain", identity.chain_pem.as_str()),
    ];
    secret(rig, path, &keys);
}

/// A service that exposes the backend at `port`, with more keywords.
pub(super) fn service(rig: &Rig, path: &str, backend: &Backend, port: u16, keywords: &[&str]) {
    let ip = backend.address().ip();
    let ini = format!("[ip#1]\nipname = {ip}\nipdev = lo\n");
    rig.stage.sim.create(path, &ini).expect("a service");
    let mut all = vec![
        "expose#0.type=envoy".to_owned(),
        format!("expose#0.port={}", backend.address().port()),
        format!("expose#0.listener_port={port}"),
        "ip#1.expose=expose#0".to_owned(),
    ];
    all.extend(keywords.iter().map(|keyword| (*keyword).to_owned()));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    rig.stage.sim.set(path, &all).expect("its keywords");
}

pub(super) async fn backend(tls: Option<Identity>) -> Backend {
    let address = "127.77.4.1:0".parse().expect("an address");
    let backend = Backend::start(address, "back", tls).await;
    backend.expect("a backend")
}

async fn lds_updates(rig: &Rig) -> u64 {
    let stat = rig.envoy.stat("listener_manager.lds.update_success").await;
    stat.unwrap_or_default()
}

const VHOST: [&str; 2] = [
    "expose#0.vhosts=vhost#0",
    "expose#0.listener_certificates=certificate#0",
];

/// Three names on one port: clients are judged, judged if they show a certificate, not asked.
fn judging_services(rig: &Rig, back: &Backend, port: u16) {
    let judging = [
        VHOST[0],
        VHOST[1],
        "certificate#0.certificate_secret=front",
        "certificate#0.validation_secret=clients",
    ];
    let optional = "certificate#0.require_client_certificate=false";
    for (name, keywords) in [
        ("mtls", &judging[..]),
        ("maybe", &[&judging[..], &[optional]].concat()),
        ("open", &judging[..3]),
        (
            "pinned",
            &[&judging[..3], &["certificate#0.validation_secret=pin"]].concat(),
        ),
    ] {
        let domain = format!("vhost#0.domains={name}.acme.org");
        let keywords = [keywords, &[&domain]].concat();
        service(rig, &format!("test/svc/{name}"), back, port, &keywords);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_let_in_by_the_authority_of_its_certificate() {
    let rig = Rig::bare(&[]).await;
    let (front, clients, others) = authorities();
    let port = ports::free().unwrap();
    let back = backend(None).await;
    let names = [
        "mtls.acme.org",
        "maybe.acme.org",
        "open.acme.org",
        "pinned.acme.org",
    ];
    let ours = clients.issue("ours", &[]).unwrap();
    let theirs = others.issue("theirs", &[]).unwrap();
    let pin = sha256(&leaf(&ours));
    pair(
        &rig,
        "test/sec/front",
        &front.issue("front", &names).unwrap(),
    );
    secret(&rig, "test/sec/clients", &[("trusted_ca", clients.pem())]);
    secret(&rig, "test/sec/pin", &[("verify_certificate_hash", &pin)]);
    judging_services(&rig, &back, port);

    let get = async |name: &str, identity: Option<&Identity>, host: Option<&str>| {
        get(&format!("https://{name}"), port, &front, identity, host).await
    };
    until("open to all", async || {
        status(&get("open.acme.org", None, None).await, 200)
    })
    .await;
    until("ours", async || {
        status(&get("mtls.acme.org", Some(&ours), None).await, 200)
    })
    .await;
    until("maybe", async || {
        status(&get("maybe.acme.org", None, None).await, 200)
    })
    .await;
    until("pinned", async || {
        status(&get("pinned.acme.org", Some(&ours), None).await, 200)
    })
    .await;
    assert!(get("pinned.acme.org", Some(&theirs), None).await.is_err());
    assert!(get("pinned.acme.org", None, None).await.is_err());
    assert!(get("mtls.acme.org", Some(&theirs), None).await.is_err());
    assert!(get("mtls.acme.org", None, None).await.is_err());
    assert!(get("maybe.acme.org", Some(&theirs), None).await.is_err());
    // What is protected cannot be reached by a connection to a name that is not.
    let around = get("open.acme.org", None, Some("mtls.acme.org")).await;
    assert_eq!(around.unwrap().status, 404);

    let updates = lds_updates(&rig).await;
    let sim = &rig.stage.sim;
    sim.set_key("test/sec/clients", "trusted_ca", others.pem())
        .unwrap();
    until("theirs", async || {
        status(&get("mtls.acme.org", Some(&theirs), None).await, 200)
    })
    .await;
    assert!(get("mtls.acme.org", Some(&ours), None).await.is_err());
    assert_eq!(lds_updates(&rig).await, updates, "no listener changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_over_tls_is_not_reached_without() {
    let rig = Rig::bare(&[]).await;
    let authority = Authority::new("front").unwrap();
    let identity = authority.issue("tls", &["tls.acme.org"]).unwrap();
    pair(&rig, "test/sec/front", &identity);
    let (port, back) = (ports::free().unwrap(), backend(None).await);
    let tls = [
        VHOST[0],
        VHOST[1],
        "certificate#0.certificate_secret=front",
        "vhost#0.domains=tls.acme.org",
    ];
    service(&rig, "test/svc/tls", &back, port, &tls);
    let plain = [VHOST[0], "vhost#0.domains=plain.acme.org"];
    service(&rig, "test/svc/plain", &back, port, &plain);
    for (url, expect) in [
        ("https://tls.acme.org", 200),
        ("http://plain.acme.org", 200),
        ("http://tls.acme.org", 404),
    ] {
        until(url, async || {
            let answer = get(url, port, &authority, None, None).await;
            status(&answer, expect)
        })
        .await;
    }
    let other = Some("plain.acme.org");
    let answer = get("https://tls.acme.org", port, &authority, None, other).await;
    status(&answer, 404).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_is_believed_by_its_certificate() {
    let rig = Rig::bare(&[]).await;
    let (good, other, _) = authorities();
    let port = ports::free().unwrap();
    let names = [
        "right.acme.org",
        "wrong-ca.acme.org",
        "hash.acme.org",
        "wrong-hash.acme.org",
    ];
    let identity = good.issue("back", &names).unwrap();
    let back = backend(Some(identity.clone())).await;
    let leaf = leaf(&identity);
    let hash = sha256(&leaf);
    secret(&rig, "test/sec/ca", &[("trusted_ca", good.pem())]);
    secret(&rig, "test/sec/other", &[("trusted_ca", other.pem())]);
    secret(&rig, "test/sec/hash", &[("verify_certificate_hash", &hash)]);
    secret(
        &rig,
        "test/sec/nohash",
        &[("verify_certificate_hash", &"ab".repeat(32))],
    );
    let unchecked = "certificate#0.verify_server_name=false";
    // The secret, more keywords, and by what Envoy counts the failure, if it should fail.
    let cases: [(&str, &str, &[&str], &str); 6] = [
        ("right", "ca", &[], ""),
        ("wrong-ca", "other", &[], "fail_verify_error"),
        ("wrong-name", "ca", &[], "fail_verify_san"),
        ("any-name", "ca", &[unchecked], ""),
        ("hash", "hash", &[], ""),
        ("wrong-hash", "nohash", &[], "fail_verify_cert_hash"),
    ];
    for (name, secret, more, _) in cases {
        let domain = format!("vhost#0.domains={name}.acme.org");
        let validation = format!("certificate#0.validation_secret={secret}");
        let mut keywords = vec![
            "expose#0.vhosts=vhost#0",
            "expose#0.cluster_certificates=certificate#0",
            &domain,
            &validation,
        ];
        keywords.extend(more);
        service(&rig, &format!("test/svc/{name}"), &back, port, &keywords);
    }
    let get =
        async |name: &str| get(&format!("http://{name}.acme.org"), port, &good, None, None).await;
    for (name, _, _, failure) in cases {
        let wanted = if failure.is_empty() { 200 } else { 503 };
        until(name, async || status(&get(name).await, wanted)).await;
        if !failure.is_empty() {
            let stat = format!("cluster.test/svc/{name}.expose#0.ssl.{failure}");
            let failed = rig.envoy.stat(&stat).await;
            assert!(failed.is_some_and(|failed| failed > 0), "{stat}");
        }
    }
    let sim = &rig.stage.sim;
    sim.set_key("test/sec/other", "trusted_ca", good.pem())
        .unwrap();
    until("rotated", async || status(&get("wrong-ca").await, 200)).await;
    assert_eq!(
        rig.controller.status().await["problems"],
        serde_json::json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_in_the_section_itself() {
    let rig = Rig::bare(&[]).await;
    let (ca, _, _) = authorities();
    let port = ports::free().unwrap();
    let back = backend(None).await;
    let inline = ca.issue("inline", &["inline.acme.org"]).unwrap();
    let chain = format!(
        "certificate#0.certificate_chain_inline_string={}",
        inline.chain_pem
    );
    let key = format!("certificate#0.private_key_inline_string={}", inline.key_pem);
    let domain = "vhost#0.domains=inline.acme.org";
    service(
        &rig,
        "test/svc/inline",
        &back,
        port,
        &[VHOST[0], VHOST[1], domain, &chain, &key],
    );
    let url = "https://inline.acme.org";
    until("inline", async || {
        status(&get(url, port, &ca, None, None).await, 200)
    })
    .await;
    shows_no_key(&rig, &inline).await;
    assert_eq!(
        rig.controller.status().await["problems"],
        serde_json::json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_in_files_of_envoys_host() {
    let rig = Rig::bare(&[]).await;
    let folder = Folder::new("pem");
    let (ca, _, _) = authorities();
    let port = ports::free().unwrap();
    let back = backend(Some(ca.issue("back", &[]).unwrap())).await;
    let server = ca.issue("server", &["file.acme.org"]).unwrap();
    let client = ca.issue("client", &[]).unwrap();
    let files = [
        (
            "certificate#0.certificate_chain_filename",
            &server.chain_pem,
        ),
        ("certificate#0.private_key_filename", &server.key_pem),
        (
            "certificate#1.certificate_chain_filename",
            &client.chain_pem,
        ),
        ("expose#0.cluster_private_key_filename", &client.key_pem),
    ];
    let files_of = files.map(|(keyword, _)| keyword);
    let files = files.map(|(keyword, text)| {
        let file = folder.write(keyword, text);
        format!("{keyword}={}", file.display())
    });
    let mut keywords = vec![
        VHOST[0],
        VHOST[1],
        "vhost#0.domains=file.acme.org",
        "expose#0.cluster_certificates=certificate#1",
    ];
    keywords.extend(files.iter().map(String::as_str));
    service(&rig, "test/svc/file", &back, port, &keywords);
    let fetch = async || get("https://file.acme.org", port, &ca, None, None).await;
    until("file", async || status(&fetch().await, 200)).await;
    let body = fetch().await.unwrap().body;
    assert!(body.contains("client=client"), "{body}");
    // A file that is moved into the place of another is read anew.
    let next = ca.issue("next", &["file.acme.org"]).unwrap();
    for (keyword, text) in [(files_of[0], &next.chain_pem), (files_of[1], &next.key_pem)] {
        let new = folder.write("new", text);
        std::fs::rename(new, folder.0.join(keyword)).unwrap();
    }
    let leaf = leaf(&next);
    until("the next file", async || {
        match fetch().await?.certificate == leaf.as_ref() {
            true => Ok(()),
            false => Err("another certificate".to_owned()),
        }
    })
    .await;
    assert_eq!(
        rig.controller.status().await["problems"],
        serde_json::json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_new_pair_does_not_replace_the_old_one() {
    let rig = Rig::bare(&[]).await;
    let (ca, _, _) = authorities();
    let port = ports::free().unwrap();
    let back = backend(None).await;
    let names = ["web.acme.org"];
    let (old, new) = (
        ca.issue("old", &names).unwrap(),
        ca.issue("new", &names).unwrap(),
    );
    pair(&rig, "test/sec/front", &old);
    let domain = "vhost#0.domains=web.acme.org";
    let front = "certificate#0.certificate_secret=front";
    service(
        &rig,
        "test/svc/web",
        &back,
        port,
        &[VHOST[0], VHOST[1], front, domain],
    );
    let shown = async |identity: &Identity| {
        let leaf = leaf(identity);
        let answer = get("https://web.acme.org", port, &ca, None, None).await?;
        match answer.certificate == leaf.as_ref() {
            true => Ok(()),
            false => Err("another certificate".to_owned()),
        }
    };
    let problems = async || rig.controller.status().await["problems"].to_string();
    let told = async |text: &str| {
        until(text, async || {
            let problems = problems().await;
            problems.contains(text).then_some(()).ok_or(problems)
        })
        .await;
    };
    until("the old certificate", async || shown(&old).await).await;
    let updates = lds_updates(&rig).await;

    let sim = &rig.stage.sim;
    sim.set_key("test/sec/front", "private_key", &new.key_pem)
        .unwrap();
    told("not the one of its certificate; the certificate before is still served").await;
    shown(&old).await.unwrap();
    sim.unset_key("test/sec/front", "certificate_chain")
        .unwrap();
    told("has no key certificate_chain; the certificate before is still served").await;
    shown(&old).await.unwrap();
    sim.set_key("test/sec/front", "certificate_chain", &new.chain_pem)
        .unwrap();
    until("the new certificate", async || shown(&new).await).await;
    told("[]").await;
    assert_eq!(lds_updates(&rig).await, updates, "no listener changes");
    shows_no_key(&rig, &old).await;
    shows_no_key(&rig, &new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_served_and_told_of() {
    let rig = Rig::bare(&[]).await;
    let (ca, _, _) = authorities();
    let port = ports::free().unwrap();
    let back = backend(None).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["old.acme.org".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let identity = Identity {
        chain_pem: params.self_signed(&key).unwrap().pem(),
        key_pem: key.serialize_pem(),
    };
    pair(&rig, "test/sec/front", &identity);
    let domain = "vhost#0.domains=old.acme.org";
    let front = "certificate#0.certificate_secret=front";
    service(
        &rig,
        "test/svc/web",
        &back,
        port,
        &[VHOST[0], VHOST[1], front, domain],
    );
    until("expired", async || {
        match get("https://old.acme.org", port, &ca, None, None).await {
            Err(why) if why.contains("Expired") || why.contains("UnknownIssuer") => Ok(()),
            Err(why) => Err(why),
            Ok(answer) => Err(answer.body),
        }
    })
    .await;
    let problems = rig.controller.status().await["problems"].to_string();
    let told = "the certificate of test/sec/front has expired; it is still served";
    assert!(problems.contains(told), "{problems}");
}

fn authorities() -> (Authority, Authority, Authority) {
    let new = |name| Authority::new(name).expect("an authority");
    (new("ca-1"), new("ca-2"), new("ca-3"))
}

/// No page, log or dump has a line of the key.
async fn shows_no_key(rig: &Rig, identity: &Identity) {
    let mut texts = vec![rig.controller.log(), rig.envoy.log()];
    texts.push(rig.controller.status().await.to_string());
    texts.push(rig.envoy.text("/config_dump?include_eds").await);
    let lines = identity
        .key_pem
        .lines()
        .filter(|line| !line.starts_with('-'));
    for line in lines {
        assert!(line.len() >= 4);
        assert!(
            !texts.iter().any(|text| text.contains(line)),
            "a key is shown"
        );
    }
}
