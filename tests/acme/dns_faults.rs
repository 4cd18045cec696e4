//! What goes wrong with records in the DNS: each ends with a record that says what, with nothing
//! secret in it, without a second order, and with the zone as it was.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use osvc_igw::cert::dns::Reach;
use osvc_igw::cert::dns::lookup::Resolver;
use osvc_igw::cert::report::planned;
use osvc_igw::clock::unix_seconds;

use super::dns::webhook;
use super::site::{FRONT, Gateway, issued, until};
use super::zone::{NOTHING_MORE, Zone};
use crate::support::knot::{READER, SECRET};

const WRONG: &str = "aHVudGVyMi1odW50ZXIyLWh1bnRlcjI=";

/// What is said of updates, and what the record says then.
const UPDATES: [(&[(&str, &str)], &str); 7] = [
    (
        &[("dns_tsig_secret", WRONG)],
        "has another secret for the key writer (BADSIG)",
    ),
    (
        &[("dns_tsig_name", "nobody")],
        "has no key nobody with this algorithm that may write to acme.org. (BADKEY)",
    ),
    (&[("dns_tsig_algorithm", "hmac-sha512")], "(BADKEY)"),
    (
        &[("dns_tsig_name", READER)],
        "has no key reader with this algorithm that may write to acme.org. (BADKEY)",
    ),
    (
        &[("dns_zone", "acme.net")],
        "_acme-challenge.acme.org. is not in the zone acme.net. (key dns_zone)",
    ),
    (
        &[("dns_zone", "org")],
        "is not the primary of org., or has no key writer for it (NOTAUTH)",
    ),
    (
        &[("dns_server", "127.0.0.1:1")],
        "the name server 127.0.0.1:1: no answer: Connection refused",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_is_not_done_is_told_without_the_key_and_the_order_waits_for_the_next() {
    let zone = Zone::start("*.acme.org", &[("acme.org", "")]);
    for (keys, told) in UPDATES {
        zone.by_update();
        zone.says("dns_zone", "");
        zone.says("dns_tsig_algorithm", "hmac-sha256");
        for (key, value) in keys {
            zone.says(key, value);
        }
        let mut operator = zone.operator().await;
        let reason = zone.try_once(&mut operator).await.expect_err(told);
        assert!(reason.contains(told), "{keys:?}: {reason}");
        let error = zone.error();
        assert_eq!(error, reason);
        assert!(
            ![SECRET, WRONG, "hunter2"]
                .iter()
                .any(|key| error.contains(key)),
            "{error}"
        );
        assert_eq!(zone.pebble.orders(), 1);
    }
    assert!(zone.knot.texts("_acme-challenge.acme.org").await.is_empty());
    zone.by_update();
    let mut operator = zone.operator().await;
    assert_eq!(zone.try_once(&mut operator).await, Ok(()));
    assert_eq!((zone.pebble.orders(), zone.pebble.certificates()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_before_it_takes_records_away_has_them_taken_away_by_the_next() {
    let zone = Zone::start("acme.org *.acme.org", &[("acme.org", "")]);
    zone.by_update();
    let told = ("\"status\": \"ready\"", NOTHING_MORE);
    let mut operator = zone.operator_over(zone.reach(), told.0, told.1).await;
    let path = FRONT.parse().expect("a path");
    let first = tokio::spawn(async move { operator.work(&path, false).await });
    let stuck = Arc::clone(&zone.stuck);
    until("the last challenge", || stuck.load(Ordering::SeqCst)).await;
    first.abort();
    let _ = first.await;
    let at = "_acme-challenge.acme.org";
    assert_eq!(zone.knot.texts(at).await.len(), 2);
    let mut operator = zone.operator().await;
    assert_eq!(zone.try_once(&mut operator).await, Ok(()));
    assert!(zone.knot.texts(at).await.is_empty());
    assert_eq!((zone.pebble.orders(), zone.pebble.certificates()), (1, 1));
}

fn ended(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat"));
    // One that nobody waited for yet has ended, too.
    stat.map_or(true, |stat| stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_fails_or_does_not_end_is_told_and_nothing_of_it_is_left() {
    let zone = Zone::start("*.acme.org", &[("acme.org", "")]);
    zone.by_program("echo first >&2\necho 'cannot reach the registrar' >&2\nexit 3\n");
    let mut operator = zone.operator().await;
    let reason = zone
        .try_once(&mut operator)
        .await
        .expect_err("an exit code");
    let told = "write.sh present: exit status: 3: cannot reach the registrar";
    assert_eq!((reason.as_str(), zone.error().as_str()), (told, told));

    let pid = zone.folder.0.join("pid");
    let text = format!(
        "sleep 600 & echo $! > {}\necho asleep >&2\nwait\n",
        pid.display()
    );
    zone.by_program(&text);
    let reach = Reach {
        program_max: Duration::from_secs(1),
        ..zone.reach()
    };
    let mut operator = zone.operator_over(reach, "", "").await;
    let reason = zone.try_once(&mut operator).await.expect_err("no end");
    assert_eq!(reason, "write.sh present did not end in 1 s: asleep");
    let pid = fs::read_to_string(pid).expect("the number of a process");
    until("the end of what the program started", || ended(&pid)).await;

    zone.says("exec", "gone.sh");
    let mut operator = zone.operator().await;
    let reason = zone.try_once(&mut operator).await.expect_err("no program");
    assert!(
        reason.starts_with("gone.sh cannot be run: No such file"),
        "{reason}"
    );
    assert_eq!(zone.pebble.orders(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_program_is_run_that_whoever_started_the_operator_did_not_allow() {
    let zone = Zone::start("*.acme.org", &[("acme.org", "")]);
    let ran = zone.folder.0.join("ran");
    zone.by_program(&format!("touch {}\n", ran.display()));
    let reach = Reach {
        programs: None,
        ..zone.reach()
    };
    let mut operator = zone.operator_over(reach, "", "").await;
    let reason = zone.try_once(&mut operator).await.expect_err("no folder");
    assert!(
        reason.starts_with("test/sec/ca.exec: names a program, and"),
        "{reason}"
    );
    let survey = operator.look().await.expect("a survey");
    let subject = &survey.subjects[&FRONT.parse().expect("a path")];
    let now = unix_seconds();
    let plan = planned(now, subject, &operator.plan(now, subject));
    assert!(
        plan.contains("nothing: ") && plan.contains("--acme-exec-dir"),
        "{plan}"
    );
    for name in ["../programs/write.sh", "/bin/true"] {
        zone.says("exec", name);
        let mut operator = zone.operator().await;
        let survey = operator.look().await.expect("a survey");
        assert!(survey.subjects.is_empty(), "{name}");
        assert!(
            survey.problems[0].to_string().contains("is no plain name"),
            "{name}"
        );
    }
    assert!(!ran.exists() && zone.pebble.orders() == 0);
}

/// What the directory says beside the rest.
const CAA_IDENTITY: (&str, &str) = (
    "\"meta\": {",
    "\"meta\": {\"caaIdentities\": [\"ca.example\"], ",
);

#[tokio::test(flavor = "multi_thread")]
async fn names_whose_records_name_another_authority_are_told_before_an_order_is_made() {
    let records = "@ CAA 0 issue \"ca.example\"\nshut CAA 0 issue \"other.example\"\n\
                   @ CAA 0 issuewild \";\"";
    let zone = Zone::start(
        "acme.org a.shut.acme.org *.acme.org",
        &[("acme.org", records)],
    );
    zone.by_update();
    let (that, this) = CAA_IDENTITY;
    let mut operator = zone.operator_over(zone.reach(), that, this).await;
    let reason = zone.try_once(&mut operator).await.expect_err("a denial");
    assert_eq!(
        reason,
        "*.acme.org: the CAA records of acme.org do not name ca.example; a.shut.acme.org: the CAA \
         records of shut.acme.org do not name ca.example"
    );
    assert_eq!((zone.error(), zone.pebble.orders()), (reason, 0));
    let wait = super::site::record(&zone.sim)["next_try"]
        .as_i64()
        .unwrap_or_default();
    assert!((3_500..=3_600).contains(&(wait - unix_seconds())), "{wait}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_made_where_the_records_cannot_be_looked_up() {
    let zone = Zone::start(
        "acme.org",
        &[("acme.org", "@ CAA 0 issue \"other.example\"")],
    );
    zone.says("challenge", "http-01");
    let _gateway = Gateway::start(&zone.sim, zone.pebble.http_port).await;
    let reach = Reach {
        resolver: Resolver::new(vec![([127, 0, 0, 1], 1).into()]),
        ..zone.reach()
    };
    let (that, this) = CAA_IDENTITY;
    let mut operator = zone.operator_over(reach, that, this).await;
    assert_eq!(zone.try_once(&mut operator).await, Ok(()));
    assert!(issued(&zone.sim));
}

/// Runs one command of the real binary, with everything in its log.
async fn command(zone: &Zone, words: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osvc-igw"));
    command
        .arg("acme")
        .args(words)
        .arg("--socket")
        .arg(zone.folder.0.join("lsnr.sock"))
        .args(["--acme-resolver", &zone.knot.address.to_string()])
        .args(["--acme-gateways", "127.0.0.1"])
        .args(["--acme-https-port", "1"])
        .env("RUST_LOG", "trace")
        .stdin(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || command.output());
    let output = ended.await.expect("a task").expect("the binary");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_has_a_key_of_the_dns_or_a_password_of_a_webhook() {
    let zone = Zone::start("*.acme.org", &[("acme.org", "")]);
    zone.says("dns_nameservers", &zone.knot.address.to_string());
    let heard = Arc::default();
    let hook = webhook(Arc::clone(&zone.knot), Arc::clone(&heard)).await;
    zone.says("dns", "httpreq");
    zone.says("httpreq_url", &format!("http://{hook}/dns"));
    zone.says("httpreq_user", "lego");
    zone.says("httpreq_password", "wrong-horse");
    let (done, first) = command(&zone, &["issue", FRONT, "--force"]).await;
    assert!(
        !done && first.contains("answers present with HTTP 401"),
        "{first}"
    );
    assert!(heard.load(Ordering::SeqCst) > 0);
    let (done, plan) = command(&zone, &["plan"]).await;
    assert!(
        done && plan.contains("goes on") && plan.contains("HTTP 401"),
        "{plan}"
    );
    zone.by_update();
    let (done, second) = command(&zone, &["issue", FRONT, "--force"]).await;
    assert!(
        done && second.contains("wrote a new certificate"),
        "{second}"
    );
    // "lego:wrong-horse", too.
    for secret in [SECRET, "wrong-horse", "bGVnbzp3cm9uZy1ob3JzZQ"] {
        for log in [&first, &plan, &second] {
            assert!(!log.contains(secret), "{secret} is in a log");
        }
    }
}
