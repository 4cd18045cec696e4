//! Events at a steady rate, whether or not those before them have come: how late each comes, and
//! how many are behind at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::cluster::{Change, Cluster};
use super::rows::{LATE, Stage, floor_times};
use super::stats::{Random, Times, milliseconds};
use super::stub::Seen;

/// Changes that were made and did not come yet, by cluster, oldest first.
#[derive(Default)]
struct Waiting(BTreeMap<String, Vec<Change>>);

/// A change, and when it came.
struct Come {
    change: Change,
    at: Instant,
}

/// Runs 200 events a second for so long.
pub(super) async fn run(stage: &mut Stage, duration: Duration) {
    let total = (duration.as_secs_f64() * RATE).round() as usize;
    let (tell, changes) = channel();
    let mut come = Vec::new();
    let before = stage.cpu();
    let began = Instant::now();
    let cluster = stage.cluster.clone();
    let maker = thread::spawn(move || make(&cluster, total, &tell));
    gather(stage, &changes, total, &mut come).await;
    let made_in = maker.join().expect("the maker of changes");
    let spent = stage.cpu().since(&before);
    let missing = total - come.len();
    stage.figures.check(missing == 0, || {
        format!("{missing} of {total} events of the load did not come")
    });
    let written = |one: &Come| stage.cluster.written(&one.change.address);
    let last = come.iter().filter_map(written).max().unwrap_or(began);
    let (mut times, mut behind) = (Times::default(), missing);
    for one in &come {
        if let Some(written) = written(one) {
            times.note(one.at.saturating_duration_since(written));
            // What was written just now may still be on its way.
            behind += usize::from(written + GRACE < last && one.at > last);
        }
    }
    let figures = &mut stage.figures;
    figures.set("load_rate", total as f64 / made_in.as_secs_f64());
    figures.set("load_lag", behind as f64);
    figures.set("load_p50", times.at(0.5));
    figures.set("load_p99", times.at(0.99));
    figures.set("load_cpu", milliseconds(spent) / total as f64);
    stage.note_memory("load_resident", None);
    floor(stage, duration.min(Duration::from_secs(5))).await;
}

/// Makes the changes, each at its time. A service is changed again when all others were.
fn make(cluster: &Cluster, total: usize, tell: &Sender<Change>) -> Duration {
    let mut random = Random(2);
    let mut order: Vec<usize> = (0..cluster.services).collect();
    for index in (1..order.len()).rev() {
        order.swap(index, random.below(index + 1));
    }
    let began = Instant::now();
    for (index, number) in (0..total).zip(order.iter().cycle()) {
        let due = began + Duration::from_secs_f64(index as f64 / RATE);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let change = cluster.change_address(*number, index % 4);
        if tell.send(change).is_err() {
            break;
        }
    }
    began.elapsed()
}

/// Takes in what comes, until all of it has.
async fn gather(stage: &mut Stage, changes: &Receiver<Change>, total: usize, come: &mut Vec<Come>) {
    let mut waiting = Waiting::default();
    // What came before its change was told of here: resources by their place in a response.
    let mut early: Vec<(Arc<Seen>, usize)> = Vec::new();
    let mut heard = Instant::now();
    while come.len() < total && heard.elapsed() < LATE {
        let seen = stage.stubs.next(Duration::from_millis(100)).await;
        for change in changes.try_iter() {
            waiting.add(change);
        }
        let fresh = seen.into_iter().inspect(|seen| stage.take(seen));
        let fresh = fresh.map(Arc::new).flat_map(|seen| {
            let places = 0..seen.received.response.resources.len();
            places.map(move |place| (Arc::clone(&seen), place))
        });
        for (seen, place) in std::mem::take(&mut early).into_iter().chain(fresh) {
            if waiting.settle(&seen, place, come) {
                heard = Instant::now();
            } else if early.len() < EARLY_MAX {
                early.push((seen, place));
            }
        }
    }
}

impl Waiting {
    fn add(&mut self, change: Change) {
        let all = self.0.entry(change.cluster.clone()).or_default();
        all.push(change);
    }

    /// A resource that tells of a change tells of those before it, too. Whether it told of any.
    fn settle(&mut self, seen: &Seen, place: usize, come: &mut Vec<Come>) -> bool {
        let resource = seen.received.response.resources.get(place);
        let changes = resource.and_then(|resource| self.0.get_mut(&resource.name));
        let told = |change: &Change| seen.tells(&change.cluster, &change.address);
        let newest = changes.as_ref().and_then(|all| all.iter().rposition(told));
        let (Some(changes), Some(newest)) = (changes, newest) else {
            return false;
        };
        let at = seen.received.at;
        come.extend(changes.drain(..=newest).map(|change| Come { change, at }));
        true
    }
}

async fn floor(stage: &mut Stage, duration: Duration) {
    let Some(response) = stage.changed_by.clone() else {
        return;
    };
    let count = (duration.as_secs_f64() * RATE) as usize;
    let pause = Duration::from_secs_f64(1.0 / RATE);
    let (times, _) = floor_times(&stage.home, &response, count, || pause).await;
    stage.figures.set_floor("load_p99", times.at(0.99));
    stage.figures.set_floor("load_p50", times.at(0.5));
}

/// Events a second.
const RATE: f64 = 200.0;
const GRACE: Duration = Duration::from_millis(100);
/// Resources that are kept until it is known what they tell of.
const EARLY_MAX: usize = 1_000;
