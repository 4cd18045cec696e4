//! Seeded random runs of a `Session` against the model of Envoy's client. A failure prints its
//! seed: `SEED=<n> cargo test convergence` runs it alone, `SEEDS=<n>` runs that many.

mod run;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use run::{Mutant, Run};

#[test]
fn client_converges_on_the_snapshot_whatever_happens() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (first, count) = match number("SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("SEEDS").unwrap_or(SEEDS)),
    };
    let next = AtomicU64::new(first);
    let started = Instant::now();
    let work = || {
        let mut steps = 0;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return steps;
            }
            steps += Run::new(seed, None).run();
        }
    };
    let steps: usize = std::thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers
            .map(|worker| worker.join().expect("every seed converges"))
            .iter()
            .sum()
    });
    println!("{count} seeds, {steps} steps, {:.1?}", started.elapsed());
}

#[test]
fn planted_bugs_are_found() {
    let all = [
        Mutant::RefusalsAcknowledge,
        Mutant::SuspectsForgotten,
        Mutant::ClustersUnnamed,
        Mutant::SecretsIgnored,
    ];
    for mutant in all {
        let found = (0..SEEDS).find(|seed| {
            let run = || Run::new(*seed, Some(mutant)).run();
            std::panic::catch_unwind(run).is_err()
        });
        assert!(found.is_some(), "{mutant:?} passes {SEEDS} runs");
    }
}

/// So many take some seconds in a debug build.
const SEEDS: u64 = 2_000;
