//! The other side, for tests and the demo: a simulated OpenSVC 2.1 daemon that speaks the raw
//! protocol and HTTP/2 as they were recorded, with a scripted cluster and faults to inject; HTTP
//! backends; a throw-away certificate authority. It imports nothing from the rest of the crate,
//! because a shared bug is a hidden bug, and the program never uses it.

mod answer;
mod boot;
mod cluster;
mod delta;
mod doors;
mod driver;
mod grants;
mod http;
mod ini;
mod journal;
mod keywords;
mod listener;
mod raw;
mod scaler;
mod state;
mod status;
mod told;

pub mod backend;
pub mod certificate;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use certificate::Identity;
use doors::Door;
use raw::{Server, Shared};
use state::State;

/// A simulated daemon, and the hand on it. Clones are the same daemon; it ends with the last.
///
/// A change is told to the subscribers at once, as one patch or as several where the real daemon
/// sends several. Objects come up when they are created, as if provisioned and started.
#[derive(Clone)]
pub struct Sim {
    shared: Arc<Shared>,
    server: Arc<Server>,
}

/// What `om` says when it does not do what it is told; nothing has changed then.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    fn new(reason: String) -> Self {
        Self(reason)
    }
}

impl Sim {
    /// Serves the raw protocol on the socket, for an idle cluster of these nodes; the first is
    /// the daemon's own. Call it inside a tokio runtime.
    pub fn start(socket: &Path, nodes: &[&str]) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(State::new(nodes, now())));
        let server = Arc::new(Server::start(shared.clone(), socket)?);
        Ok(Self { shared, server })
    }

    /// Serves HTTP/2 on a unix socket, too: `h2.sock`.
    pub fn serve_h2(&self, socket: &Path) -> io::Result<()> {
        self.open(Door::Unix(socket.to_owned()))?;
        Ok(())
    }

    /// Serves HTTP/2 over TLS, too, with this certificate and for clients of the authority;
    /// returns where.
    pub fn serve_tls(
        &self,
        address: SocketAddr,
        identity: &Identity,
        authority_pem: &str,
    ) -> io::Result<SocketAddr> {
        let (chain, key) = (&identity.chain_pem, &identity.key_pem);
        let opened = self.open(Door::tls(address, chain, key, authority_pem)?)?;
        opened.ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    fn open(&self, door: Door) -> io::Result<Option<SocketAddr>> {
        let listener = door.open()?;
        let address = listener.address().ok();
        // A port that was free is kept.
        let door = match (door, address) {
            (Door::Tls(_, acceptor), Some(address)) => Door::Tls(address, acceptor),
            (door, _) => door,
        };
        let serving = doors::serve(self.shared.clone(), door, listener);
        self.server.add(serving);
        Ok(address)
    }

    /// `om system/usr/NAME create --kw grant=…`, or another grant; with a password for basic
    /// authentication. Connections that are open do not notice.
    pub fn set_user(&self, name: &str, grant: &str, password: Option<&str>) {
        let account = (grant.to_owned(), password.map(str::to_owned));
        let mut state = self.shared.lock();
        state.accounts.users.insert(name.to_owned(), account);
    }

    /// The OpenID provider gives out a token; or, without a user, lets one expire.
    pub fn set_token(&self, token: &str, user: Option<(&str, &str)>) {
        let user = user.map(|(name, grant)| (name.to_owned(), grant.to_owned()));
        let mut state = self.shared.lock();
        state.accounts.tokens.insert(token.to_owned(), user);
    }

    /// Ends the daemon now, whoever holds a handle; the socket file stays.
    pub fn stop(&self) {
        self.server.stop();
    }

    /// Calls this with every status and every message of the event streams, just before it is
    /// written to a socket: the moment from which a client can have it.
    pub fn tap(&self, hear: impl Fn(&[u8]) + Send + Sync + 'static) {
        self.shared.lock().tap = Some(Arc::new(hear));
    }

    /// The status tree as it is, with what `daemon_status` leaves out.
    pub fn status(&self) -> Value {
        Value::Object(self.shared.lock().tree())
    }

    /// How many requests of this action were answered.
    pub fn requests(&self, action: &str) -> u64 {
        self.shared
            .lock()
            .requests
            .get(action)
            .copied()
            .unwrap_or(0)
    }

    /// How many connections get events.
    pub fn subscribers(&self) -> usize {
        self.shared.lock().journal.subscribers()
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.shared.lock();
        state.cluster.bury();
        act(&mut state)
    }
}

/// What an operator does.
impl Sim {
    /// `om PATH create --config`, then provision and start. Empty text makes a bare object.
    pub fn create(&self, path: &str, ini_text: &str) -> Result<(), Refused> {
        self.with(|state| state.create(path, ini_text))
    }

    /// `om PATH set --kw …`, all at once: `section.keyword=value`, `+=`, `|=`, `-=`. An address
    /// that changes is down until [`Self::run`].
    pub fn set(&self, path: &str, assignments: &[&str]) -> Result<(), Refused> {
        self.with(|state| state.set(path, assignments))
    }

    /// `om PATH unset --kw …`: `section.keyword`, or a whole section.
    pub fn unset(&self, path: &str, keywords: &[&str]) -> Result<(), Refused> {
        self.with(|state| state.unset(path, keywords))
    }

    /// Somebody edits the configuration file: no check, and a bad one costs the object.
    pub fn edit(&self, path: &str, ini_text: &str) -> Result<(), Refused> {
        self.with(|state| state.edit(path, ini_text))
    }

    /// `om PATH delete`; a scaler's slaves go with it.
    pub fn remove(&self, path: &str) -> Result<(), Refused> {
        self.with(|state| state.remove(path))
    }

    /// Says which address slave `number` of the scaler gets on a node, for slaves to come.
    pub fn address_slaves(
        &self,
        scaler: &str,
        address: impl Fn(u32, &str) -> String + Send + 'static,
    ) {
        self.with(|state| state.plans.insert(scaler.to_owned(), Box::new(address)));
    }

    /// `om PATH scale --to N`, to its end; the highest slaves go first.
    pub fn scale(&self, path: &str, to: u32) -> Result<(), Refused> {
        self.with(|state| {
            state.begin_scale(path, to)?;
            state.finish_scale(path)
        })
    }

    /// The first half of [`Self::scale`]: the slaves that have to go are `stopping` and still
    /// up. Returns their paths.
    pub fn begin_scale(&self, path: &str, to: u32) -> Result<Vec<String>, Refused> {
        self.with(|state| state.begin_scale(path, to))
    }

    /// The second half of [`Self::scale`]: what has to go goes, what is missing comes.
    pub fn finish_scale(&self, path: &str) -> Result<(), Refused> {
        self.with(|state| state.finish_scale(path))
    }

    /// `om PATH start`: up where it belongs, given statuses forgotten.
    pub fn run(&self, path: &str) -> Result<(), Refused> {
        self.with(|state| state.run(path, true))
    }

    /// The instances say that they are stopping; they are still up.
    pub fn stopping(&self, path: &str) -> Result<(), Refused> {
        self.set_instance_monitor(path, None, "stopping")
    }

    /// `om PATH stop`, done: everything is down.
    pub fn stop_service(&self, path: &str) -> Result<(), Refused> {
        self.with(|state| state.run(path, false))
    }

    /// `om PATH switch --to`: a failover service moves to the node.
    pub fn switch(&self, path: &str, node: &str) -> Result<(), Refused> {
        self.with(|state| state.switch(path, node))
    }

    /// Gives the ip resource another address on every node, and starts it.
    pub fn set_address(&self, path: &str, rid: &str, address: &str) -> Result<(), Refused> {
        self.with(|state| state.set_address(path, rid, address))
    }

    /// Tells the resolver an address (or that there is none) of a name in `ipname`.
    pub fn set_host(&self, name: &str, address: Option<&str>) {
        self.with(|state| {
            match address {
                Some(address) => {
                    state
                        .cluster
                        .hosts
                        .insert(name.to_owned(), address.to_owned());
                }
                None => {
                    state.cluster.hosts.remove(name);
                }
            }
            state.cluster.evaluate_all();
            state.push();
        });
    }

    /// Gives a resource a status, until the service is started or stopped.
    pub fn set_resource_status(
        &self,
        path: &str,
        node: &str,
        rid: &str,
        status: &str,
    ) -> Result<(), Refused> {
        self.with(|state| {
            state.cluster.each(path, Some(node), |instance, _| {
                instance.given.insert(rid.to_owned(), status.to_owned());
            })?;
            state.push();
            Ok(())
        })
    }

    /// An instance comes up again with another address, as one that a container engine gives:
    /// the configuration stays as it is.
    pub fn set_instance_address(
        &self,
        path: &str,
        node: &str,
        rid: &str,
        address: &str,
    ) -> Result<(), Refused> {
        self.with(|state| {
            state.cluster.each(path, Some(node), |instance, _| {
                let addresses = &mut instance.addresses;
                addresses.insert(rid.to_owned(), address.to_owned());
            })?;
            state.push();
            Ok(())
        })
    }

    /// Says what the instance on the node, or all instances, are doing: `idle`, `stopping`.
    pub fn set_instance_monitor(
        &self,
        path: &str,
        node: Option<&str>,
        doing: &str,
    ) -> Result<(), Refused> {
        self.with(|state| {
            state.cluster.monitor(path, node, doing)?;
            state.push();
            Ok(())
        })
    }

    /// Sets a key of a `sec` or `cfg`; setting the same value again changes the csum too.
    pub fn set_key(&self, path: &str, key: &str, value: &str) -> Result<(), Refused> {
        self.with(|state| state.key(path, key, Some(value)))
    }

    /// Removes a key; one that is not there is no error.
    pub fn unset_key(&self, path: &str, key: &str) -> Result<(), Refused> {
        self.with(|state| state.key(path, key, None))
    }

    /// Reads a key as it is now.
    pub fn key(&self, path: &str, key: &str) -> Option<String> {
        self.shared
            .lock()
            .cluster
            .objects
            .get(path)?
            .keys
            .get(key)
            .cloned()
    }
}

/// What happens to nodes.
impl Sim {
    /// Sets what the node says of itself: `idle`, `init`, `maintenance`.
    pub fn set_node_status(&self, node: &str, status: &str) {
        self.with(|state| {
            let now = state.cluster.now;
            if let Some(node) = state.cluster.nodes.get_mut(node) {
                status.clone_into(&mut node.status);
                node.since = now;
            }
            state.push();
        });
    }

    /// The node's heartbeat is lost: it leaves the status, and stays a member.
    pub fn drop_node(&self, node: &str) {
        self.with(|state| {
            if let Some(node) = state.cluster.nodes.get_mut(node) {
                node.present = false;
            }
            state.push();
        });
    }

    /// A node joins, or comes back: first its name, then all it runs.
    pub fn add_node(&self, node: &str) {
        self.with(|state| {
            state.cluster.join(node);
            state.push();
            state.cluster.welcome(node, "idle");
            state.push();
        });
    }
}

/// What goes wrong.
impl Sim {
    /// Runs the changes and tells of all of them in one patch.
    pub fn batch<T>(&self, changes: impl FnOnce(&Self) -> T) -> T {
        self.shared.lock().journal.batches += 1;
        let result = changes(self);
        let mut state = self.shared.lock();
        state.journal.batches = state.journal.batches.saturating_sub(1);
        state.push();
        result
    }

    /// The last change stays unsent until there is another one or somebody connects.
    pub fn set_stuck_tail(&self, stuck: bool) {
        self.shared.lock().journal.stuck_tail = stuck;
    }

    /// The daemon goes down: connections are cut and refused for so long; then it starts, counts
    /// from one, and finds its objects one by one until it is `idle`.
    pub fn restart(&self, down: Duration) {
        self.shared.lock().go_down(down);
        self.shared.wake.notify_one();
    }

    /// How long the starting daemon takes from one step to the next (20 ms by default).
    pub fn set_boot_pace(&self, pace: Duration) {
        self.shared.lock().pace = pace.max(Duration::from_millis(1));
    }

    /// True while the daemon is down or starting.
    pub fn is_starting(&self) -> bool {
        let state = self.shared.lock();
        state.restart.is_some() || state.cluster.boot.is_some()
    }

    /// Ends every event stream, without a word.
    pub fn cut(&self) {
        self.shared.lock().journal.cut();
    }

    /// The next patch is lost: its id is used up, its content never comes.
    pub fn skip_id(&self) {
        self.shared.lock().journal.lose_next = true;
    }

    /// The next patch also changes something that is not there.
    pub fn spoil_patch(&self) {
        self.shared.lock().journal.spoil_next = true;
    }

    /// So many statuses to come are cut in the middle, and their connections with them.
    pub fn cut_statuses(&self, count: u32) {
        self.shared.lock().cut_statuses = count;
    }

    /// Event messages are sent in pieces of so many bytes.
    pub fn set_chunk(&self, bytes: usize) {
        self.shared.lock().chunk = bytes.max(1);
    }

    /// Sends these bytes, as they are, to every subscriber.
    pub fn send(&self, bytes: &[u8]) {
        self.shared.lock().journal.send(bytes);
    }

    /// Forgets every subscriber: its connection stays open and silent.
    pub fn lose_subscribers(&self) {
        self.shared.lock().journal.lose();
    }

    /// Where two subscribers leave within a second, one that stays is forgotten, too: its
    /// connection stays open and silent, as the real daemon does it.
    pub fn set_forgetful(&self, forgetful: bool) {
        self.shared.lock().journal.forgetful = forgetful;
    }

    /// Refuses new connections, or takes them again; streams go on.
    pub fn refuse(&self, refuse: bool) {
        self.shared.lock().refuse = refuse;
        self.shared.wake.notify_one();
    }

    /// Every answer is late by so much; events are not.
    pub fn delay_answers(&self, delay: Duration) {
        self.shared.lock().delay = delay;
    }

    /// Requests to set a keyword or a key fail, or work again.
    pub fn refuse_sets(&self, refuse: bool) {
        self.shared.lock().refuse_sets = refuse;
    }

    /// The next requests to set a keyword or a key are answered as if they had worked.
    pub fn lose_sets(&self, count: u32) {
        self.shared.lock().lose_sets = count;
    }

    /// `om PATH print config`: the object's file.
    pub fn config(&self, path: &str) -> Option<String> {
        let state = self.shared.lock();
        Some(state.cluster.objects.get(path)?.ini.to_text())
    }

    /// The value of a keyword as it stands in the object's file, `expose#0.listener_port`.
    pub fn keyword(&self, path: &str, place: &str) -> Option<String> {
        let state = self.shared.lock();
        let (section, keyword) = place.split_once('.')?;
        let object = state.cluster.objects.get(path)?;
        object.ini.value(section, keyword).map(str::to_owned)
    }

    /// An event message of more bytes is torn at this length and its stream ends, as the real
    /// daemon does at 208 KiB.
    pub fn set_message_max(&self, bytes: usize) {
        self.shared.lock().message_max = bytes;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the daemon stamps what it says with its own clock"
)]
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

#[cfg(test)]
mod tests;
