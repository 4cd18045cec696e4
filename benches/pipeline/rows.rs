//! The rows of the table, measured one after the other on one cluster: what is started, what is
//! done to it, and what is noted of it. What must hold is checked on the way.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use osvc_igw::xds::ResourceType;
use tokio::time::sleep;

use super::cluster::{self, Change, Cluster, gateway};
use super::figures::Figures;
use super::floor::{self, Floor, Home};
use super::folder::Folder;
use super::options::{Options, Row};
use super::process::{Process, Spent};
use super::stats::{Random, Times, milliseconds};
use super::stub::{First, Held, Manner, Seen, Stubs};
use super::{load, say, stub};

/// Everything that runs. The fields end in this order.
pub(super) struct Stage {
    pub(super) stubs: Stubs,
    /// What each client has.
    pub(super) held: Vec<Held>,
    pub(super) processes: Vec<Process>,
    pub(super) cluster: Cluster,
    pub(super) figures: Figures,
    /// What the first client was sent for its first sync.
    pub(super) synced_by: Vec<DeltaDiscoveryResponse>,
    /// What it was sent for one change.
    pub(super) changed_by: Option<DeltaDiscoveryResponse>,
    /// Where the floor is measured.
    pub(super) home: Home,
    pub(super) folder: Folder,
}

/// Measures all rows at one size.
pub(super) async fn measure(options: &Options, services: usize) -> Figures {
    let mut stage = Stage::start(options, services).await;
    if options.has(Row::Events) {
        stage.events(options.events).await;
    }
    if options.has(Row::Load) {
        load::run(&mut stage, options.load).await;
    }
    if options.has(Row::Reconnect) {
        stage.reconnect(options.returning).await;
    }
    if options.has(Row::Crowd) {
        stage.crowd(options.clients).await;
    }
    stage.figures.clone()
}

impl Stage {
    /// Fills a cluster, starts the binary on it, and waits until a client has all.
    pub(super) async fn start(options: &Options, services: usize) -> Self {
        let folder = Folder::new();
        let since = Instant::now();
        let cluster = Cluster::start(&folder.path, options.socket, services, options.gateways);
        say(format!(
            "{services} services made in {:.1?}",
            since.elapsed()
        ));
        let mut stage = Self {
            stubs: Stubs::new(),
            held: Vec::new(),
            processes: Vec::new(),
            cluster,
            figures: Figures::new(options, services),
            synced_by: Vec::new(),
            changed_by: None,
            home: Home::new(options, &folder.path),
            folder,
        };
        stage.sync(options).await;
        stage
    }

    /// From nothing to the last ACK.
    async fn sync(&mut self, options: &Options) {
        self.cluster.forget();
        for number in 0..options.gateways {
            let mut process = Process::start(&options.binary, &self.folder.path, &gateway(number));
            process.listens().await;
            self.stubs.add(process.xds).await;
            self.held.push(Held::new());
            self.processes.push(process);
        }
        let (mut last, mut bytes) = (Instant::now(), 0);
        let deadline = Instant::now() + SYNC_MAX;
        loop {
            let quiet = if self.is_whole() { QUIET } else { SYNC_MAX };
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(seen) = self.stubs.next(quiet.min(left)).await else {
                break;
            };
            (last, bytes) = (seen.received.at, bytes + seen.received.bytes);
            self.take(&seen);
            if seen.client == 0 {
                self.synced_by.push(seen.received.response);
            }
        }
        let whole = self.is_whole();
        let tail = self.processes[0].tail();
        self.figures
            .check(whole, || format!("not everything is served:\n{tail}"));
        self.figures.set("sync_bytes", bytes as f64 / 1e3);
        let started = self.processes[0].started;
        self.figures.set("start", (last - started).as_secs_f64());
        if let Some((at, size)) = self.cluster.full() {
            let took = last.saturating_duration_since(at);
            self.figures.set("sync", took.as_secs_f64());
            self.figures.set("status_bytes", size as f64 / 1e3);
        }
        let cpu: Duration = self.processes.iter().map(Process::cpu_of_all).sum();
        self.figures.set("sync_cpu", cpu.as_secs_f64());
        self.note_memory("resident", Some("highest"));
        if whole {
            self.sync_floor().await;
        }
    }

    /// The largest of the processes counts.
    pub(super) fn note_memory(&mut self, resident: &'static str, highest: Option<&'static str>) {
        let all = || self.processes.iter().map(Process::memory);
        let most = all().map(|memory| memory.resident).max();
        let peak = all().map(|memory| memory.highest).max();
        let megabytes = |kilobytes: u64| kilobytes as f64 * 1.024 / 1e3;
        self.figures.set(resident, most.map(megabytes));
        if let Some(highest) = highest {
            self.figures.set(highest, peak.map(megabytes));
        }
    }

    async fn sync_floor(&mut self) {
        let paths = (0..self.cluster.services).map(cluster::path);
        let asked = floor::ask(&self.folder.path.join("lsnr.sock"), paths.collect()).await;
        let floor = Floor::start(&self.home, &self.synced_by);
        let mut stubs = Stubs::new();
        let since = Instant::now();
        stubs.add(floor.address).await;
        let mut last = since;
        for _ in 0..self.synced_by.len() {
            let Some(seen) = stubs.next(LATE).await else {
                break;
            };
            last = seen.received.at;
        }
        let took = asked + (last - since);
        self.figures.set_floor("sync", took.as_secs_f64());
    }

    /// Whether every client has all that there is for it.
    pub(super) fn is_whole(&self) -> bool {
        let gateways = self.held.len();
        self.held.iter().enumerate().all(|(number, held)| {
            let own = (self.cluster.services + gateways - 1 - number) / gateways;
            let count = |kind| held.keys().filter(|(one, _)| *one == kind).count();
            count(ResourceType::Cluster) >= own
                && count(ResourceType::Endpoint) >= own
                && count(ResourceType::Route) > 0
        })
    }

    /// Keeps the count of what a client has.
    pub(super) fn take(&mut self, seen: &Seen) {
        if let Some(held) = self.held.get_mut(seen.client) {
            stub::take(held, seen);
        }
    }

    /// Waits until a change is there; returns what told it, and what else came.
    pub(super) async fn await_change(&mut self, change: &Change) -> (Option<Seen>, Vec<String>) {
        let mut others = Vec::new();
        while let Some(seen) = self.stubs.next(LATE).await {
            self.take(&seen);
            if seen.tells(&change.cluster, &change.address) {
                return (Some(seen), others);
            }
            others.push(seen.to_string());
        }
        self.figures
            .check(false, || format!("{change:?} did not come"));
        (None, others)
    }

    /// One change after the other, each in quiet.
    async fn events(&mut self, count: usize) {
        let [mut times, mut waits, mut sim] = [const { Times::new() }; 3];
        let (mut most, mut others) = (0, Vec::new());
        let mut random = Random(1);
        let before = self.cpu();
        for _ in 0..count {
            let number = random.below(self.cluster.services);
            let change = self.cluster.change_address(number, random.below(4));
            let (Some(seen), beside) = self.await_change(&change).await else {
                break;
            };
            others.extend(beside);
            if seen.count() > 1 {
                others.push(seen.to_string());
            }
            most = most.max(seen.received.bytes);
            if let Some(written) = self.cluster.written(&change.address) {
                let at = seen.received.at;
                times.note(at.saturating_duration_since(written));
                waits.note(written.saturating_duration_since(change.began));
            }
            sim.note(change.took);
            self.changed_by = Some(seen.received.response);
            sleep(pause(&mut random)).await;
        }
        let spent = self.cpu().since(&before);
        let figures = &mut self.figures;
        figures.check(times.len() == count, || {
            format!("{} of {count} events came", times.len())
        });
        figures.check(others.is_empty(), || format!("came beside: {others:?}"));
        figures.check(most <= BYTES_MAX, || {
            format!("{most} bytes for one address")
        });
        let (half, most_of_it, whole) = (0.5, 0.99, 1.0);
        figures.set("event_p50", times.at(half));
        figures.set("event_p99", times.at(most_of_it));
        figures.set("event_max", times.at(whole));
        figures.set("waited_p50", waits.at(half));
        figures.set("event_bytes", most as f64);
        figures.set("event_cpu", milliseconds(spent) / count as f64);
        figures.set("sim_change", sim.at(half));
        self.event_floor(count).await;
    }

    async fn event_floor(&mut self, count: usize) {
        let Some(response) = self.changed_by.clone() else {
            return;
        };
        let mut random = Random(1);
        let (times, cpu) = floor_times(&self.home, &response, count, || pause(&mut random)).await;
        let cpu = cpu.map(|cpu| milliseconds(cpu) / count as f64);
        self.figures.set_floor("event_cpu", cpu);
        self.figures.set_floor("event_p50", times.at(0.5));
        self.figures.set_floor("event_p99", times.at(0.99));
        self.figures.set_floor("event_max", times.at(1.0));
    }

    pub(super) fn cpu(&self) -> Spent {
        let all = self.processes.iter().map(Process::cpu);
        all.fold(Spent::default(), Spent::and)
    }

    /// Clients that have everything come back all at once; then there is one change.
    async fn reconnect(&mut self, count: usize) {
        let first = First::of(&self.held[0]);
        let mut clients = Stubs::new();
        let since = Instant::now();
        for _ in 0..count {
            let server = self.processes[0].xds;
            clients.add_with(server, &first, Manner::Yes).await;
        }
        let change = self.cluster.change_address(0, 0);
        let (last, others) = all_have(&mut clients, &change).await;
        let missing = last.is_none();
        let figures = &mut self.figures;
        figures.check(!missing, || {
            "not all that came back have a change".to_owned()
        });
        figures.check(others.is_empty(), || format!("resent: {others:?}"));
        figures.set("resent", others.len() as f64);
        figures.set("reconnect", last.map(|last| (last - since).as_secs_f64()));
        self.await_change(&change).await;
        drop(clients);
        let Some(response) = self.changed_by.clone() else {
            return;
        };
        let floor = Floor::start(&self.home, &[]);
        let mut clients = Stubs::new();
        let since = Instant::now();
        for _ in 0..count {
            clients.add_with(floor.address, &first, Manner::Yes).await;
        }
        floor.has(count).await;
        floor.push(&response);
        let last = received_by_all(&mut clients).await;
        let took = last.map(|last| (last - since).as_secs_f64());
        self.figures.set_floor("reconnect", took);
    }

    /// Many clients, and one change after the other.
    async fn crowd(&mut self, count: usize) {
        let first = First::of(&self.held[0]);
        let mut clients = Stubs::new();
        for _ in 0..count {
            let server = self.processes[0].xds;
            clients.add_with(server, &first, Manner::Yes).await;
        }
        let mut times = Times::default();
        // The first tells only that all are there.
        for round in 0..=ROUNDS {
            let change = self.cluster.change_address(0, round);
            let (last, others) = all_have(&mut clients, &change).await;
            self.figures.check(others.is_empty(), || {
                format!("round {round}: a crowd was sent more: {others:?}")
            });
            self.await_change(&change).await;
            let written = self.cluster.written(&change.address);
            let (Some(last), Some(written)) = (last, written) else {
                self.figures
                    .check(false, || "not all of a crowd have a change".to_owned());
                break;
            };
            if round > 0 {
                times.note(last.saturating_duration_since(written));
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.figures.set("crowd", times.at(0.5));
        self.figures.set("crowd_max", times.at(1.0));
        self.note_memory("crowd_resident", None);
        drop(clients);
        self.crowd_floor(count, &first).await;
    }

    async fn crowd_floor(&mut self, count: usize, first: &First) {
        let Some(response) = self.changed_by.clone() else {
            return;
        };
        let floor = Floor::start(&self.home, &[]);
        let mut clients = Stubs::new();
        for _ in 0..count {
            clients.add_with(floor.address, first, Manner::Yes).await;
        }
        floor.has(count).await;
        let mut times = Times::default();
        for _ in 0..ROUNDS {
            let since = Instant::now();
            floor.push(&response);
            if let Some(last) = received_by_all(&mut clients).await {
                times.note(last.saturating_duration_since(since));
            }
        }
        self.figures.set_floor("crowd", times.at(0.5));
        self.figures.set_floor("crowd_max", times.at(1.0));
    }
}

/// When the last client has the change, and what else came meanwhile.
async fn all_have(clients: &mut Stubs, change: &Change) -> (Option<Instant>, Vec<String>) {
    let (mut have, mut others) = (BTreeSet::new(), Vec::new());
    while let Some(seen) = clients.next(LATE).await {
        let told = seen.tells(&change.cluster, &change.address);
        let again = told && !have.insert(seen.client);
        if !told || again || seen.count() > 1 {
            others.push(seen.to_string());
        }
        if have.len() == clients.len() {
            return (Some(seen.received.at), others);
        }
    }
    (None, others)
}

async fn received_by_all(clients: &mut Stubs) -> Option<Instant> {
    let mut last = None;
    for _ in 0..clients.len() {
        last = Some(clients.next(LATE).await?.received.at);
    }
    last
}

/// How long it is quiet between two isolated events.
fn pause(random: &mut Random) -> Duration {
    Duration::from_millis(15 + random.below(10) as u64)
}

/// How long it takes from a bare server that is told a message to a client that has it, so many
/// times; and what the server spent on it.
pub(super) async fn floor_times(
    home: &Home,
    response: &DeltaDiscoveryResponse,
    count: usize,
    mut pause: impl FnMut() -> Duration,
) -> (Times, Option<Duration>) {
    let floor = Floor::start(home, &[]);
    let mut stubs = Stubs::new();
    stubs.add(floor.address).await;
    floor.has(1).await;
    let mut times = Times::default();
    let before = floor.cpu();
    for _ in 0..count {
        let since = Instant::now();
        floor.push(response);
        if let Some(seen) = stubs.next(LATE).await {
            times.note(seen.received.at.saturating_duration_since(since));
        }
        sleep(pause()).await;
    }
    let spent = before.zip(floor.cpu());
    (times, spent.map(|(before, after)| after.since(&before)))
}

/// Changes that a crowd is told of.
const ROUNDS: usize = 10;
/// More than this is more than the endpoints of one service; the target is lower.
const BYTES_MAX: usize = 512;
pub(super) const LATE: Duration = Duration::from_secs(300);
const SYNC_MAX: Duration = Duration::from_secs(600);
/// Nothing for so long, and there is nothing more to come.
const QUIET: Duration = Duration::from_secs(2);
