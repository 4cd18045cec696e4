//! Requests at a steady rate while something else happens, each of which must be answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use osvc_igw::demo::lines::Line;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

/// Runs until [`Load::stop`].
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    task: JoinHandle<Vec<String>>,
}

impl Load {
    /// Sends `per_second` requests, the lines in turn, whether or not earlier ones are answered.
    pub(crate) fn start(lines: &[Line], per_second: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let task = send(
            lines.to_vec(),
            per_second,
            Arc::clone(&stop),
            Arc::clone(&sent),
        );
        Self {
            stop,
            sent,
            task: tokio::spawn(task),
        }
    }

    /// Ends it; returns how many requests were sent, and what went wrong with those that failed.
    pub(crate) async fn stop(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.task.await.expect("the load's task");
        (self.sent.load(Ordering::Relaxed), failures)
    }
}

async fn send(
    lines: Vec<Line>,
    per_second: u32,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
) -> Vec<String> {
    let mut tick = interval(Duration::from_secs(1) / per_second);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = JoinSet::new();
    let mut failures = Vec::new();
    let since = Instant::now();
    for line in lines.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        tick.tick().await;
        let line = line.clone();
        running.spawn(async move {
            let sent_at = since.elapsed();
            let judged = line.run().await.and_then(|answer| line.judge(&answer));
            judged.err().map(|error| {
                format!(
                    "sent at {sent_at:?}, failed at {:?}: {error}",
                    since.elapsed()
                )
            })
        });
        sent.fetch_add(1, Ordering::Relaxed);
        while let Some(ended) = running.try_join_next() {
            failures.extend(ended.expect("a request's task"));
        }
    }
    while let Some(ended) = running.join_next().await {
        failures.extend(ended.expect("a request's task"));
    }
    failures
}
