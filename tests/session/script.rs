//! The interpreter of scripted conversations with a [`Session`]: text in, text out.
//!
//! ```text
//! = cds a@1, eds a@1, rds r@1 -> a   the snapshot from now on; `cds a@1 tls` waits for a secret
//! > cds                              a request; `subscribe`, `unsubscribe` and `has` take names
//! > cds ack, > cds nack "why"        the answer to the last response of that type; `ack 7` to
//!                                    the response with that nonce
//! tick 2s                            time passes; timers fire on their way
//! partial cds a@1                    the same, as a snapshot that was saved and read back
//! whole                              a state-of-the-world stream, from here on: `> lds a b` names
//!                                    all that it wants, `< lds =a@1 b@1` is all that it is to have
//! alone cds                          a stream that carries one type only
//! reconnect                          a new stream, to a session that knows the old one's suspects
//! status                             what is told of each resource of the client
//! < cds +a@1 -b                      what comes back at once: `a@1.2` is content 1 in epoch 2
//! ! cds a "why"                      a refusal that the session reports
//! ~ cds a not sent since 2s: why     what is told of a resource
//! ```

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use osvc_igw::xds::encode::absent_route;
use osvc_igw::xds::saved;
use osvc_igw::xds::session::{Request, Response, Session};
use osvc_igw::xds::status::State;
use osvc_igw::xds::whole::{self, Whole};
use osvc_igw::xds::{Resource, ResourceType, Snapshot, Version};

/// Runs the script and compares what comes back with what it says.
#[track_caller]
pub(super) fn check(script: &str) {
    let lines = script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let script: Vec<&str> = lines.collect();
    let mut talk = Talk::new();
    let mut found = String::new();
    for line in script
        .iter()
        .filter(|line| !line.starts_with(['<', '!', '~']))
    {
        writeln!(found, "{line}").unwrap();
        found += &talk.line(line);
    }
    let wanted = script.join("\n") + "\n";
    assert!(
        found == wanted,
        "the script says\n{wanted}\nbut it went\n{found}"
    );
}

/// One client's conversation.
pub(super) struct Talk {
    pub(super) now: Duration,
    pub(super) session: Session,
    snapshot: Arc<Snapshot>,
    nonces: BTreeMap<ResourceType, String>,
    whole: Option<Whole>,
}

impl Talk {
    pub(super) fn new() -> Self {
        let snapshot = Arc::new(Snapshot::default());
        Self {
            now: Duration::ZERO,
            session: Session::new(Arc::clone(&snapshot), 1),
            snapshot,
            nonces: BTreeMap::new(),
            whole: None,
        }
    }

    /// Feeds one line and returns what comes back.
    pub(super) fn line(&mut self, line: &str) -> String {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "=" => self.publish(rest, false),
            "partial" => self.publish(rest, true),
            ">" => self.request(rest),
            "tick" => self.tick(seconds(rest)),
            "status" => self.status(),
            "whole" => {
                self.whole = Some(Whole::default());
                self.session = Session::new(Arc::clone(&self.snapshot), 1).of_whole_states();
                String::new()
            }
            "alone" => {
                let session = Session::new(Arc::clone(&self.snapshot), 1);
                self.session = session.of_one_type(word(rest));
                String::new()
            }
            "reconnect" => {
                let suspects = self.session.suspects();
                self.session = Session::new(Arc::clone(&self.snapshot), 1);
                self.session.inherit(suspects);
                self.nonces.clear();
                self.now = Duration::ZERO;
                String::new()
            }
            _ => panic!("no such line: {line}"),
        }
    }

    fn status(&self) -> String {
        let mut out = String::new();
        self.session.each_resource(self.now, |resource| {
            let state = match resource.state {
                State::Synced => "synced".to_owned(),
                State::Stale => "stale".to_owned(),
                State::DoesNotExist => "does not exist".to_owned(),
                State::NotSent { since, waits } => {
                    let since = since.map(|since| format!(" since {since:?}"));
                    format!("not sent{}: {waits}", since.unwrap_or_default())
                }
                State::Error { message, at, .. } => format!("refused at {at:?}: {message}"),
            };
            writeln!(out, "~ {} {} {state}", resource.kind, resource.name).unwrap();
        });
        out
    }

    fn publish(&mut self, rest: &str, partial: bool) -> String {
        let mut snapshot = Snapshot::default();
        for item in rest
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
        {
            let (what, clusters) = item.split_once(" -> ").unwrap_or((item, ""));
            let words: Vec<&str> = what.split(' ').collect();
            let [kind, named, flags @ ..] = words.as_slice() else {
                panic!("no such resource: {item}");
            };
            let (name, content) = named.split_once('@').unwrap();
            let mut resource = Resource::new(name, version(content));
            resource.clusters = clusters.split_whitespace().map(str::to_owned).collect();
            resource.warms_until_acked = flags.contains(&"tls");
            snapshot.insert(word(kind), Arc::new(resource));
        }
        if partial {
            snapshot = saved::from_bytes(&saved::to_bytes(&snapshot)).unwrap();
        }
        self.snapshot = Arc::new(snapshot);
        self.session.handle_snapshot(Arc::clone(&self.snapshot));
        self.poll()
    }

    fn request(&mut self, rest: &str) -> String {
        let (kind, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let kind = word(kind);
        let mut request = Request {
            kind,
            nonce: String::new(),
            error: None,
            subscribe: Vec::new(),
            unsubscribe: Vec::new(),
            initial: BTreeMap::new(),
        };
        let (rest, error) = rest.split_once('"').unwrap_or((rest, ""));
        let mut mode = "";
        for part in rest.split_whitespace() {
            match (part, mode) {
                ("ack" | "nack", _) => {
                    request.nonce = self.nonces.get(&kind).cloned().unwrap_or_default();
                    mode = part;
                }
                ("subscribe" | "unsubscribe" | "has", _) => mode = part,
                (name, _) if self.whole.is_some() => request.subscribe.push(name.to_owned()),
                (nonce, "ack" | "nack") => nonce.clone_into(&mut request.nonce),
                (name, "subscribe") => request.subscribe.push(name.to_owned()),
                (name, "unsubscribe") => request.unsubscribe.push(name.to_owned()),
                (named, "has") => {
                    let (name, content) = named.split_once('@').unwrap();
                    let version = version(content).to_string();
                    request.initial.insert(name.to_owned(), version);
                }
                _ => panic!("no such request: {part}"),
            }
        }
        if !error.is_empty() {
            request.error = Some(error.trim_end_matches('"').to_owned());
        }
        let mut out = String::new();
        let refused = match &mut self.whole {
            None => self.session.handle_request(self.now, request),
            Some(whole) => {
                let request = whole::Request {
                    nonce: request.nonce,
                    error: request.error,
                    names: request.subscribe,
                };
                whole.handle_request(&mut self.session, self.now, kind, request)
            }
        };
        for refused in refused {
            let (kind, name, message) = (refused.kind, &refused.name, &refused.message);
            writeln!(out, "! {kind} {name} \"{message}\"").unwrap();
        }
        out + &self.poll()
    }

    /// Lets time pass, from timer to timer as the shell does.
    pub(super) fn tick(&mut self, time: Duration) -> String {
        let end = self.now + time;
        let mut out = String::new();
        while let Some(at) = self.session.poll_timeout(self.now).filter(|at| *at <= end) {
            assert!(at > self.now, "a timer in the past makes the shell run hot");
            self.now = at;
            out += &self.poll();
        }
        self.now = end;
        out + &self.poll()
    }

    fn poll(&mut self) -> String {
        let mut out = String::new();
        while let Some(response) = self.session.poll_response(self.now) {
            self.nonces.insert(response.kind, response.nonce.clone());
            let shown = match &mut self.whole {
                None => show(&response),
                Some(whole) => show_whole(&whole.respond(response)),
            };
            writeln!(out, "{shown}").unwrap();
        }
        out
    }
}

fn show(response: &Response) -> String {
    let mut out = format!("< {}", response.kind);
    for (resource, version) in &response.resources {
        write!(
            out,
            " +{}@{}",
            resource.name,
            symbol(&resource.name, *version)
        )
        .unwrap();
    }
    for name in &response.removed {
        write!(out, " -{name}").unwrap();
    }
    out
}

fn show_whole(response: &whole::Response) -> String {
    let resources = response.resources.iter().map(|resource| {
        let version = match resource.body.is_empty() {
            true => symbol(&resource.name, resource.version),
            false => "none".to_owned(),
        };
        format!("{}@{version}", resource.name)
    });
    let resources: Vec<String> = resources.collect();
    format!("< {} ={}", response.kind, resources.join(" "))
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.trim_end_matches('s').parse().unwrap())
}

fn word(word: &str) -> ResourceType {
    let mut all = ResourceType::ALL.into_iter();
    all.find(|kind| kind.word() == word)
        .expect("cds, eds, sds, lds or rds")
}

/// `1` is a content, `1.2` the same in epoch 2.
fn version(symbol: &str) -> Version {
    let (content, epoch) = symbol.split_once('.').unwrap_or((symbol, "0"));
    Version::of(&content.parse::<u32>().unwrap()).in_epoch(epoch.parse().unwrap())
}

fn symbol(name: &str, version: Version) -> String {
    let contents = (0..20).map(|content| (content.to_string(), Version::of(&content)));
    let contents = contents.chain([("none".to_owned(), absent_route(name).version)]);
    for (content, plain) in contents {
        for epoch in 0..40 {
            if plain.in_epoch(epoch) == version {
                let epoch = if epoch == 0 {
                    String::new()
                } else {
                    format!(".{epoch}")
                };
                return content + &epoch;
            }
        }
    }
    panic!("{name} has a version that nobody made");
}
