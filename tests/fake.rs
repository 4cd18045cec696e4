//! A small daemon of threads and sockets that does on its raw socket what a test tells it to.
//! It shares no code with the client.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::BoxStream;
use osvc_igw::inventory::Event;
use osvc_igw::opensvc::raw::{Limits, Raw};
use osvc_igw::opensvc::{Daemon, Error};
use serde_json::{Value, json};

/// A daemon that answers as told, and records what it was asked.
pub(crate) struct Fake {
    pub(crate) socket: PathBuf,
    pub(crate) requests: Arc<Mutex<Vec<Value>>>,
    served: Arc<Mutex<Value>>,
    pub(crate) events: Sender<Vec<u8>>,
    stopped: Arc<AtomicBool>,
}

/// What happens to a connection.
pub(crate) enum Reply {
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// Nothing, for as long as the client stays.
    Stall,
}

impl Reply {
    pub(crate) fn json(answer: &Value) -> Self {
        Self::Bytes(format!("{answer}\0").into_bytes())
    }
}

type Answer = dyn Fn(&str, &Value) -> Reply + Send + Sync;

impl Fake {
    /// Answers by the request's action, followed by ` elsewhere` where the daemon is to pass it
    /// on; event streams carry what is sent to `events`.
    pub(crate) fn start(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(
            Value::Null,
            Arc::new(move |action, _: &Value| answer(action)),
        )
    }

    /// Gives this status, and an answer to everything else.
    pub(crate) fn serving(status: Value) -> Self {
        let answer = |action: &str, status: &Value| match action {
            "daemon_status" => Reply::json(status),
            _ => Reply::json(&json!({"name": "root"})),
        };
        Self::with(status, Arc::new(answer))
    }

    pub(crate) fn serving_all(answer: &Value) -> Self {
        Self::with(
            answer.clone(),
            Arc::new(|_: &str, answer: &Value| Reply::json(answer)),
        )
    }

    fn with(served: Value, answer: Arc<Answer>) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("osvc-igw-{}-{count}.sock", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&socket).unwrap();
        let (events, receiver) = channel();
        let fake = Self {
            socket,
            requests: Arc::default(),
            served: Arc::new(Mutex::new(served)),
            events,
            stopped: Arc::default(),
        };
        let requests = fake.requests.clone();
        let served = fake.served.clone();
        let stopped = fake.stopped.clone();
        let receiver = Arc::new(Mutex::new(receiver));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Some(request) = request(&mut stream) else {
                    continue;
                };
                let mut action = request["action"].as_str().unwrap().to_owned();
                if request.get("node").is_some() {
                    action.push_str(" elsewhere");
                }
                requests.lock().unwrap().push(request);
                let receiver = receiver.clone();
                let (served, answer) = (served.clone(), answer.clone());
                std::thread::spawn(move || {
                    serve(stream, &action, &receiver, &served, &*answer);
                });
            }
        });
        fake
    }

    pub(crate) fn raw(&self) -> Raw {
        Raw::with_limits(&self.socket, limits())
    }

    pub(crate) fn watch(&self) -> BoxStream<'static, Result<Event, Error>> {
        self.raw().watch()
    }

    /// What the status is from now on.
    pub(crate) fn serve(&self, status: Value) {
        *self.served.lock().unwrap() = status;
    }

    pub(crate) fn send(&self, message: &Value) {
        self.events
            .send(format!("{message}\0").into_bytes())
            .unwrap();
    }

    /// Ends the event stream after what was sent.
    pub(crate) fn hang_up(&mut self) {
        self.events = channel().0;
    }

    pub(crate) fn count(&self, action: &str) -> usize {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .filter(|request| request["action"] == action)
            .count()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        drop(UnixStream::connect(&self.socket));
        drop(std::fs::remove_file(&self.socket));
    }
}

/// Reads here, one connection after the other, so that requests are recorded in their order.
fn request(stream: &mut UnixStream) -> Option<Value> {
    let mut request = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|read| read == 1) && byte != [0] {
        request.extend(byte);
    }
    serde_json::from_slice(&request).ok()
}

/// Answers on one connection. A client may leave at any time.
fn serve(
    mut stream: UnixStream,
    action: &str,
    events: &Mutex<Receiver<Vec<u8>>>,
    served: &Mutex<Value>,
    answer: &Answer,
) {
    if action == "events" {
        for bytes in events.lock().unwrap().iter() {
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
        return;
    }
    let served = served.lock().unwrap().clone();
    match answer(action, &served) {
        Reply::Bytes(bytes) => drop(stream.write_all(&bytes)),
        Reply::Stall => drop(stream.read(&mut [0])),
    }
}

/// Limits that no test reaches by accident, and frequent flushes.
pub(crate) fn limits() -> Limits {
    Limits {
        flush: Duration::from_millis(50),
        silence: Duration::from_secs(20),
        ..Limits::default()
    }
}
