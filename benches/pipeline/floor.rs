//! The floor: the bare server of `bare.rs`, told over a unix socket what to send; and a bare
//! client of the daemon that asks for the same and looks at nothing. What is above it is ours.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as Control;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use futures::stream::StreamExt;
use prost::Message;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::Builder;

use super::bare;
use super::options::Options;
use super::process::Spent;

/// Where bare servers run.
#[derive(Clone)]
pub(super) enum Home {
    /// In a process of this program, as cold between two events as the controller is.
    Process(PathBuf),
    /// On threads of this process: no time is asked for.
    Here,
}

impl Home {
    /// A copy of this program in `folder`: of the same file, what the clients have just run would
    /// be in the caches for the server, too.
    pub(super) fn new(options: &Options, folder: &Path) -> Self {
        if options.quick {
            return Self::Here;
        }
        let own = std::env::current_exe().expect("a program");
        let copy = folder.join("bare");
        std::fs::copy(own, &copy).expect("room for a copy of this program");
        Self::Process(copy)
    }
}

/// A running server; it ends with this value.
pub(super) struct Floor {
    pub(super) address: SocketAddr,
    control: Control,
    child: Option<Child>,
}

impl Floor {
    /// Serves these to clients that have nothing.
    pub(super) fn start(home: &Home, all: &[DeltaDiscoveryResponse]) -> Self {
        let (control, theirs) = Control::pair().expect("a pair of sockets");
        let child = match home {
            Home::Process(program) => {
                let mut command = Command::new(program);
                let command = command.arg(Options::BARE);
                let command = command.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
                Some(command.spawn().expect("a bare server"))
            }
            Home::Here => {
                thread::spawn(move || run(theirs));
                None
            }
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut floor = Self {
            address,
            control,
            child,
        };
        let count = u32::try_from(all.len()).expect("fewer messages");
        floor.say(&count.to_be_bytes());
        for response in all {
            floor.push(response);
        }
        let mut port = [0; 2];
        floor.control.read_exact(&mut port).expect("a port");
        floor.address.set_port(u16::from_be_bytes(port));
        floor
    }

    /// Sends a message to every client.
    pub(super) fn push(&self, response: &DeltaDiscoveryResponse) {
        let message = response.encode_to_vec();
        let length = u32::try_from(message.len()).expect("a smaller message");
        self.say(&[&length.to_be_bytes()[..], &message].concat());
    }

    fn say(&self, bytes: &[u8]) {
        let said = (&self.control).write_all(bytes);
        said.expect("a server that listens");
    }

    /// The time that it has spent on a processor, where it has a process of its own.
    pub(super) fn cpu(&self) -> Option<Spent> {
        let child = self.child.as_ref()?;
        Some(Spent::of(child.id()))
    }

    /// Waits until there are so many clients.
    pub(super) async fn has(&self, clients: usize) {
        let control = self.control.try_clone().expect("a socket");
        let ready =
            tokio::task::spawn_blocking(move || (&control).read_exact(&mut vec![0; clients]));
        ready.await.expect("a thread").expect("a server that runs");
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Is the bare server whose other end has the standard input of this process.
pub(super) fn of_stdin() {
    use std::os::fd::AsFd as _;
    let control = std::io::stdin().as_fd().try_clone_to_owned();
    run(Control::from(control.expect("a standard input")));
}

fn run(control: Control) {
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime.worker_threads(THREADS).enable_all().build();
    let runtime = runtime.expect("a runtime");
    // On a thread of the runtime, so that what is read need not wake one.
    let served = runtime.spawn(async move {
        control.set_nonblocking(true).expect("a socket");
        let control = UnixStream::from_std(control).expect("a socket");
        bare::serve(control).await.expect("a server that serves");
    });
    runtime.block_on(served).expect("a server that ends");
}

/// Asks the daemon for its status and for each of these configurations, as many at once as the
/// controller does. Returns how long it took from the beginning of the status on.
pub(super) async fn ask(socket: &Path, paths: Vec<String>) -> Duration {
    let status = json!({"action": "daemon_status", "options": {}});
    let began = asked(socket, status).await;
    let asked = paths.into_iter().map(|path| {
        let options = json!({"path": path, "format": "json"});
        asked(
            socket,
            json!({"action": "object_config", "method": "GET", "options": options}),
        )
    });
    let mut asked = futures::stream::iter(asked).buffer_unordered(READS);
    while asked.next().await.is_some() {}
    began.elapsed()
}

/// Asks one thing; returns when the answer began.
async fn asked(socket: &Path, request: serde_json::Value) -> Instant {
    let mut stream = UnixStream::connect(socket).await.expect("a daemon");
    let request = format!("{request}\0");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("a daemon that listens");
    let mut answer = vec![stream.read_u8().await.expect("an answer")];
    let began = Instant::now();
    stream.read_to_end(&mut answer).await.expect("an answer");
    assert!(answer.len() > 1, "an empty answer");
    began
}

/// Of a bare server.
const THREADS: usize = 2;
/// As the controller reads them.
const READS: usize = 4;
