//! A real ACME server as a child process, with a name server of its own: Debian's `pebble` and
//! `pebble-challtestsrv`. Every name leads to 127.0.0.1.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use osvc_igw::demo::ports;
use osvc_igw::sim::certificate::Authority;
use serde_json::json;

use super::folder::Folder;

/// A running Pebble. Dropping it kills the processes; a failing test shows its log.
pub(crate) struct Pebble {
    children: Vec<Child>,
    folder: Folder,
    authority: Authority,
    /// The port of its directory.
    port: u16,
    /// The port that tells its roots.
    management: u16,
    /// The port where it asks for HTTP-01.
    pub(crate) http_port: u16,
    /// The port where it asks for TLS-ALPN-01.
    pub(crate) tls_port: u16,
}

impl Pebble {
    /// Starts one on free ports. It asks for another nonce one time in ten.
    pub(crate) fn start() -> Self {
        Self::start_with(&json!({}))
    }

    /// Starts one with more of its own configuration.
    pub(crate) fn start_with(more: &serde_json::Value) -> Self {
        Self::start_at(more, None, &[])
    }

    /// Starts one that asks this name server, with more in its environment.
    pub(crate) fn start_at(
        more: &serde_json::Value,
        name_server: Option<SocketAddr>,
        env: &[(&str, &str)],
    ) -> Self {
        let free = || ports::free().expect("a free port");
        let (port, management, http_port, tls_port) = (free(), free(), free(), free());
        let (dns, dns_management) = (free(), free());
        let folder = Folder::new("pebble");
        let authority = Authority::new("pebble's own").expect("an authority");
        let identity = authority.issue("localhost", &["localhost", "127.0.0.1"]);
        let identity = identity.expect("a certificate");
        let mut config = json!({
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": folder.write("cert.pem", &identity.chain_pem),
            "privateKey": folder.write("key.pem", &identity.key_pem),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "certificateValidityPeriod": 7_776_000,
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        let config = folder.write("pebble.json", &json!({"pebble": config}).to_string());
        let log = File::create(folder.0.join("pebble.log")).expect("a log file");
        let mut names = Command::new("pebble-challtestsrv");
        names
            .args(["-defaultIPv6", "", "-defaultIPv4", "127.0.0.1"])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-dns01", &format!("127.0.0.1:{dns}")])
            .args(["-management", &format!("127.0.0.1:{dns_management}")]);
        let own = SocketAddr::from(([127, 0, 0, 1], dns));
        let asked = name_server.unwrap_or(own).to_string();
        let mut pebble = Command::new("pebble");
        pebble
            .args(["-strict", "-dnsserver", &asked, "-config"])
            .arg(config)
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "10")
            .env("PEBBLE_ALTERNATE_ROOTS", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .envs(env.iter().copied());
        let start = |command: &mut Command| {
            let log = || Stdio::from(log.try_clone().expect("a second handle"));
            let started = command
                .stdin(Stdio::null())
                .stdout(log())
                .stderr(log())
                .spawn();
            started.expect("tests/setup.sh installs Pebble")
        };
        let children = vec![start(&mut names), start(&mut pebble)];
        let started = Self {
            children,
            folder,
            authority,
            port,
            management,
            http_port,
            tls_port,
        };
        let until = Instant::now() + Duration::from_secs(20);
        for port in [port, dns_management] {
            while TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_err() {
                assert!(
                    Instant::now() < until,
                    "Pebble does not start:\n{}",
                    started.log()
                );
                sleep(Duration::from_millis(20));
            }
        }
        started
    }

    /// Where its directory is.
    pub(crate) fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// Whom to believe that it is Pebble.
    pub(crate) fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// One of its roots, in PEM: 0 is the one that its chains lead to by themselves.
    pub(crate) async fn root(&self, number: u8) -> String {
        let own = reqwest::Certificate::from_pem(self.ca_pem().as_bytes());
        let client = reqwest::Client::builder().tls_certs_only([own.expect("a certificate")]);
        let client = client.no_proxy().build().expect("a client");
        let url = format!("https://127.0.0.1:{}/roots/{number}", self.management);
        let answer = client.get(url).send().await.expect("Pebble");
        answer.text().await.expect("a root")
    }

    /// How many orders it has seen.
    pub(crate) fn orders(&self) -> usize {
        self.log().matches("Added order").count()
    }

    /// How many certificates it has made.
    pub(crate) fn certificates(&self) -> usize {
        self.log().matches("Issued certificate serial").count()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.0.join("pebble.log")).unwrap_or_default()
    }
}

impl Drop for Pebble {
    #[expect(
        clippy::print_stderr,
        reason = "the test harness shows it with the failure"
    )]
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!(
                "---- Pebble's log ----\n{}---- end of Pebble's log ----",
                self.log()
            );
        }
    }
}
