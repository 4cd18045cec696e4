//! Names that are shown to be ours by records in the DNS: a real name server takes them, a real
//! authority reads them there, and afterwards the zone is as it was.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use osvc_igw::cert::dns::Reach;
use osvc_igw::cert::dns::update::Change;
use osvc_igw::cert::operator::Operator;
use osvc_igw::cert::report::planned;
use osvc_igw::demo::ports;
use osvc_igw::sim::backend::Backend;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::site::{FRONT, Running, daemon, door, issued, record, until};
use super::zone::Zone;
use crate::support::folder::Folder;
use crate::support::knot::{Knot, SECRET, WRITER};
use crate::support::rig::Rig;

const CHALLENGE: &str = "_acme-challenge.acme.org";
/// A record of somebody else's, where ours go.
const OTHER: (&str, &str) = ("acme.org", "_acme-challenge TXT \"of somebody else\"");

#[track_caller]
fn done(zone: &Zone) {
    assert!(issued(&zone.sim), "no certificate: {}", zone.error());
    assert_eq!((zone.pebble.orders(), zone.pebble.certificates()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_and_its_domain_are_issued_by_updates_which_leave_the_zone_as_it_was() {
    let alias = format!("{}\n_acme-challenge.www CNAME www.challenges", OTHER.1);
    let zones = [("acme.org", alias.as_str()), ("acme.net", "")];
    let zone = Zone::start("acme.org *.acme.org www.acme.org b.acme.net", &zones);
    zone.by_update();
    let mut operator = zone.operator().await;
    assert_eq!(zone.try_once(&mut operator).await, Ok(()));
    done(&zone);
    assert_eq!(zone.knot.texts(CHALLENGE).await, ["of somebody else"]);
    for name in ["www.challenges.acme.org", "_acme-challenge.b.acme.net"] {
        assert!(zone.knot.texts(name).await.is_empty(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_is_issued_by_a_program_which_is_told_names_and_texts_alone() {
    let zone = Zone::start("acme.org *.acme.org", &[OTHER]);
    let env = zone.folder.0.join("env");
    zone.by_program(&format!(
        "env > {}\n\
         case $1 in present) verb=add ;; cleanup) verb=del ;; esac\n\
         printf 'server 127.0.0.1 {}\\nzone acme.org.\\nkey hmac-sha256:{WRITER} {SECRET}\\n%s %s \
         60 TXT \"%s\"\\nsend\\n' $verb \"$2\" \"$3\" | knsupdate\n",
        env.display(),
        zone.knot.address.port(),
    ));
    let mut operator = zone.operator().await;
    assert_eq!(zone.try_once(&mut operator).await, Ok(()));
    done(&zone);
    assert_eq!(zone.knot.texts(CHALLENGE).await, ["of somebody else"]);
    let env = fs::read_to_string(env).expect("what the program saw");
    let names = env.lines().filter_map(|line| line.split_once('='));
    // A shell sets these by itself.
    let given = names.filter(|(name, _)| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name));
    assert_eq!(given.map(|(name, _)| name).collect::<Vec<_>>(), ["PATH"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_is_seen_at_the_gateway_that_shows_it() {
    let rig = Rig::bare(&[]).await;
    let backend = Backend::start("127.77.6.1:0".parse().expect("an address"), "back", None).await;
    let backend = backend.expect("a backend");
    let tls = ports::free().expect("a free port");
    let (ip, port) = (backend.address().ip(), backend.address().port());
    let service = format!(
        "[ip#1]\nipname = {ip}\nipdev = lo\nexpose = expose#0\n[expose#0]\ntype = envoy\n\
         gateway = envoy\nport = {port}\nlistener_addr = 127.0.0.1\nlistener_port = {tls}\n\
         vhosts = vhost#0\nlistener_certificates = certificate#0\n\
         [vhost#0]\ndomains = *.acme.org\n[certificate#0]\ncertificate_secret = front\n"
    );
    let created = rig.stage.sim.create("test/svc/one", &service);
    created.expect("a service");
    let cluster = (rig.stage.sim.clone(), Folder::new("zone"));
    let zone = Zone::of(cluster, "*.acme.org", &[OTHER], &[]);
    zone.by_update();
    let door = door(&["127.0.0.1"], 1, tls);
    let operator = Operator::new(daemon(&rig.options.daemon), door).with_reach(zone.reach());
    let operator = Running::start(operator);
    until("the certificate", || issued(&zone.sim)).await;
    let record = record(&zone.sim);
    assert!(
        record["deployed"].as_i64().is_some_and(|at| at > 0),
        "{record}"
    );
    operator.kill().await;
}

/// A webhook that lets in who knows the password, and writes to Knot. Returns where it is.
pub(super) async fn webhook(knot: Arc<Knot>, heard: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut text = String::new();
            while !text.ends_with('}') {
                let mut bytes = [0; 2_048];
                let read = stream.read(&mut bytes).await.unwrap_or_default();
                text += &String::from_utf8_lossy(&bytes[..read]);
            }
            heard.fetch_add(1, Ordering::SeqCst);
            // "lego:hunter2"
            let known = text.contains("authorization: Basic bGVnbzpodW50ZXIy\r\n");
            let (head, body) = text.split_once("\r\n\r\n").expect("a request");
            let body: Value = serde_json::from_str(body).expect("JSON");
            let what = match head.split(' ').nth(1) {
                Some("/dns/present") => Change::Add,
                Some("/dns/cleanup") => Change::Remove,
                _ => panic!("{head}"),
            };
            let [fqdn, value] = ["fqdn", "value"].map(|key| body[key].as_str().expect("a text"));
            assert!(fqdn.ends_with('.'), "{fqdn}");
            let status = match known {
                true => "200 OK",
                false => "401 Unauthorized",
            };
            if known {
                knot.write(what, fqdn, value).await;
            }
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_is_issued_by_a_webhook_once_it_is_given_the_right_password() {
    let zone = Zone::start("acme.org *.acme.org", &[OTHER]);
    let heard = Arc::new(AtomicUsize::new(0));
    let at = webhook(Arc::clone(&zone.knot), Arc::clone(&heard)).await;
    zone.says("dns", "httpreq");
    zone.says("httpreq_url", &format!("http://{at}/dns/"));
    zone.says("httpreq_user", "lego");
    zone.says("httpreq_password", "wrong-horse");
    let mut operator = zone.operator().await;
    let reason = zone
        .try_once(&mut operator)
        .await
        .expect_err("a wrong password");
    let told = format!("the webhook at {at} answers present with HTTP 401 Unauthorized");
    assert!(
        reason.contains(&told) && !reason.contains("wrong-horse"),
        "{reason}"
    );
    assert_eq!(zone.error(), reason);
    zone.says("httpreq_password", "hunter2");
    let mut operator = zone.operator().await;
    assert_eq!(zone.try_once(&mut operator).await, Ok(()));
    done(&zone);
    assert_eq!(zone.knot.texts(CHALLENGE).await, ["of somebody else"]);
    assert_eq!(heard.load(Ordering::SeqCst), 8);
}

/// A name server that hears of texts after it was asked for them so often; it counts how often.
async fn late(knot: SocketAddr, after: usize, asked: Arc<AtomicUsize>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut bytes = [0; 2_048];
        while let Ok((read, from)) = socket.recv_from(&mut bytes).await {
            let forward = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
            forward
                .send_to(&bytes[..read], knot)
                .await
                .expect("a question");
            let mut answer = [0; 2_048];
            let length = forward.recv(&mut answer).await.expect("an answer");
            let mut answer = Message::from_vec(&answer[..length]).expect("an answer");
            let texts = answer.queries[0].query_type() == RecordType::TXT;
            if texts && asked.fetch_add(1, Ordering::SeqCst) < after {
                answer.answers.clear();
            }
            let answer = answer.to_vec().expect("an answer");
            socket.send_to(&answer, from).await.expect("an asker");
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_is_told_when_the_last_name_server_has_the_record() {
    let zone = Zone::start("*.acme.org", &[OTHER]);
    zone.by_update();
    let asked = Arc::new(AtomicUsize::new(0));
    let late = late(zone.knot.address, 3, Arc::clone(&asked)).await;
    zone.says("dns_nameservers", &format!("{} {late}", zone.knot.address));
    zone.says("dns_wait", "1s");
    let mut operator = zone.operator().await;
    let reason = zone
        .try_once(&mut operator)
        .await
        .expect_err("a late server");
    let told = format!("{CHALLENGE}. is not seen after 1s: {late} does not have it");
    assert!(reason.contains(&told), "{reason}");
    assert_eq!(zone.error(), reason);
    assert_eq!(zone.knot.texts(CHALLENGE).await, ["of somebody else"]);
    zone.says("dns_wait", "1m");
    let mut operator = zone.operator().await;
    assert_eq!(zone.try_once(&mut operator).await, Ok(()));
    done(&zone);
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standing_record_is_told_before_an_order_is_made_and_then_is_enough() {
    let always = [("PEBBLE_VA_ALWAYS_VALID", "1")];
    let zone = Zone::start_at("acme.org *.acme.org", &[("acme.org", "")], &always);
    zone.says("challenge", "dns-persist-01");
    zone.says("issuer_domain", "ca.example");
    let reach = || Reach {
        programs: None,
        ..zone.reach()
    };
    // This Pebble does not offer it; what it offers is called by that name.
    let over = || zone.operator_over(reach(), "\"dns-01\"", "\"dns-persist-01\"");
    let mut operator = over().await;
    let reason = zone.try_once(&mut operator).await.expect_err("no record");
    let name = "_validation-persist.acme.org.";
    let head = format!("{name} TXT \"ca.example; accounturi=https://");
    assert!(
        reason.starts_with(&head) && reason.ends_with("does not"),
        "{reason}"
    );
    assert!(reason.contains("; policy=wildcard\""), "{reason}");
    assert_eq!((zone.error(), zone.pebble.orders()), (reason.clone(), 0));

    let text = reason.split('"').nth(1).expect("a text").to_owned();
    // It is told by the commands, too, once there is an account.
    let survey = operator.look().await.expect("a survey");
    let subject = &survey.subjects[&FRONT.parse().expect("a path")];
    let plan = planned(0, subject, &operator.plan(0, subject));
    assert!(
        plan.contains(&format!("needs the record {name} TXT \"{text}\"")),
        "{plan}"
    );

    zone.knot
        .write(Change::Add, name, &text.replace("; policy=wildcard", ""))
        .await;
    let reason = zone.try_once(&mut operator).await.expect_err("no wildcard");
    assert!(
        reason.contains("the one that does has no policy=wildcard"),
        "{reason}"
    );

    zone.knot.write(Change::Add, name, &text).await;
    let mut operator = over().await;
    assert_eq!(zone.try_once(&mut operator).await, Ok(()));
    done(&zone);
    assert_eq!(zone.knot.texts(name).await.len(), 2);
    assert!(zone.sim.key(FRONT, "private_key").is_some());
}
