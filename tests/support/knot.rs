//! A real name server as a child process: Debian's `knot`, with zones that one key may write.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use osvc_igw::cert::dns::lookup::Resolver;
use osvc_igw::cert::dns::lookup::{NameServer, absolute};
use osvc_igw::cert::dns::settings::{Algorithm, Server, Update};
use osvc_igw::cert::dns::update::{Change, change};
use osvc_igw::clock::unix_seconds;
use osvc_igw::demo::ports;
use osvc_igw::inventory::Sensitive;

use super::folder::Folder;

/// The key that may write.
pub(crate) const WRITER: &str = "writer";
/// A key that the server has and that may not.
pub(crate) const READER: &str = "reader";
/// The secret of both.
pub(crate) const SECRET: &str = "c29tZXRoaW5nIHRoYXQgbm9ib2R5IGd1ZXNzZXM=";

/// A running Knot. Dropping it kills the process; a failing test shows its log.
pub(crate) struct Knot {
    child: Child,
    folder: Folder,
    /// Where it answers, over UDP and TCP.
    pub(crate) address: SocketAddr,
}

impl Knot {
    /// Starts one with these zones: the name of each, and what it has beside its name server and
    /// an address for every name of it, 127.0.0.1.
    pub(crate) fn start(zones: &[(&str, &str)]) -> Self {
        let port = ports::free().expect("a free port");
        let folder = Folder::new("knot");
        std::fs::create_dir(folder.0.join("db")).expect("a folder");
        let home = folder.0.display();
        let mut config = format!(
            "server:\n  rundir: {home}\n  listen: 127.0.0.1@{port}\n\
             log:\n  - target: stderr\n    any: debug\n\
             database:\n  storage: {home}/db\n\
             key:\n"
        );
        for key in [WRITER, READER] {
            config += &format!("  - id: {key}\n    algorithm: hmac-sha256\n    secret: {SECRET}\n");
        }
        config += &format!(
            "acl:\n  - id: write\n    key: {WRITER}\n    action: update\n\
             template:\n  - id: default\n    storage: {home}\n    zonefile-sync: -1\n    \
             acl: write\nzone:\n"
        );
        for (zone, records) in zones {
            config += &format!("  - domain: {zone}\n");
            let text = format!(
                "$ORIGIN {zone}.\n$TTL 60\n@ SOA ns1 admin 1 3600 600 86400 60\n@ NS ns1\n\
                 ns1 A 127.0.0.1\n@ A 127.0.0.1\n* A 127.0.0.1\n{records}\n"
            );
            folder.write(&format!("{zone}.zone"), &text);
        }
        let config = folder.write("knot.conf", &config);
        let log = File::create(folder.0.join("knot.log")).expect("a log file");
        let child = Command::new(program("knotd"))
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("tests/setup.sh installs Knot DNS");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let started = Self {
            child,
            folder,
            address,
        };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < until, "Knot does not start");
            sleep(Duration::from_millis(20));
        }
        started
    }

    /// What finds out what it says, of it alone.
    pub(crate) fn resolver(&self) -> Resolver {
        Resolver::new(vec![self.address]).with_port(self.address.port())
    }

    /// The texts that stand at a name.
    pub(crate) async fn texts(&self, name: &str) -> Vec<String> {
        let server = NameServer {
            name: "knot".to_owned(),
            addresses: vec![self.address],
        };
        let texts = server.texts(&absolute(name).expect("a name")).await;
        let mut texts = texts.expect("an answer of Knot's");
        texts.sort();
        texts
    }

    /// Puts a text at a name, or takes it away.
    pub(crate) async fn write(&self, what: Change, name: &str, text: &str) {
        let update = Update {
            server: Server {
                host: self.address.ip().to_string(),
                port: self.address.port(),
            },
            zone: None,
            key_name: WRITER.to_owned(),
            secret: Sensitive::new(SECRET.to_owned()),
            algorithm: Algorithm::Sha256,
        };
        let texts = [(absolute(name).expect("a name"), text.to_owned())];
        let done = change(&update, &self.resolver(), what, &texts, unix_seconds()).await;
        done.expect("an update");
    }
}

/// Debian's place for servers is not on everybody's path.
fn program(name: &str) -> PathBuf {
    let there = Path::new("/usr/sbin").join(name);
    if there.exists() { there } else { name.into() }
}

impl Drop for Knot {
    #[expect(
        clippy::print_stderr,
        reason = "the test harness shows it with the failure"
    )]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.0.join("knot.log"));
            eprintln!("---- Knot's log ----\n{}", log.unwrap_or_default());
        }
    }
}
