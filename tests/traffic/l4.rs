//! Listeners themselves: datagrams, IPv6, ports that were asked for, and what becomes of the
//! loser where two services want one address.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::net::SocketAddr;
use std::time::Duration;

use osvc_igw::demo::ports;
use osvc_igw::sim::backend::Backend;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::support::rig::Rig;

/// A UDP backend: every datagram comes back with its name in front.
struct Echo {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Echo {
    async fn start(address: &str, name: &'static str) -> Self {
        let socket = UdpSocket::bind((address, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                let mut answer = name.as_bytes().to_vec();
                answer.extend(&buffer[..length]);
                let _ = socket.send_to(&answer, client).await;
            }
        });
        Self { address, task }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A service with one instance at `backend`, and more keywords for its `expose#0`.
fn service(backend: SocketAddr, expose: &str) -> String {
    let (address, port) = (backend.ip(), backend.port());
    let netmask = if address.is_ipv4() { 8 } else { 128 };
    format!(
        "[ip#0]\nipname = {address}\nipdev = lo\nnetmask = {netmask}\nexpose = expose#0\n\
         [expose#0]\ntype = envoy\nport = {port}\n{expose}\n"
    )
}

fn free() -> u16 {
    ports::free().unwrap()
}

async fn backend(address: &str, name: &str) -> Backend {
    let address = format!("{address}:0").parse().unwrap();
    Backend::start(address, name, None).await.unwrap()
}

/// What comes back for a datagram from a socket of its own; none in a while.
async fn datagram(to: SocketAddr, text: &str) -> Option<String> {
    let any = if to.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    let socket = UdpSocket::bind(any).await.unwrap();
    socket.send_to(text.as_bytes(), to).await.ok()?;
    let mut buffer = [0; 2048];
    let answer = timeout(Duration::from_millis(500), socket.recv(&mut buffer)).await;
    let length = answer.ok()?.ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

async fn until_echoed(to: SocketAddr, expected: &str) {
    let echoed = async {
        while datagram(to, "hello").await.as_deref() != Some(expected) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = timeout(PATIENCE, echoed).await;
    assert!(in_time.is_ok(), "{to} does not echo {expected:?}");
}

/// Which instance answers HTTP at the address; none where nobody does.
async fn instance(to: SocketAddr) -> Option<String> {
    let client = reqwest::Client::builder().no_proxy();
    let client = client.pool_max_idle_per_host(0).build().unwrap();
    let request = client.get(format!("http://{to}/")).timeout(PATIENCE);
    let answer = request.send().await.ok()?;
    let header = answer.headers().get("x-instance")?;
    Some(header.to_str().ok()?.to_owned())
}

async fn until_answered(to: SocketAddr, expected: &str) {
    let answered = async {
        while instance(to).await.as_deref() != Some(expected) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = timeout(PATIENCE, answered).await;
    assert!(in_time.is_ok(), "{to} is not answered by {expected}");
}

async fn until_problem(rig: &Rig, part: &str) {
    let told = async {
        loop {
            let page = rig.controller.page("/problems").await.unwrap_or_default();
            if page.contains(part) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = timeout(PATIENCE, told).await;
    assert!(in_time.is_ok(), "no problem says {part:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_go_to_the_instances_and_back() {
    let rig = Rig::bare(&[]).await;
    let sim = &rig.stage.sim;
    let (one, six) = (
        Echo::start("127.0.0.1", "one ").await,
        Echo::start("::1", "six ").await,
    );
    let port = free();
    // A port of our own is reserved by a UDP socket of another loopback address.
    let udp = |at: &str| format!("protocol = udp\nlistener_addr = {at}\nlistener_port = {port}");
    sim.create("test/svc/one", &service(one.address, &udp("127.0.0.1")))
        .unwrap();
    let v4 = SocketAddr::from(([127, 0, 0, 1], port));
    until_echoed(v4, "one hello").await;
    // The same port takes connections of another service, and IPv6 datagrams of a third.
    let web = backend("127.0.0.1", "web").await;
    let tcp = format!("listener_port = {port}");
    sim.create("test/svc/web", &service(web.address(), &tcp))
        .unwrap();
    let listener = udp("::1") + "\nlb_policy = ring_hash";
    sim.create("test/svc/six", &service(six.address, &listener))
        .unwrap();
    until_answered(v4, "web").await;
    until_echoed(format!("[::1]:{port}").parse().unwrap(), "six hello").await;
    until_echoed(v4, "one hello").await;
    // Where the address is another one, new sessions go there.
    let two = Echo::start("127.0.0.2", "two ").await;
    sim.set(
        "test/svc/one",
        &[&format!("expose#0.port={}", two.address.port())],
    )
    .unwrap();
    sim.set_address("test/svc/one", "ip#0", "127.0.0.2")
        .unwrap();
    until_echoed(v4, "two hello").await;
    sim.remove("test/svc/one").unwrap();
    let gone = async { while datagram(v4, "hello").await.is_some() {} };
    assert!(timeout(PATIENCE, gone).await.is_ok());
    until_answered(v4, "web").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_listeners_reach_instances_of_both_families() {
    let rig = Rig::bare(&[]).await;
    let sim = &rig.stage.sim;
    let (four, six) = (
        backend("127.0.0.1", "four").await,
        backend("[::1]", "six").await,
    );
    let (one, any) = (free(), free());
    let listen =
        |address: &str, port: u16| format!("listener_addr = {address}\nlistener_port = {port}");
    let config = service(four.address(), &listen("::1", one));
    sim.create("test/svc/four", &config).unwrap();
    let config = service(six.address(), &listen("::", any));
    sim.create("test/svc/six", &config).unwrap();
    until_answered(format!("[::1]:{one}").parse().unwrap(), "four").await;
    until_answered(format!("[::1]:{any}").parse().unwrap(), "six").await;
    // `::` takes IPv6 alone, and leaves the port of IPv4 to another service.
    let config = service(four.address(), &listen("0.0.0.0", any));
    sim.create("test/svc/other", &config).unwrap();
    until_answered(SocketAddr::from(([127, 0, 0, 1], any)), "four").await;
    until_answered(format!("[::1]:{any}").parse().unwrap(), "six").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_ask_for_a_port_are_served_on_it_after_a_restart_too() {
    let first = free();
    let range = format!("{first}-{}", first + 40);
    let mut rig = Rig::bare(&["--port-range", &range]).await;
    let sim = rig.stage.sim.clone();
    let paths = ["test/svc/one", "test/svc/two"];
    let (one, two) = (
        backend("127.0.0.1", "one").await,
        backend("127.0.0.1", "two").await,
    );
    for (path, backend) in paths.into_iter().zip([&one, &two]) {
        let config = service(backend.address(), "listener_port = 0");
        sim.create(path, &config).unwrap();
    }
    let port = |path: &str| -> u16 {
        let port = sim.keyword(path, "expose#0.listener_port").unwrap();
        port.parse().unwrap()
    };
    let written = async {
        while paths.iter().any(|path| port(path) == 0) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(PATIENCE, written).await.is_ok(), "no port written");
    let ports = paths.map(port);
    assert_ne!(ports[0], ports[1]);
    let addresses = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    until_answered(addresses[0], "one").await;
    until_answered(addresses[1], "two").await;
    rig.controller.restart("TERM");
    rig.controller.ready().await;
    until_answered(addresses[0], "one").await;
    until_answered(addresses[1], "two").await;
    assert_eq!(paths.map(port), ports);
    assert_eq!(sim.requests("service_action"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_two_owners_of_an_address_is_served_on() {
    let rig = Rig::bare(&[]).await;
    let sim = &rig.stage.sim;
    let (first, second) = (
        backend("127.0.0.1", "first").await,
        backend("127.0.0.1", "second").await,
    );
    let port = free();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let anywhere = format!("listener_port = {port}");
    let here = format!("listener_addr = 127.0.0.1\nlistener_port = {port}");
    sim.create("test/svc/b", &service(first.address(), &anywhere))
        .unwrap();
    until_answered(address, "first").await;
    for (path, expose) in [("test/svc/c", &here), ("test/svc/d", &anywhere)] {
        sim.create(path, &service(second.address(), expose))
            .unwrap();
        until_problem(&rig, &format!("\"{path}\"")).await;
        until_problem(&rig, "test/svc/b expose#0").await;
        assert_eq!(instance(address).await.as_deref(), Some("first"));
    }
    let status: Value = rig.controller.status().await;
    assert_eq!(status["resources"]["lds"], 1, "{status}");
    // The winner goes, and the loser has what it wanted.
    sim.remove("test/svc/b").unwrap();
    until_answered(address, "second").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_nobody_redirected_has_no_original_destination() {
    let rig = Rig::bare(&[]).await;
    let sim = &rig.stage.sim;
    let (web, beside) = (
        backend("127.0.0.1", "web").await,
        backend("127.0.0.1", "beside").await,
    );
    let ports = [free(), free()];
    let to = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let expose = format!("listener_port = {}\nlb_policy = original_dst_lb", ports[0]);
    sim.create("test/svc/a", &service(web.address(), &expose))
        .unwrap();
    let expose = format!("listener_port = {}", ports[1]);
    sim.create("test/svc/b", &service(beside.address(), &expose))
        .unwrap();
    until_answered(to(ports[1]), "beside").await;
    let listening = async {
        let listener = format!("0.0.0.0:{}", ports[0]);
        while !rig.envoy.text("/listeners").await.contains(&listener) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(PATIENCE, listening).await.is_ok(), "no listener");
    assert_eq!(instance(to(ports[0])).await, None);
    let clusters = rig.envoy.text("/clusters").await;
    assert!(clusters.contains("test/svc/a.expose#0::"), "{clusters}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_networks_that_are_allowed_get_in() {
    let rig = Rig::bare(&[]).await;
    let sim = &rig.stage.sim;
    // The server speaks first: nothing of it may reach who is not allowed.
    let greeter = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = greeter.local_addr().unwrap();
    let greeting = tokio::spawn(async move {
        while let Ok((mut stream, _)) = greeter.accept().await {
            let _ = stream.write_all(b"welcome\n").await;
        }
    });
    let (port, web_port) = (free(), free());
    let expose = format!("listener_port = {port}\nallow_from = 127.0.0.0/8");
    sim.create("test/svc/a", &service(address, &expose))
        .unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    until_said(to, b"", "welcome").await;
    sim.set("test/svc/a", &["expose#0.allow_from=10.0.0.0/8 fd00::/8"])
        .unwrap();
    until_said(to, b"", "").await;
    greeting.abort();
    // Of two services that share a listener one is not for us.
    let web = backend("127.0.0.1", "web").await;
    for (path, host, more) in [
        ("test/svc/b", "127.0.0.1", ""),
        ("test/svc/c", "localhost", "allow_from = 10.0.0.0/8"),
    ] {
        let expose = format!("listener_port = {web_port}\nvhosts = vhost#0\n{more}");
        let vhost = format!("[vhost#0]\ndomains = {host}\n");
        let config = service(web.address(), &expose) + &vhost;
        sim.create(path, &config).unwrap();
    }
    until_answered(SocketAddr::from(([127, 0, 0, 1], web_port)), "web").await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://127.0.0.1:{web_port}/");
    let refused = async {
        loop {
            let request = client.get(&url).header("host", "localhost");
            let status = request.send().await.map(|answer| answer.status().as_u16());
            if status.is_ok_and(|status| status == 403) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(PATIENCE, refused).await.is_ok(), "not refused");
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_address_passes_from_proxy_to_instance() {
    let rig = Rig::bare(&[]).await;
    let sim = &rig.stage.sim;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    // Says back the first line that it is sent.
    let echo = tokio::spawn(async move {
        while let Ok((mut stream, _)) = server.accept().await {
            let (reader, mut writer) = stream.split();
            let mut line = String::new();
            let _ = BufReader::new(reader).read_line(&mut line).await;
            let _ = writer.write_all(line.as_bytes()).await;
        }
    });
    let port = free();
    let expose = format!(
        "listener_port = {port}\naccept_proxy_protocol = true\nsend_proxy_protocol = v1\n\
         allow_from = 203.0.113.0/24"
    );
    sim.create("test/svc/a", &service(address, &expose))
        .unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let from = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\nhello\n";
    until_said(to, from, "PROXY TCP4 203.0.113.7 192.0.2.1 4711 80").await;
    let from = b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 80\r\nhello\n";
    until_said(to, from, "").await;
    echo.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_told_the_clients_address_in_bytes() {
    let rig = Rig::bare(&[]).await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    // Says back, in hexadecimal, what comes before the client's own bytes.
    let echo = tokio::spawn(async move {
        while let Ok((mut stream, _)) = server.accept().await {
            let mut bytes = [0; V2_HEADER_BYTES];
            if stream.read_exact(&mut bytes).await.is_ok() {
                let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
                let digits: String = digits.collect();
                let _ = stream.write_all(digits.as_bytes()).await;
            }
        }
    });
    let port = free();
    let expose = format!("listener_port = {port}\nsend_proxy_protocol = v2");
    let sim = &rig.stage.sim;
    sim.create("test/svc/a", &service(address, &expose))
        .unwrap();
    // Version 2, a proxied connection, TCP over IPv4, twelve bytes of addresses, the client's.
    let expected = "0d0a0d0a000d0a515549540a2111000c7f000001";
    until_said(([127, 0, 0, 1], port).into(), b"hello\n", expected).await;
    echo.abort();
}

/// Waits until the answer to these bytes begins so; an empty one is a connection that was taken
/// and closed.
async fn until_said(to: SocketAddr, bytes: &[u8], expected: &str) {
    let said = async {
        loop {
            if let Ok(mut stream) = TcpStream::connect(to).await {
                let _ = stream.write_all(bytes).await;
                let mut answer = String::new();
                let _ = stream.read_to_string(&mut answer).await;
                if answer.is_empty() == expected.is_empty() && answer.starts_with(expected) {
                    return;
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = timeout(PATIENCE, said).await;
    assert!(in_time.is_ok(), "{to} does not say {expected:?}");
}

/// The PROXY protocol, version 2, with two IPv4 addresses and their ports.
const V2_HEADER_BYTES: usize = 28;
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
