//! The way of an event, end to end: the real binary as a process, a simulated daemon on its real
//! socket, clients on the wire. This file decides what is run; each other one is a part of it.

#![allow(clippy::disallowed_methods, reason = "a benchmark is an edge")]
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod bare;
mod cluster;
mod delta;
mod figures;
mod floor;
mod folder;
mod load;
mod options;
mod process;
mod relay;
mod rows;
mod soak;
mod stats;
mod stub;
mod vhosts;

use serde_json::json;

use figures::Figures;
pub(crate) use options::Options;

/// Runs it; returns what is wrong.
pub(crate) fn run(options: &Options) -> Vec<String> {
    if options.bare {
        floor::of_stdin();
        return Vec::new();
    }
    let small = options.quick.then(Options::quick);
    let options = small.as_ref().unwrap_or(options);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        match (options.soak, options.vhosts) {
            (Some(duration), _) => soak::run(options, duration).await,
            (None, Some(count)) => vhosts::run(options, count).await,
            (None, None) => table(options).await,
        }
    })
}

async fn table(options: &Options) -> Vec<String> {
    let sizes = match options.growth {
        true => SIZES.to_vec(),
        false => options.services.clone(),
    };
    if cfg!(debug_assertions) {
        say("a debug build: no time of it means anything".to_owned());
    }
    let mut all: Vec<Figures> = Vec::new();
    for services in sizes {
        let figures = rows::measure(options, services).await;
        println!("{}", figures.text());
        all.push(figures);
    }
    if all.len() > 1 {
        println!("{}", figures::growth(&all));
    }
    if let Some(path) = &options.json {
        let document = json!({
            "debug": cfg!(debug_assertions),
            "socket": format!("{:?}", options.socket).to_lowercase(),
            "sizes": all.iter().map(Figures::json).collect::<Vec<_>>(),
        });
        std::fs::write(path, format!("{document:#}\n")).expect("a file to write");
    }
    let failures = all.iter().flat_map(|figures| figures.failures.clone());
    failures.collect()
}

/// The status tree of a cluster of so many services, for benchmarks that need no daemon.
#[allow(dead_code, reason = "the benchmarks of single steps use it")]
pub(crate) fn status_of(services: usize) -> serde_json::Value {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let entered = runtime.enter();
    let folder = folder::Folder::new();
    let cluster = cluster::Cluster::start(&folder.path, options::Socket::Raw, services, 1);
    let status = cluster.sim.status();
    cluster.sim.stop();
    drop(entered);
    status
}

/// Says what is going on.
fn say(text: String) {
    println!("# {text}");
}

/// The sizes of the growth table.
const SIZES: [usize; 4] = [100, 1_000, 10_000, 50_000];
