//! Churn for a long while: what becomes of the memory, and whether what clients have is what a
//! fresh start would serve. What happens is seeded: the same seed, the same changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::cluster::{Cluster, SECRETS, gateway};
use super::options::Options;
use super::process::Process;
use super::rows::Stage;
use super::say;
use super::stats::{Random, line};
use super::stub::{self, First, Held, Manner, Stubs};

/// What the thread that changes the cluster shares with the one that watches.
#[derive(Default)]
struct Churn {
    pause: AtomicBool,
    paused: AtomicBool,
    stop: AtomicBool,
    changes: AtomicUsize,
}

/// What the watching is about.
struct Watch {
    binary: PathBuf,
    stage: Stage,
    churn: Arc<Churn>,
    /// Clients that refuse, and one that comes and goes.
    picky: Stubs,
    flighty: Stubs,
    returns: usize,
    comparisons: usize,
    /// Minutes since the beginning, and kilobytes.
    memory: Vec<(f64, f64)>,
    failures: Vec<String>,
}

/// Runs it for so long; returns what is wrong.
pub(super) async fn run(options: &Options, duration: Duration) -> Vec<String> {
    let services = options.services.first().copied().unwrap_or(1_000);
    let stage = Stage::start(options, services).await;
    let churn = Arc::new(Churn::default());
    let (cluster, shared, seed) = (stage.cluster.clone(), Arc::clone(&churn), options.seed);
    let changing = thread::spawn(move || change(&cluster, &shared, seed));
    let mut watch = Watch {
        binary: options.binary.clone(),
        failures: stage.figures.failures.clone(),
        stage,
        churn,
        picky: Stubs::new(),
        flighty: Stubs::new(),
        returns: 0,
        comparisons: 0,
        memory: Vec::new(),
    };
    watch.watch(duration).await;
    watch.churn.stop.store(true, Ordering::Relaxed);
    if changing.join().is_err() {
        watch.failures.push("the churn ended in a panic".to_owned());
    }
    watch.tell(duration);
    watch.failures
}

impl Watch {
    async fn watch(&mut self, duration: Duration) {
        let server = self.stage.processes[0].xds;
        let nothing = First::of(&Held::new());
        self.picky.add_with(server, &nothing, Manner::Picky).await;
        let began = Instant::now();
        let between = (duration / 10).clamp(COMPARE_MIN, COMPARE_MAX);
        let (mut sample, mut back, mut compare) = (began, began, began + between);
        while began.elapsed() < duration {
            if let Some(seen) = self.stage.stubs.next(Duration::from_millis(20)).await {
                self.stage.take(&seen);
            }
            while self.picky.seen.try_recv().is_ok() {}
            while self.flighty.seen.try_recv().is_ok() {}
            let now = Instant::now();
            if now >= sample {
                sample += Duration::from_secs(1);
                let kilobytes = self.stage.processes[0].memory().resident;
                let minutes = began.elapsed().as_secs_f64() / 60.0;
                self.memory.push((minutes, kilobytes as f64));
            }
            if now >= back {
                back += RETURN;
                let first = First::of(&self.stage.held[0]);
                self.flighty = Stubs::new();
                self.flighty.add_with(server, &first, Manner::Yes).await;
                self.returns += 1;
            }
            if now >= compare {
                self.compare().await;
                compare = Instant::now() + between;
            }
        }
        self.compare().await;
    }

    /// Stops the churn, and compares what the client has with what a fresh client and a fresh
    /// process would give it.
    async fn compare(&mut self) {
        self.churn.pause.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + SETTLE_MAX;
        while !self.churn.paused.load(Ordering::Relaxed) {
            if Instant::now() > deadline {
                self.failures.push("the churn does not pause".to_owned());
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
        let mut other = Process::start(&self.binary, &self.stage.folder.path, &gateway(0));
        other.listens().await;
        let deadline = Instant::now() + SETTLE_MAX;
        loop {
            while let Some(seen) = self.stage.stubs.next(Duration::from_millis(300)).await {
                self.stage.take(&seen);
            }
            let fresh = everything(self.stage.processes[0].xds).await;
            let anew = everything(other.xds).await;
            let held = &self.stage.held[0];
            if fresh == *held && anew == *held {
                break;
            }
            if Instant::now() > deadline {
                let differs = |one: &Held| {
                    let all = one
                        .iter()
                        .filter(|(key, value)| held.get(*key) != Some(value));
                    let names = all.map(|((kind, name), _)| format!("{kind} {name}"));
                    let gone = held.keys().filter(|key| !one.contains_key(*key));
                    let gone = gone.map(|(kind, name)| format!("no {kind} {name}"));
                    names.chain(gone).take(5).collect::<Vec<_>>().join(", ")
                };
                self.failures.push(format!(
                    "drift after {} changes: a fresh client has [{}], a fresh process [{}]",
                    self.churn.changes.load(Ordering::Relaxed),
                    differs(&fresh),
                    differs(&anew)
                ));
                break;
            }
        }
        self.comparisons += 1;
        self.churn.paused.store(false, Ordering::Relaxed);
        self.churn.pause.store(false, Ordering::Relaxed);
    }

    fn tell(&self, duration: Duration) {
        let minutes = duration.as_secs_f64() / 60.0;
        let later = self.memory.iter().filter(|(at, _)| *at >= minutes / 2.0);
        let later: Vec<_> = later.copied().collect();
        let slope = line(&later).map_or(0.0, |(_, slope)| slope);
        let at = |sample: Option<&(f64, f64)>| sample.map_or(0.0, |(_, kilobytes)| *kilobytes);
        say(format!(
            "{minutes:.1} minutes, {} changes, {} NACKs, {} reconnects, {} comparisons",
            self.churn.changes.load(Ordering::Relaxed),
            self.picky.refusals(),
            self.returns,
            self.comparisons
        ));
        say(format!(
            "resident: {} kB at first, {} kB in the middle, {} kB at the end; slope over the \
             second half {slope:.1} kB/min",
            at(self.memory.first()),
            at(later.first()),
            at(self.memory.last())
        ));
        say(format!("{} things are wrong", self.failures.len()));
    }
}

/// All that the server has for a client that has nothing.
async fn everything(server: std::net::SocketAddr) -> Held {
    let mut stubs = Stubs::new();
    stubs.add(server).await;
    let mut held = Held::new();
    let mut patience = Duration::from_secs(20);
    while let Some(seen) = stubs.next(patience).await {
        stub::take(&mut held, &seen);
        patience = Duration::from_millis(500);
    }
    held
}

/// Changes the cluster until it is told to stop.
fn change(cluster: &Cluster, churn: &Churn, seed: u64) {
    let mut random = Random(seed);
    let mut gone: Vec<usize> = Vec::new();
    while !churn.stop.load(Ordering::Relaxed) {
        if churn.pause.load(Ordering::Relaxed) {
            churn.paused.store(true, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        one_change(cluster, &mut random, &mut gone);
        churn.changes.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(random.below(40) as u64));
    }
}

fn one_change(cluster: &Cluster, random: &mut Random, gone: &mut Vec<usize>) {
    let number = random.below(cluster.services);
    if gone.contains(&number) {
        gone.retain(|one| *one != number);
        return cluster.create(number);
    }
    match random.below(100) {
        0..60 => drop(cluster.change_address(number, random.below(4))),
        60..75 => cluster.set_up(number, random.below(4), random.below(3) > 0),
        75..82 => cluster.retouch(number, 1 + random.below(20)),
        82..88 if gone.len() < cluster.services / 20 => {
            cluster.remove(number);
            gone.push(number);
        }
        88..94 => {
            if let Some(back) = gone.pop() {
                cluster.create(back);
            }
        }
        94..97 => cluster.scale(random.below(5), random.below(4) as u32 * 4),
        _ => cluster.renew(random.below(SECRETS)),
    }
}

/// A client comes back that often.
const RETURN: Duration = Duration::from_secs(5);
const COMPARE_MIN: Duration = Duration::from_secs(5);
const COMPARE_MAX: Duration = Duration::from_secs(120);
/// What was read late is served late.
const SETTLE_MAX: Duration = Duration::from_secs(90);
