//! One listener of many virtual hosts, and one domain more: from the daemon's socket to the ACK
//! of a real Envoy, and what goes over the wire for it.

use std::env;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use osvc_igw::bootstrap::{Bootstrap, XdsAddress, yaml};
use osvc_igw::demo::ports;
use tokio::time::{sleep, timeout};

use super::cluster::{Cluster, gateway};
use super::figures::shown;
use super::folder::Folder;
use super::options::Options;
use super::process::Process;
use super::relay::{Passed, Relay};
use super::say;
use super::stats::Times;

/// A running Envoy; it is killed with this value.
struct Envoy(Child);

impl Envoy {
    fn start(folder: &Path, relay: &Relay) -> Self {
        let binary = env::var("ENVOY").expect("$ENVOY names an Envoy");
        let text = yaml(&Bootstrap {
            node_id: "bench".to_owned(),
            node_cluster: "envoy".to_owned(),
            xds: XdsAddress::Tcp {
                host: "127.0.0.1".to_owned(),
                port: relay.address.port(),
            },
            admin: ([127, 0, 0, 1], 0).into(),
        });
        let config = folder.join("envoy.yaml");
        fs::write(&config, text).expect("a bootstrap");
        let log = File::create(folder.join("envoy.log")).expect("a log file");
        let child = Command::new(binary)
            .args(["--concurrency", "1", "--disable-hot-restart", "-c"])
            .arg(config)
            .args(["--log-level", "warn"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn();
        Self(child.expect("Envoy starts"))
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What one change cost.
#[derive(Default)]
struct Cost {
    responses: usize,
    bytes: usize,
    /// The last answer to any of them.
    answered: Option<Instant>,
    refusals: Vec<String>,
}

/// Measures it with so many virtual hosts; returns what is wrong.
pub(super) async fn run(options: &Options, count: usize) -> Vec<String> {
    let folder = Folder::new();
    let port = ports::free().expect("a free port");
    let cluster = Cluster::of_vhosts(&folder.path, options.socket, count, port);
    // Envoy would be busy with backends that there are not.
    let unchecked = ["--health-checks", "none"];
    let mut process = Process::start_with(&options.binary, &folder.path, &gateway(0), &unchecked);
    process.listens().await;
    let mut relay = Relay::start(process.xds);
    let since = Instant::now();
    let _envoy = Envoy::start(&folder.path, &relay);
    let first = settled(&mut relay, START_MAX, Duration::from_secs(10)).await;
    let took = first.answered.map_or(Duration::ZERO, |at| at - since);
    say(format!(
        "{count} virtual hosts: Envoy has all after {took:.1?}: {} responses, {} bytes",
        first.responses, first.bytes
    ));
    let mut failures = first.refusals;
    let (mut times, mut sizes) = (Times::new(), Vec::new());
    for number in 0..ROUNDS {
        let domain = format!("extra{number}.bench.test");
        cluster.forget();
        let began = cluster.add_domain(number, &domain);
        let cost = settled(&mut relay, Duration::from_secs(30), QUIET).await;
        let Some(answered) = cost.answered else {
            failures.push(format!("{domain} was not acknowledged"));
            break;
        };
        failures.extend(cost.refusals);
        let written = cluster.patched().unwrap_or(began);
        times.note(answered.saturating_duration_since(written));
        sizes.push(cost.bytes);
    }
    sizes.sort_unstable();
    let half = sizes.get(sizes.len() / 2).copied().unwrap_or(0);
    let most = sizes.last().copied().unwrap_or(0);
    let time = |part| times.at(part).map_or_else(|| "—".to_owned(), shown);
    println!(
        "\n| {count} virtual hosts on one listener, one domain more | target | measured |\n\
         | :--- | ---: | ---: |\n\
         | event → ACK of a real Envoy, p50, ms | ≤ 10 | {} |\n\
         | the same, the worst, ms | | {} |\n\
         | pushed for it, p50, bytes | ≤ 2,048 | {half} |\n\
         | the same, the most, bytes | | {most} |\n",
        time(0.5),
        time(1.0)
    );
    failures
}

/// Counts what passes until nothing has for a while and everything is answered.
async fn settled(relay: &mut Relay, most: Duration, quiet: Duration) -> Cost {
    let mut cost = Cost::default();
    let mut open = std::collections::BTreeSet::new();
    let deadline = Instant::now() + most;
    while Instant::now() < deadline {
        let patience = match open.is_empty() && cost.responses > 0 {
            true => quiet,
            false => most,
        };
        let Ok(Some(passed)) = timeout(patience, relay.passed.recv()).await else {
            break;
        };
        match passed {
            Passed::Response { nonce, bytes } => {
                cost.responses += 1;
                cost.bytes += bytes;
                open.insert(nonce);
            }
            Passed::Answer { nonce, error, at } => {
                if open.remove(&nonce) {
                    cost.answered = Some(at);
                    cost.refusals.extend(error);
                }
            }
        }
    }
    sleep(Duration::from_millis(10)).await;
    cost
}

/// Domains that are added, one after the other.
const ROUNDS: usize = 30;
const QUIET: Duration = Duration::from_millis(700);
const START_MAX: Duration = Duration::from_secs(180);
