//! Everything the simulated daemon holds, and the commands of an operator on it, each with the
//! messages that the real daemon sends while it works. Nothing here waits or touches a socket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Refused;
use super::boot::Boot;
use super::cluster::{Cluster, Path, Stage};
use super::grants::Accounts;
use super::ini::Ini;
use super::journal::{Journal, Part};
use super::listener::Sessions;
use super::scaler::{self, Plan};
use super::status::{self, Members, Nodes};
use super::told;

/// The daemon's state.
pub(super) struct State {
    /// What there is.
    pub(super) cluster: Cluster,
    /// What is told of it.
    pub(super) journal: Journal,
    /// Who is connected.
    pub(super) sessions: Sessions,
    /// The addresses of slaves, by scaler.
    pub(super) plans: BTreeMap<String, Plan>,
    /// Requests so far, by action.
    pub(super) requests: BTreeMap<String, u64>,
    /// No connection is taken.
    pub(super) refuse: bool,
    /// The daemon is to go down for so long.
    pub(super) restart: Option<Duration>,
    /// Answers are late by so much.
    pub(super) delay: Duration,
    /// Requests to set a keyword fail.
    pub(super) refuse_sets: bool,
    /// So many requests to set a keyword are answered well and change nothing.
    pub(super) lose_sets: u32,
    /// Between two steps of a start.
    pub(super) pace: Duration,
    /// An event message of more bytes is torn, and its stream ends.
    pub(super) message_max: usize,
    /// Event messages are sent in pieces of so many bytes.
    pub(super) chunk: usize,
    /// So many statuses to come are cut in the middle.
    pub(super) cut_statuses: u32,
    /// Who may log in.
    pub(super) accounts: Accounts,
    /// Who hears what is written to the event streams.
    pub(super) tap: Option<Tap>,
    /// The nodes as they were drawn last; none where everything is to be drawn anew.
    drawn: Option<Members>,
    /// What the nodes said of themselves then.
    nodes: Nodes,
}

/// Hears statuses and the messages of event streams.
pub(super) type Tap = Arc<dyn Fn(&[u8]) + Send + Sync>;

impl State {
    /// An idle cluster.
    pub(super) fn new(nodes: &[&str], now: f64) -> Self {
        let cluster = Cluster::new(nodes, now);
        let sessions = Sessions::default();
        let journal = Journal::new(whole(&cluster, &sessions));
        Self {
            cluster,
            journal,
            sessions,
            plans: BTreeMap::new(),
            requests: BTreeMap::new(),
            refuse: false,
            restart: None,
            delay: Duration::ZERO,
            refuse_sets: false,
            lose_sets: 0,
            pace: PACE,
            message_max: MESSAGE_MAX,
            chunk: usize::MAX,
            cut_statuses: 0,
            accounts: Accounts::default(),
            tap: None,
            drawn: None,
            nodes: Nodes::default(),
        }
    }

    /// The whole status tree as it is now.
    pub(super) fn tree(&self) -> Map<String, Value> {
        whole(&self.cluster, &self.sessions)
    }

    /// What `daemon_status` answers, as text.
    pub(super) fn status(&mut self) -> String {
        if self.blank() {
            return told::status(&Value::Object(self.tree()));
        }
        self.note();
        told::status(self.journal.tree())
    }

    /// Whether the status that is sent now is to be cut in the middle.
    pub(super) fn cuts_status(&mut self) -> bool {
        let left = self.cut_statuses.checked_sub(1);
        self.cut_statuses = left.unwrap_or_default();
        left.is_some()
    }

    /// Notes what changed, to be sent with the next patch. Of a cluster of thousands of objects
    /// only those are drawn that were touched, unless the nodes are others.
    pub(super) fn note(&mut self) {
        let touched = std::mem::take(&mut self.cluster.touched);
        let members = status::members(&self.cluster);
        if members.is_none() || members != self.drawn {
            let tree = self.tree();
            self.journal.record(tree);
            self.drawn = members;
            return;
        }
        let mut parts = vec![Part::new(
            &["listener"],
            Some(self.sessions.tree(self.cluster.born)),
        )];
        // Most is noted for a client that comes or goes, and nothing else is new.
        let nodes = status::nodes(&self.cluster);
        if !touched.is_empty() || nodes != self.nodes {
            parts.extend(status::parts(&self.cluster, &touched));
            self.nodes = nodes;
        }
        let whole = cfg!(test).then(|| self.tree());
        self.journal.record_parts(parts, whole);
    }

    /// Sends what changed.
    pub(super) fn push(&mut self) {
        self.note();
        self.journal.commit(self.cluster.now);
    }

    /// `om PATH create --config`, then provision and start.
    pub(super) fn create(&mut self, text: &str, config: &str) -> Result<(), Refused> {
        if self.cluster.objects.contains_key(text) {
            return Err(Refused::new(format!("{text} already exists")));
        }
        let path = Path::parse(text)?;
        let ini = Ini::parse(config).map_err(Refused::new)?;
        self.insert(text, path, ini)?;
        self.look(text);
        self.push();
        self.bring_up(text)
    }

    /// `om PATH set --kw …`: all assignments at once.
    pub(super) fn set(&mut self, path: &str, assignments: &[&str]) -> Result<(), Refused> {
        let mut ini = self.cluster.object(path)?.ini.clone();
        for assignment in assignments {
            ini.change(assignment).map_err(Refused::new)?;
        }
        self.rewrite(path, ini)
    }

    /// [`Self::set`] as a client of the daemon asks for it, with what may go wrong then.
    pub(super) fn set_by_request(
        &mut self,
        path: &str,
        assignments: &[&str],
    ) -> Result<(), Refused> {
        if self.refuse_sets {
            return Err(Refused::new("the configuration is locked".to_owned()));
        }
        if let Some(left) = self.lose_sets.checked_sub(1) {
            self.lose_sets = left;
            return Ok(());
        }
        self.set(path, assignments)
    }

    /// A key set by a request: refused and lost as keywords are.
    pub(super) fn key_by_request(
        &mut self,
        path: &str,
        key: &str,
        value: &str,
    ) -> Result<(), Refused> {
        if self.refuse_sets {
            return Err(Refused::new("the configuration is locked".to_owned()));
        }
        let exists = self.cluster.objects.contains_key(path);
        if let Some(left) = self.lose_sets.checked_sub(1).filter(|_| exists) {
            self.lose_sets = left;
            return Ok(());
        }
        self.key(path, key, Some(value))
    }

    /// `om PATH unset --kw …`.
    pub(super) fn unset(&mut self, path: &str, keywords: &[&str]) -> Result<(), Refused> {
        let mut ini = self.cluster.object(path)?.ini.clone();
        for keyword in keywords {
            ini.unset(keyword).map_err(Refused::new)?;
        }
        self.rewrite(path, ini)
    }

    fn rewrite(&mut self, path: &str, ini: Ini) -> Result<(), Refused> {
        self.check(path, &ini)?;
        self.cluster.write(path, ini, false)?;
        self.push();
        Ok(())
    }

    /// Somebody edits the file: nothing is checked, the daemon makes of it what it can.
    pub(super) fn edit(&mut self, path: &str, config: &str) -> Result<(), Refused> {
        self.cluster.object(path)?;
        match Ini::parse(config) {
            Ok(ini) => self.cluster.write(path, ini, false)?,
            Err(_) => self.cluster.erase(path),
        }
        self.push();
        Ok(())
    }

    /// `om PATH delete`; a scaler takes its slaves along.
    pub(super) fn remove(&mut self, path: &str) -> Result<(), Refused> {
        self.cluster.object(path)?;
        let Some(object) = self.cluster.objects.get(path) else {
            return Ok(());
        };
        let slaves = scaler::slaves(&self.cluster, object);
        let numbers = slaves
            .iter()
            .filter_map(|slave| slave.path.name.split('.').next());
        let numbers = numbers.filter_map(|number| number.parse().ok());
        let paths: Vec<String> = numbers
            .map(|number| scaler::slave_path(&object.path, number))
            .collect();
        for slave in &paths {
            self.cluster.erase(slave);
        }
        self.cluster.erase(path);
        self.push();
        Ok(())
    }

    /// The first half of `om PATH scale --to N`: the scaler says so, and the slaves that have to
    /// go are stopping. Returns these.
    pub(super) fn begin_scale(&mut self, path: &str, to: u32) -> Result<Vec<String>, Refused> {
        let mut ini = self.cluster.object(path)?.ini.clone();
        ini.put("DEFAULT", "scale", &to.to_string());
        self.cluster.write(path, ini, true)?;
        self.cluster.monitor(path, None, "scaling")?;
        let (missing, extra) = self.plan(path);
        for slave in &extra {
            self.cluster.monitor(slave, None, "stopping")?;
        }
        let (id, delta) = if missing.is_empty() {
            ("scale_down", extra.len())
        } else {
            ("scale_up", missing.len())
        };
        let data = json!({"id": id, "path": path, "delta": delta});
        let (nodename, ts) = (self.cluster.local(), self.cluster.now);
        let event = json!({"nodename": nodename, "ts": ts, "kind": "event", "data": data});
        self.journal.send_json(&event);
        self.push();
        Ok(extra)
    }

    /// The second half: what has to go goes, what is missing comes.
    pub(super) fn finish_scale(&mut self, path: &str) -> Result<(), Refused> {
        let (missing, extra) = self.plan(path);
        for slave in &extra {
            self.cluster.run(slave, false)?;
            self.push();
        }
        for doing in ["unprovisioning", "deleting"] {
            for slave in &extra {
                self.cluster.monitor(slave, None, doing)?;
            }
            self.push();
        }
        for slave in &extra {
            self.cluster.erase(slave);
        }
        if !missing.is_empty() {
            self.grow(path, &missing)?;
        }
        self.cluster.monitor(path, None, "idle")?;
        self.push();
        Ok(())
    }

    fn plan(&self, path: &str) -> (Vec<(u32, String)>, Vec<String>) {
        let scaler = self.cluster.objects.get(path);
        scaler
            .map(|scaler| scaler::plan(&self.cluster, scaler))
            .unwrap_or_default()
    }

    fn grow(&mut self, path: &str, missing: &[(u32, String)]) -> Result<(), Refused> {
        for (number, _) in missing {
            let scaler = self.cluster.object(path)?.clone();
            let addresses = self.plans.get(path);
            let ini = scaler::slave_config(&self.cluster, &scaler, *number, addresses);
            let (text, slave) = scaler::parsed(&scaler.path, *number)?;
            self.insert(&text, slave, ini)?;
        }
        for (_, slave) in missing {
            self.look(slave);
        }
        self.push();
        for (_, slave) in missing {
            self.cluster.run(slave, true)?;
        }
        self.push();
        Ok(())
    }

    /// `om PATH start` and `om PATH stop`.
    pub(super) fn run(&mut self, path: &str, start: bool) -> Result<(), Refused> {
        self.cluster.run(path, start)?;
        self.push();
        Ok(())
    }

    /// A failover service moves: down where it was, then up on the node.
    pub(super) fn switch(&mut self, path: &str, node: &str) -> Result<(), Refused> {
        self.cluster.run(path, false)?;
        self.push();
        self.cluster
            .each(path, Some(node), |instance, _| instance.started = true)?;
        self.push();
        Ok(())
    }

    /// The address is another, and up: as `set` followed by `start` in no time.
    pub(super) fn set_address(
        &mut self,
        path: &str,
        rid: &str,
        address: &str,
    ) -> Result<(), Refused> {
        let mut ini = self.cluster.object(path)?.ini.clone();
        ini.forget(rid, "ipname");
        ini.put(rid, "ipname", address);
        self.cluster.write(path, ini, true)?;
        self.push();
        Ok(())
    }

    /// Adds or removes a key; the configuration changes first, the status is refreshed later.
    pub(super) fn key(
        &mut self,
        path: &str,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), Refused> {
        self.cluster.key(path, key, value)?;
        self.push();
        self.cluster.evaluate(path);
        self.push();
        Ok(())
    }

    /// The daemon goes down: streams end, nothing is sent until it is back.
    pub(super) fn go_down(&mut self, down: Duration) {
        self.restart = Some(down);
        self.drawn = None;
        self.journal.mute();
    }

    /// The daemon is back, and knows nothing yet.
    pub(super) fn come_back(&mut self) {
        self.restart = None;
        self.drawn = None;
        self.cluster.reboot();
        self.sessions = Sessions::default();
        self.journal.reboot();
    }

    /// One step of the start; the first one only says what little there is.
    pub(super) fn boot_step(&mut self) {
        if !self.blank() {
            self.cluster.boot_step();
        }
        self.push();
    }

    /// True while the daemon that starts has not sent its first message.
    pub(super) fn blank(&self) -> bool {
        let empty = self.journal.tree().as_object().is_some_and(Map::is_empty);
        self.cluster.boot == Some(Boot::Blank) && empty
    }

    fn insert(&mut self, text: &str, path: Path, ini: Ini) -> Result<(), Refused> {
        let service = path.kind == "svc";
        self.cluster.insert(text, path, ini.clone(), !service);
        let checked = self.check(text, &ini);
        if checked.is_err() {
            self.cluster.objects.remove(text);
            return checked;
        }
        self.note();
        self.cluster.advance(text, Stage::Listed);
        self.note();
        Ok(())
    }

    fn look(&mut self, path: &str) {
        self.cluster.advance(path, Stage::Evaluated);
        self.note();
    }

    fn bring_up(&mut self, path: &str) -> Result<(), Refused> {
        let object = self.cluster.object(path)?;
        if object.path.kind != "svc" {
            return Ok(());
        }
        match object.scale() {
            Some(to) => {
                self.begin_scale(path, to)?;
                self.finish_scale(path)
            }
            None => self.run(path, true),
        }
    }

    fn check(&mut self, path: &str, ini: &Ini) -> Result<(), Refused> {
        self.cluster.object(path)?;
        let Some(object) = self.cluster.objects.get(path) else {
            return Ok(());
        };
        if object.path.kind != "svc" {
            return Ok(());
        }
        let nodes = self.cluster.scope(ini);
        for node in &nodes {
            let scope = status::scope(&self.cluster, object, ini, node, &nodes);
            scope.check().map_err(Refused::new)?;
        }
        Ok(())
    }
}

fn whole(cluster: &Cluster, sessions: &Sessions) -> Map<String, Value> {
    let mut tree = status::tree(cluster);
    if cluster.boot.is_none_or(|boot| boot >= Boot::Configured) {
        tree.insert("listener".to_owned(), sessions.tree(cluster.born));
    }
    tree
}

/// Between two steps of a start: short, tests wait for it.
const PACE: Duration = Duration::from_millis(20);

/// What the kernel takes of one message when nobody reads: the agent does not wait for more.
const MESSAGE_MAX: usize = 212_992;
