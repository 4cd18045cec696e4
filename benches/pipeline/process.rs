//! The real binary as a process of its own, and what the kernel says of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use osvc_igw::demo::ports;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// A running `osvc-igw`; it ends with this value.
pub(super) struct Process {
    child: Child,
    log: PathBuf,
    pub(super) xds: SocketAddr,
    pub(super) started: Instant,
}

/// What the process holds, in kilobytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    pub(super) resident: u64,
    pub(super) highest: u64,
}

impl Process {
    /// Starts it beside the daemon in `folder`.
    pub(super) fn start(binary: &Path, folder: &Path, name: &str) -> Self {
        Self::start_with(binary, folder, name, &[])
    }

    /// The same with more options.
    pub(super) fn start_with(binary: &Path, folder: &Path, name: &str, more: &[&str]) -> Self {
        let free = || SocketAddr::from(([127, 0, 0, 1], ports::free().expect("a free port")));
        let (xds, admin) = (free(), free());
        let log = folder.join(format!("{name}-{}.log", xds.port()));
        let file = File::create(&log).expect("a log file");
        let socket = format!("xds-{}.sock", xds.port());
        let started = Instant::now();
        let child = Command::new(binary)
            .arg("--sock")
            .arg(folder.join("lsnr.sock"))
            .args(["--port", &xds.port().to_string()])
            .arg("--janitor-socket")
            .arg(format!("unix://{}", folder.join(&socket).display()))
            .args(["--admin-address", &admin.to_string()])
            .args(["--log-format", "json", "--name", name])
            .args(["--max-workers", "1000"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("osvc-igw starts");
        Self {
            child,
            log,
            xds,
            started,
        }
    }

    /// Waits until it takes connections.
    pub(super) async fn listens(&mut self) {
        let late = Instant::now() + START_MAX;
        while TcpStream::connect(self.xds).await.is_err() {
            let ended = self.child.try_wait().expect("a child of ours");
            let in_time = ended.is_none() && Instant::now() < late;
            assert!(
                in_time,
                "osvc-igw does not listen: {ended:?}\n{}",
                self.tail()
            );
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// The time that it has spent on a processor.
    pub(super) fn cpu(&self) -> Spent {
        Spent::of(self.child.id())
    }

    /// The same in hundredths of a second, with that of threads that have ended: what is long is
    /// done on threads that end soon after it.
    pub(super) fn cpu_of_all(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = fs::read_to_string(path).unwrap_or_default();
        // The name of a program may have anything in it.
        let (_, fields) = text.rsplit_once(") ").unwrap_or_default();
        let spent = fields.split(' ').skip(11).take(2);
        let ticks = spent.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks) * 10
    }

    /// The memory that it holds, and the most that it held.
    pub(super) fn memory(&self) -> Memory {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(path).unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
            number.and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        Memory {
            resident: field("VmRSS:"),
            highest: field("VmHWM:"),
        }
    }

    /// Its last log lines, for whoever asks why.
    pub(super) fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.len().saturating_sub(20);
        lines[last..].join("\n")
    }
}

/// It is asked to end: a build that counts what it runs through writes that down at its end.
impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let late = Instant::now() + END_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < late {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The time that threads have spent on a processor, by thread.
#[derive(Default)]
pub(super) struct Spent(BTreeMap<PathBuf, Duration>);

impl Spent {
    /// That of the threads of a process.
    pub(super) fn of(process: u32) -> Self {
        let tasks = fs::read_dir(format!("/proc/{process}/task"));
        let spent = tasks.into_iter().flatten().flatten().filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            let nanoseconds = text.split(' ').next()?.parse().ok()?;
            Some((task.path(), Duration::from_nanos(nanoseconds)))
        });
        Self(spent.collect())
    }

    /// With that of others.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// What was spent since. A thread that has ended waited for work until then, and is left out.
    pub(super) fn since(&self, before: &Self) -> Duration {
        let spent = self.0.iter().map(|(thread, spent)| {
            let before = before.0.get(thread).copied().unwrap_or_default();
            spent.saturating_sub(before)
        });
        spent.sum()
    }
}

const START_MAX: Duration = Duration::from_secs(30);
const END_MAX: Duration = Duration::from_secs(10);
