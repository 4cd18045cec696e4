//! `osvc-igw acme`: the real binary, its commands, and what its log says at the level of trace.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use osvc_igw::sim::Sim;

use super::site::{FRONT, Gateway, ISSUER, declare, issued, until};
use crate::support::folder::Folder;
use crate::support::pebble::Pebble;

struct Binary<'a> {
    folder: &'a Folder,
    http_port: String,
}

impl Binary<'_> {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_osvc-igw"));
        command
            .arg("acme")
            .args(words)
            .arg("--socket")
            .arg(self.folder.0.join("lsnr.sock"))
            .args(["--acme-http-port", &self.http_port])
            .args(["--acme-gateways", "127.0.0.1"])
            .stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> (bool, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(words).output().expect("the binary");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("a text");
        (status.success(), text(stdout) + &text(stderr))
    }

    /// Runs the operator with everything in its log.
    fn operate(&self, log: &Path) -> Ended {
        let log = File::create(log).expect("a log file");
        let mut command = self.command(&["run", "--log-format", "json"]);
        command
            .env("RUST_LOG", "trace")
            .stdout(Stdio::null())
            .stderr(log);
        Ended(command.spawn().expect("the binary"))
    }
}

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn secrets(sim: &Sim) -> Vec<String> {
    let account = sim.key(ISSUER, "account").expect("an account");
    let account: serde_json::Value = serde_json::from_str(&account).expect("JSON");
    let account = account["key_pkcs8"].as_str().expect("a key").to_owned();
    let key = sim.key(FRONT, "private_key").expect("a key");
    let lines = key.lines().filter(|line| !line.starts_with("-----"));
    lines.map(str::to_owned).chain([account]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_tell_what_is_to_come_and_what_is_there_and_no_log_has_a_key() {
    let pebble = Pebble::start();
    let folder = Folder::new("acme");
    let sim = Sim::start(&folder.0.join("lsnr.sock"), &["n1"]).expect("a daemon");
    let binary = Binary {
        folder: &folder,
        http_port: pebble.http_port.to_string(),
    };
    let (done, text) = binary.run(&["plan"]);
    assert!(
        done && text.contains("no sec object declares a certificate"),
        "{text}"
    );
    declare(&sim, &pebble, "www.acme.org acme.org");
    let (done, text) = binary.run(&["plan"]);
    let told = "test/sec/front (acme.org www.acme.org)\n  orders now of";
    assert!(done && text.contains(told), "{text}");
    assert!(
        text.contains("number 1 of 5 certificates for the same names"),
        "{text}"
    );
    assert_eq!(pebble.orders(), 0);
    let (done, text) = binary.run(&["check-access", "test"]);
    assert!(done && text.contains("has every right"), "{text}");
    let (done, text) = binary.run(&["issue", "test/sec/other"]);
    assert!(!done && text.contains("declares no certificate"), "{text}");

    let _gateway = Gateway::start(&sim, pebble.http_port).await;
    let log = folder.0.join("acme.log");
    let running = binary.operate(&log);
    until("the certificate", || issued(&sim)).await;
    drop(running);
    let log = std::fs::read_to_string(log).expect("a log");
    assert!(log.contains("wrote a new certificate"), "{log}");
    for secret in secrets(&sim) {
        assert!(!log.contains(&secret), "a key is in the log");
    }
    let (done, text) = binary.run(&["status"]);
    assert!(done && text.contains("good until"), "{text}");
    let (done, text) = binary.run(&["issue", FRONT]);
    assert!(!done && text.contains("is not due"), "{text}");
    let before = sim.key(FRONT, "certificate");
    let (done, text) = binary.run(&["issue", FRONT, "--force"]);
    assert!(done && text.contains("good until"), "{text}");
    assert_ne!(sim.key(FRONT, "certificate"), before);
}
