//! The services of `examples/services`: each is right by `osvc-igw check`, and all of them together
//! are served by a real Envoy. Only addresses and ports are those of this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use osvc_igw::demo::ports;
use osvc_igw::sim::backend::Backend;
use osvc_igw::sim::certificate::{Authority, Identity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::certificates::{pair, status, until};
use super::tls_client;
use crate::support::envoy;
use crate::support::rig::Rig;

fn files() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/services");
    let names = fs::read_dir(folder).expect("a folder");
    let names = names.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".conf")).collect();
    names.sort();
    names
}

#[test]
fn each_is_right_and_all_of_them_together_by_envoy_too() {
    let files = files();
    assert!(files.len() >= 10, "{files:?}");
    let envoy = envoy::binary();
    let alone = files.iter().map(|file| vec![file.as_str()]);
    for chosen in alone.chain([files.iter().map(String::as_str).collect()]) {
        let output = Command::new(env!("CARGO_BIN_EXE_osvc-igw"))
            .args(["check", "--namespace", "test", "--envoy"])
            .arg(&envoy)
            .args(&chosen)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/services"))
            .output()
            .expect("osvc-igw starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{chosen:?}: {text}");
        // What they name is there, and is used.
        let notes = text.lines().filter(|line| line.contains(": note: "));
        assert!(
            notes.clone().all(|line| line.contains("is taken as good")),
            "{text}"
        );
    }
}

#[test]
fn the_page_lists_every_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/services");
    let page = fs::read_to_string(folder.join("README.md")).expect("the page");
    for file in files() {
        assert!(page.contains(&format!("| [{file}]({file}) |")), "{file}");
    }
}

/// All examples on this machine.
struct Site {
    rig: Rig,
    /// Where a port of the examples is here.
    ports: BTreeMap<u16, u16>,
    /// The port of every instance.
    port: u16,
    authority: Authority,
    instances: Vec<Backend>,
}

impl Site {
    async fn start() -> Self {
        let rig = Rig::bare(&[]).await;
        let free = || ports::free().expect("a free port");
        let listened = [53, 80, 443, 5432, 8042].map(|port| (port, free()));
        Self {
            rig,
            ports: BTreeMap::from(listened),
            port: free(),
            authority: Authority::new("examples").expect("an authority"),
            instances: Vec::new(),
        }
    }

    /// Creates the service of an example, with an instance for each of its addresses, named after
    /// it, at 127.79.`place`.1 and on. Where clients stay with one there have to be two.
    async fn put(&mut self, name: &str, place: u8, tls: Option<&Identity>) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/services");
        let text = fs::read_to_string(folder.join(format!("{name}.conf"))).expect("an example");
        let mut here = String::new();
        let mut count = 0;
        for line in text.lines() {
            let port = |keyword: &str| line.strip_prefix(keyword)?.parse::<u16>().ok();
            if let Some(port) = port("listener_port = ") {
                here += &format!("listener_port = {}\n", self.ports[&port]);
            } else if port("port = ").is_some() {
                here += &format!("port = {}\n", self.port);
            } else {
                here += &format!("{line}\n");
            }
            if line == "protocol = udp" {
                // The port is kept free for this test by a socket of another address.
                here += "listener_addr = 127.0.0.1\n";
            }
            if line.starts_with("[ip#") {
                count += 1;
                here += &format!("ipname = 127.79.{place}.{count}\n");
            }
        }
        if name == "sticky" {
            count += 1;
            here += &format!("[ip#1]\nipname = 127.79.{place}.{count}\nexpose = expose#0\n");
        }
        let sim = &self.rig.stage.sim;
        sim.create(&format!("test/svc/{name}"), &here)
            .expect("a service");
        for number in 1..=count {
            self.instance(&format!("{name}{number}"), [place, number], tls)
                .await;
        }
    }

    async fn instance(&mut self, name: &str, [place, number]: [u8; 2], tls: Option<&Identity>) {
        let address = Ipv4Addr::new(127, 79, place, number);
        let address = SocketAddr::from((address, self.port));
        let backend = Backend::start(address, name, tls.cloned()).await;
        self.instances.push(backend.expect("an instance"));
    }

    fn identity(&self, name: &str) -> Identity {
        self.authority.issue(name, &[name]).expect("a certificate")
    }

    /// What comes back for a GET: the head and, but for an upgrade, the body.
    async fn get(
        &self,
        port: u16,
        host: &str,
        path: &str,
        headers: &str,
    ) -> Result<String, String> {
        let exchange = async {
            let to = ("127.0.0.1", self.ports[&port]);
            let mut stream = TcpStream::connect(to).await?;
            let end = if headers.contains("upgrade") {
                ""
            } else {
                "connection: close\r\n"
            };
            let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{end}{headers}\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut bytes = Vec::new();
            while stream.read_buf(&mut bytes).await? > 0 {
                if bytes.starts_with(b"HTTP/1.1 101") && bytes.ends_with(b"\r\n\r\n") {
                    break;
                }
            }
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
        };
        match timeout(Duration::from_secs(5), exchange).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }
    }

    /// Asks until the answer has all of these parts.
    async fn until(&self, at: (u16, &str, &str, &str), parts: &[&str]) -> String {
        let (port, host, path, headers) = at;
        let mut answer = String::new();
        until(host, async || {
            answer = self.get(port, host, path, headers).await?;
            let has = parts.iter().all(|part| answer.contains(part));
            if has { Ok(()) } else { Err(answer.clone()) }
        })
        .await;
        answer
    }

    /// The instances that answer `count` requests.
    async fn instances(&self, host: &str, headers: &str, count: usize) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for _ in 0..count {
            let answer = self.get(80, host, "/", headers).await.expect("an answer");
            found.insert(header(&answer, "x-instance"));
        }
        found
    }

    async fn https(
        &self,
        host: &str,
        identity: Option<&Identity>,
    ) -> Result<tls_client::Answer, String> {
        let url = format!("https://{host}");
        tls_client::get(&url, self.ports[&443], &self.authority, identity, None).await
    }
}

fn header(answer: &str, name: &str) -> String {
    let mut lines = answer.lines().filter_map(|line| line.split_once(": "));
    let value = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
    value.map(|(_, value)| value.to_owned()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_does_what_it_shows_while_all_of_them_are_served() {
    let mut site = Site::start().await;
    let secure = site.identity("secure.acme.org");
    let api = site.identity("api.acme.org");
    for name in ["www", "docs", "blog", "api", "gateway"] {
        let identity = site.identity(&format!("{name}.acme.org"));
        pair(&site.rig, &format!("test/sec/{name}"), &identity);
    }
    for name in ["partners", "backend-ca"] {
        let (sim, path) = (&site.rig.stage.sim, format!("test/sec/{name}"));
        sim.create(&path, "").expect("a sec object");
        sim.set_key(&path, "trusted_ca", site.authority.pem())
            .expect("a key");
    }
    site.put("acme", 1, None).await;
    site.put("canary", 2, None).await;
    site.put("l4", 3, None).await;
    site.put("mtls", 4, Some(&api)).await;
    site.put("passthrough", 5, Some(&secure)).await;
    site.put("redirect", 6, None).await;
    site.put("sticky", 7, None).await;
    site.put("tls", 8, None).await;
    site.put("websocket", 9, None).await;
    connections_and_datagrams(&mut site).await;
    plain_http(&mut site).await;
    over_tls(&site).await;
    let page = site.rig.controller.page("/problems").await;
    assert_eq!(page.as_deref().map(str::trim), Some("[]"));
}

async fn connections_and_datagrams(site: &mut Site) {
    site.until((5432, "any", "/", ""), &["x-instance: l41"])
        .await;
    let socket = UdpSocket::bind(("127.79.10.1", site.port))
        .await
        .expect("a port");
    site.put("udp", 10, None).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    until("a datagram", async || {
        let to = ("127.0.0.1", site.ports[&53]);
        client
            .send_to(b"name?", to)
            .await
            .map_err(|error| error.to_string())?;
        let mut bytes = [0; 64];
        let received = timeout(Duration::from_millis(200), socket.recv(&mut bytes)).await;
        match received {
            Ok(Ok(length)) if &bytes[..length] == b"name?" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

async fn plain_http(site: &mut Site) {
    let docs = site
        .until((80, "docs.acme.org", "/a?b", ""), &["308"])
        .await;
    assert_eq!(header(&docs, "location"), "https://docs.acme.org/a?b");
    let blog = site.until((80, "blog.acme.org", "/", ""), &["308"]).await;
    assert_eq!(header(&blog, "location"), "https://blog.acme.org/");

    let chat = "chat.acme.org";
    site.until((80, chat, "/live", UPGRADE), &["HTTP/1.1 101"])
        .await;
    let page = site
        .get(80, chat, "/page", UPGRADE)
        .await
        .expect("an answer");
    assert!(page.starts_with("HTTP/1.1 403"), "{page}");

    site.until(
        (80, "shop.acme.org", "/", "x-release: 42\r\n"),
        &["x-instance: canary2"],
    )
    .await;
    let asked = site
        .instances("shop.acme.org", "x-release: 42\r\n", 20)
        .await;
    assert_eq!(asked, BTreeSet::from(["canary2".to_owned()]));
    let shared = site.instances("shop.acme.org", "", 100).await;
    assert_eq!(shared.len(), 2, "{shared:?}");
    site.until((8042, "any", "/", ""), &["x-instance: canary2"])
        .await;

    until("both", async || {
        let name = "test/svc/sticky.expose#0::127.79.7.2:";
        let page = site.rig.envoy.text("/clusters").await;
        let healthy = format!("{name}{}::health_flags::healthy", site.port);
        let there = page.contains(&healthy);
        if there { Ok(()) } else { Err(page) }
    })
    .await;
    let first = site
        .until((80, "cart.acme.org", "/", ""), &["igw-session="])
        .await;
    let cookie = header(&first, "set-cookie");
    let cookie = cookie.split(';').next().unwrap_or_default();
    let mut cookies = vec![cookie.replace('"', "")];
    cookies.extend((0..40).map(|number| format!("igw-session={number}")));
    let mut seen = BTreeSet::new();
    for cookie in cookies {
        let cookie = format!("cookie: {cookie}\r\n");
        let stayed = site.instances("cart.acme.org", &cookie, 5).await;
        assert_eq!(stayed.len(), 1, "{cookie}: {stayed:?}");
        seen.extend(stayed);
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
}

async fn over_tls(site: &Site) {
    for (host, instance) in [
        ("www.acme.org", "tls1"),
        ("docs.acme.org", "redirect1"),
        ("blog.acme.org", "acme1"),
        ("secure.acme.org", "passthrough1"),
    ] {
        until(host, async || {
            let answer = site.https(host, None).await?;
            let found = answer.headers.get("x-instance").map(|it| it.as_bytes());
            match found == Some(instance.as_bytes()) {
                true => Ok(()),
                false => Err(format!("{} {found:?}", answer.status)),
            }
        })
        .await;
    }
    let www = site.https("www.acme.org", None).await.expect("an answer");
    assert_eq!(www.headers["strict-transport-security"], "max-age=31536000");
    let partner = site.identity("partner.example.org");
    until("api.acme.org", async || {
        status(&site.https("api.acme.org", Some(&partner)).await, 200)
    })
    .await;
    let answer = site
        .https("api.acme.org", Some(&partner))
        .await
        .expect("an answer");
    assert!(
        answer.body.contains("client=gateway.acme.org"),
        "{}",
        answer.body
    );
    assert!(site.https("api.acme.org", None).await.is_err());
}

const UPGRADE: &str = "connection: Upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
