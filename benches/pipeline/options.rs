//! The options of the benchmark; what each means is said here once.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Measures the way of an event from the daemon's socket to the wire, on the real binary.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// Sizes of the cluster, in services of four instances each.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    pub(super) services: Vec<usize>,

    /// What to measure.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Row::ALL)]
    pub(super) rows: Vec<Row>,

    /// The daemon's socket that is followed: the one that is preferred, or the raw one.
    #[arg(long, value_enum, default_value_t = Socket::H2)]
    pub(super) socket: Socket,

    /// How many gateways share the services by name, each with a process of its own.
    #[arg(long, default_value_t = 1)]
    pub(super) gateways: usize,

    /// Isolated events.
    #[arg(long, default_value_t = 300)]
    pub(super) events: usize,

    /// How long 200 events a second come.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub(super) load: Duration,

    /// Clients of the row with many of them.
    #[arg(long, default_value_t = 500)]
    pub(super) clients: usize,

    /// Clients that come back at once.
    #[arg(long, default_value_t = 100)]
    pub(super) returning: usize,

    /// Another build to measure than the one that cargo made.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_osvc-igw"))]
    pub(super) binary: PathBuf,

    /// Writes the figures there, as JSON.
    #[arg(long)]
    pub(super) json: Option<PathBuf>,

    /// Measures at 100, 1,000, 10,000 and 50,000 services, and says how each cost grows.
    #[arg(long)]
    pub(super) growth: bool,

    /// A small run that checks what is served and never how fast.
    #[arg(long)]
    pub(super) quick: bool,

    /// Churn for so long, and then what became of memory and of what is served.
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(super) soak: Option<Duration>,

    /// The seed of what happens in the soak.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,

    /// Adds a domain to a listener of so many, with the real Envoy that $ENVOY names.
    #[arg(long)]
    pub(super) vhosts: Option<usize>,

    /// Is the bare server that the floor is, told by its standard input what to send.
    #[arg(long, hide = true)]
    pub(super) bare: bool,

    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Row {
    /// Isolated events: time, bytes, CPU.
    Events,
    /// 200 events a second.
    Load,
    /// Many clients.
    Crowd,
    /// Clients that come back.
    Reconnect,
}

impl Row {
    pub(super) const ALL: [Self; 4] = [Self::Events, Self::Load, Self::Crowd, Self::Reconnect];
}

/// The daemon's socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Socket {
    H2,
    Raw,
}

impl Options {
    /// The option that makes this program the bare server.
    pub(super) const BARE: &str = "--bare";

    /// What a test runs: correctness only, small.
    pub(crate) fn quick() -> Self {
        let mut options = Self::parse_from(["pipeline", "--quick"]);
        options.services = vec![60];
        options.events = 20;
        options.load = Duration::from_secs(3);
        options.clients = 30;
        options.returning = 10;
        options
    }

    pub(super) fn has(&self, row: Row) -> bool {
        self.rows.contains(&row)
    }
}
