//! A service behind a virtual host, its instances, and a client that sees every byte of an answer.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use osvc_igw::demo::ports;
use osvc_igw::sim::backend::Backend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::rig::Rig;

/// A service behind a virtual host, its instances, and the way to it.
pub(super) struct Site {
    pub(super) rig: Rig,
    pub(super) instances: Vec<Backend>,
    pub(super) gateway: SocketAddr,
}

/// An answer, without its chunk sizes read: bodies are short here. What is no text of one that
/// was compressed is lost.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    /// The first header of that name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(super) fn location(&self) -> &str {
        self.header("location").unwrap_or_default()
    }

    pub(super) fn instance(&self) -> &str {
        self.header("x-instance").unwrap_or_default()
    }
}

impl Site {
    /// Starts an instance for each word of `exposes`, named `i0` and on, and a service with
    /// `sections` beside their addresses, which name those exposes. Waits until requests for
    /// `www.acme.org/ready` are answered.
    ///
    /// `GATEWAY` and `PORT` in `sections` are the port to listen at and that of the instances,
    /// `SPARE` one that nothing listens at.
    pub(super) async fn start(exposes: &[&str], sections: &str) -> Self {
        let rig = Rig::bare(&[]).await;
        let (listen, port) = (ports::free().unwrap(), ports::free().unwrap());
        let mut config = sections
            .replace("GATEWAY", &listen.to_string())
            .replace("SPARE", &ports::free().unwrap().to_string())
            .replace("PORT", &port.to_string());
        let mut instances = Vec::new();
        for (number, expose) in (0_u8..).zip(exposes) {
            let address = Ipv4Addr::new(127, 78, 0, 1 + number);
            let at = SocketAddr::from((address, port));
            let name = format!("i{number}");
            instances.push(Backend::start(at, &name, None).await.unwrap());
            config.push_str(&format!(
                "\n[ip#{number}]\nipname = {address}\nipdev = lo\nnetmask = 8\n\
                 expose = {expose}\n"
            ));
        }
        rig.stage.sim.create("test/svc/site", &config).unwrap();
        let site = Self {
            rig,
            instances,
            gateway: ([127, 0, 0, 1], listen).into(),
        };
        site.until("/ready", "", |answer| answer.status == 200)
            .await;
        site
    }

    /// Sends a GET for `www.acme.org` with more header lines, each ended by CRLF.
    pub(super) async fn get(&self, path: &str, headers: &str) -> Option<Answer> {
        self.request("GET", path, headers).await
    }

    pub(super) async fn request(&self, method: &str, path: &str, headers: &str) -> Option<Answer> {
        let exchange = async {
            let mut stream = TcpStream::connect(self.gateway).await.ok()?;
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: www.acme.org\r\nconnection: close\r\n\
                 {headers}\r\n"
            );
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.ok()?;
            let text = String::from_utf8_lossy(&bytes);
            let (head, body) = text.split_once("\r\n\r\n")?;
            let status = head.split(' ').nth(1)?.parse().ok()?;
            Some(Answer {
                status,
                head: head.to_owned(),
                body: body.to_owned(),
            })
        };
        timeout(PATIENCE, exchange).await.ok()?
    }

    /// The answer to a GET that is as it should be; asks until it is.
    pub(super) async fn until(
        &self,
        path: &str,
        headers: &str,
        right: impl Fn(&Answer) -> bool,
    ) -> Answer {
        let mut last = None;
        let asking = async {
            loop {
                last = self.get(path, headers).await;
                match last.take() {
                    Some(answer) if right(&answer) => return answer,
                    other => last = other,
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let answered = timeout(PATIENCE, asking).await;
        match answered {
            Ok(answer) => answer,
            Err(_) => panic!("{path}: {last:?}"),
        }
    }

    /// GETs that path and checks the beginning of the body.
    pub(super) async fn seen(&self, path: &str, expect: &str) {
        let answer = self.get(path, "").await.unwrap();
        assert!(answer.body.contains(expect), "{path}: {answer:?}");
    }

    /// The instances that answer `count` requests.
    pub(super) async fn instances(
        &self,
        path: &str,
        headers: &str,
        count: usize,
    ) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for _ in 0..count {
            let answer = self.get(path, headers).await.unwrap();
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            found.insert(answer.instance().to_owned());
        }
        found
    }
}

/// Longer than anything takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
