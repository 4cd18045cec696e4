//! The cluster that is measured: N services on the simulated daemon, four instances each, and
//! what happens to them. When a message was written to the daemon's socket is noted here; what a
//! client got of it is not known here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use osvc_igw::sim::Sim;
use osvc_igw::sim::certificate::Authority;

use super::options::Socket;

/// The simulated daemon and its services. Clones are the same.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) sim: Sim,
    pub(super) services: usize,
    gateways: usize,
    /// Where all services are virtual hosts, their port.
    vhosts_on: Option<u16>,
    written: Arc<Mutex<Written>>,
    /// Addresses that were given out.
    addresses: Arc<AtomicU32>,
    authority: Arc<Authority>,
}

/// What was written to the daemon's sockets, and when.
#[derive(Default)]
struct Written {
    /// By address that a patch tells.
    addresses: BTreeMap<String, Instant>,
    /// The first patch.
    patched: Option<Instant>,
    /// The first full status: when, and how large.
    full: Option<(Instant, usize)>,
}

/// One address that changed.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// The cluster whose endpoints are others now.
    pub(super) cluster: String,
    pub(super) address: String,
    /// When the daemon was told.
    pub(super) began: Instant,
    /// How long the daemon took to have it in a patch.
    pub(super) took: Duration,
}

impl Cluster {
    /// Starts the daemon in `folder` and fills it. Call it inside a tokio runtime.
    pub(super) fn start(folder: &Path, socket: Socket, services: usize, gateways: usize) -> Self {
        let cluster = Self::empty(folder, socket, services, gateways);
        cluster.fill();
        cluster
    }

    fn empty(folder: &Path, socket: Socket, services: usize, gateways: usize) -> Self {
        let sim = Sim::start(&folder.join("lsnr.sock"), &NODES).expect("a simulated daemon");
        if socket == Socket::H2 {
            let h2 = folder.join("h2.sock");
            sim.serve_h2(&h2).expect("a second socket");
        }
        let written = Arc::new(Mutex::new(Written::default()));
        let noted = Arc::clone(&written);
        sim.tap(move |message| note(&mut lock(&noted), message));
        Self {
            sim,
            services,
            gateways,
            vhosts_on: None,
            written,
            addresses: Arc::default(),
            authority: Arc::new(Authority::new("bench").expect("an authority")),
        }
    }

    /// The same with nothing but virtual hosts, all on this port.
    pub(super) fn of_vhosts(folder: &Path, socket: Socket, services: usize, port: u16) -> Self {
        let mut cluster = Self::empty(folder, socket, services, 1);
        cluster.vhosts_on = Some(port);
        cluster.fill();
        cluster
    }

    /// The service answers to one domain more; returns when the daemon was told.
    pub(super) fn add_domain(&self, number: usize, domain: &str) -> Instant {
        let began = Instant::now();
        let add = format!("vhost#0.domains+={domain}");
        self.sim.set(&path(number), &[&add]).expect("a service");
        began
    }

    fn fill(&self) {
        for number in 0..SECRETS {
            let path = secret(number);
            self.sim.create(&path, "").expect("a secret");
            self.renew(number);
        }
        for number in 0..self.services {
            self.create(number);
        }
    }

    /// The secret gets another certificate.
    pub(super) fn renew(&self, number: usize) {
        let name = format!("*.s{number}.bench.test");
        let pair = self.authority.issue(&name, &[&name]).expect("a pair");
        let keys = [
            ("private_key", &pair.key_pem),
            ("certificate_chain", &pair.chain_pem),
        ];
        for (key, value) in keys {
            let set = self.sim.set_key(&secret(number), key, value);
            set.expect("a key");
        }
    }

    /// The service comes up, on all nodes.
    pub(super) fn create(&self, number: usize) {
        let addresses = NODES.map(|_| self.next_address());
        let text = self.configuration(number, &addresses);
        self.sim.create(&path(number), &text).expect("a service");
    }

    fn configuration(&self, number: usize, addresses: &[String; 4]) -> String {
        let mut text = "[DEFAULT]\ntopology = flex\norchestrate = ha\nnodes = *\n\n[ip#1]\n\
                        ipdev = lo\nnetmask = 8\nalias = false\nexpose = expose#0\n"
            .to_owned();
        for (node, address) in NODES.iter().zip(addresses) {
            text.push_str(&format!("ipname@{node} = {address}\n"));
        }
        text.push_str("\n[expose#0]\ntype = envoy\nport = 8080\n");
        let gateway = gateway(number % self.gateways);
        text.push_str(&format!("gateway = {gateway}\n"));
        let vhost = format!(
            "vhosts = vhost#0\n\n[vhost#0]\n\
             domains = s{number}.bench.test www.s{number}.bench.test\nroutes = route#0 route#1\n\n\
             [route#0]\nmatch_prefix = /api\nroute_timeout = 30s\n\n\
             [route#1]\nmatch_prefix = /\n"
        );
        let shape = match self.vhosts_on {
            Some(_) => Shape::Http,
            None => kind(number),
        };
        let port = self.vhosts_on.unwrap_or(80);
        text.push_str(&match shape {
            Shape::Tcp => format!(
                "listener_port = {}\n",
                10_000 + number / 10 * 2 + number % 10
            ),
            Shape::Tls => format!(
                "listener_port = 443\nlistener_certificates = certificate#front\n{vhost}\n\
                 [certificate#front]\nsecret = {}\n",
                secret_name(number / 10 % SECRETS)
            ),
            Shape::Http => format!("listener_port = {port}\n{vhost}"),
        });
        text
    }

    fn next_address(&self) -> String {
        let number = self.addresses.fetch_add(1, Ordering::Relaxed) + 1;
        let [_, a, b, c] = number.to_be_bytes();
        format!("10.{a}.{b}.{c}")
    }

    /// One instance of the service comes up with an address that nothing else had.
    pub(super) fn change_address(&self, number: usize, node: usize) -> Change {
        let address = self.next_address();
        let began = Instant::now();
        let changed = self.sim.set_instance_address(
            &path(number),
            NODES[node % NODES.len()],
            "ip#1",
            &address,
        );
        changed.expect("a service");
        Change {
            cluster: format!("{}.expose#0", path(number)),
            address,
            began,
            took: began.elapsed(),
        }
    }

    /// An instance goes down, or comes up again.
    pub(super) fn set_up(&self, number: usize, node: usize, up: bool) {
        let status = if up { "up" } else { "down" };
        let node = NODES[node % NODES.len()];
        let set = self
            .sim
            .set_resource_status(&path(number), node, "ip#1", status);
        set.expect("a service");
    }

    /// The service goes.
    pub(super) fn remove(&self, number: usize) {
        self.sim.remove(&path(number)).expect("a service");
    }

    /// Something else of how the service is exposed is another.
    pub(super) fn retouch(&self, number: usize, seconds: usize) {
        let timeout = format!("expose#0.connect_timeout={seconds}s");
        let set = self.sim.set(&path(number), &[&timeout]);
        set.expect("a service");
    }

    /// A service that is scaled, made the first time.
    pub(super) fn scale(&self, number: usize, to: u32) {
        let path = format!("bench/svc/scaled{number}");
        if self.sim.keyword(&path, "DEFAULT.scale").is_some() {
            self.sim.scale(&path, to).expect("a scaler");
            return;
        }
        let base = u8::try_from(number).unwrap_or_default();
        let address = move |slave: u32, node: &str| {
            let node = NODES.iter().position(|one| *one == node);
            format!("11.{base}.{slave}.{}", node.unwrap_or_default() + 1)
        };
        self.sim.address_slaves(&path, address);
        let text = format!(
            "[DEFAULT]\ntopology = flex\norchestrate = ha\nnodes = *\nscale = {to}\n\n[ip#1]\n\
             ipname = 11.{base}.0.1\nipdev = lo\nnetmask = 8\nexpose = expose#0\n\n[expose#0]\n\
             type = envoy\nport = 8080\nlistener_port = {}\ngateway = {}\n",
            9_000 + number,
            gateway(0)
        );
        self.sim.create(&path, &text).expect("a scaler");
    }

    /// When the patch with this address was written to the daemon's socket first.
    pub(super) fn written(&self, address: &str) -> Option<Instant> {
        lock(&self.written).addresses.get(address).copied()
    }

    /// When a patch about a service was written first, since [`Self::forget`].
    pub(super) fn patched(&self) -> Option<Instant> {
        lock(&self.written).patched
    }

    /// When a full status was written first, and how large it was.
    pub(super) fn full(&self) -> Option<(Instant, usize)> {
        lock(&self.written).full
    }

    /// Forgets what was written.
    pub(super) fn forget(&self) {
        *lock(&self.written) = Written::default();
    }
}

/// How a service is exposed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shape {
    /// A listener of its own.
    Tcp,
    /// A virtual host behind TLS.
    Tls,
    /// A virtual host.
    Http,
}

/// Of ten services two are TCP, one is behind TLS, seven are plain virtual hosts.
pub(super) fn kind(number: usize) -> Shape {
    match number % 10 {
        0 | 1 => Shape::Tcp,
        2 => Shape::Tls,
        _ => Shape::Http,
    }
}

/// The path of a service.
pub(super) fn path(number: usize) -> String {
    format!("bench/svc/s{number}")
}

/// The name of a gateway.
pub(super) fn gateway(number: usize) -> String {
    format!("gateway{number}")
}

fn secret_name(number: usize) -> String {
    format!("front{number}")
}

fn secret(number: usize) -> String {
    format!("bench/sec/{}", secret_name(number))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes what a message tells. A patch is `{"data":[…`; a status is an object, and large.
fn note(written: &mut Written, message: &[u8]) {
    let now = Instant::now();
    let head = message.get(..64).unwrap_or(message);
    if !head.windows(9).any(|part| part == b"{\"data\":[") {
        if message.len() > FULL_MIN {
            written.full.get_or_insert((now, message.len()));
        }
        return;
    }
    let text = String::from_utf8_lossy(message);
    if text.contains(SERVICE) {
        written.patched.get_or_insert(now);
    }
    for (at, mark) in text.match_indices(ADDRESS) {
        let rest = &text[at + mark.len()..];
        let address = rest.split('"').next().unwrap_or_default();
        written.addresses.entry(address.to_owned()).or_insert(now);
    }
}

/// What stands in every patch that is about a service.
const SERVICE: &str = "\"bench/svc/";
/// What stands before an address in a patch.
const ADDRESS: &str = "\"ipaddr\"],\"";
/// A full status of an empty cluster is larger.
const FULL_MIN: usize = 1_000;
pub(super) const SECRETS: usize = 10;
pub(super) const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];
