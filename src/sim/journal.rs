//! The daemon's journal: what changed since the last message, the message ids, and the
//! subscribers that get the messages. The faults of the stream are injected here.

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::delta;

/// Messages to come, and who gets them.
#[derive(Debug, Default)]
pub(super) struct Journal {
    tree: Value,
    pending: Vec<Value>,
    held: Vec<Value>,
    last_id: u64,
    muted: bool,
    subscribers: Vec<mpsc::Sender<Vec<u8>>>,
    lost: Vec<mpsc::Sender<Vec<u8>>>,
    /// The last change of a burst stays unsent.
    pub(super) stuck_tail: bool,
    /// The next patch uses its id up and reaches nobody.
    pub(super) lose_next: bool,
    /// The next patch also changes something that is not there.
    pub(super) spoil_next: bool,
    /// Where two subscribers leave within a second, one that stays is forgotten.
    pub(super) forgetful: bool,
    /// When a subscriber left last.
    left_at: f64,
    /// Changes are gathered, not sent, while this is not zero.
    pub(super) batches: u32,
}

/// A part of the tree: where it is, and what is there now, if anything.
pub(super) struct Part {
    path: Vec<String>,
    value: Option<Value>,
}

impl Part {
    /// What is at that place.
    pub(super) fn new(path: &[&str], value: Option<Value>) -> Self {
        let path = path.iter().map(|key| (*key).to_owned()).collect();
        Self { path, value }
    }

    fn parent(&self) -> &[String] {
        self.path.split_last().map_or(&[], |(_, parent)| parent)
    }
}

impl Journal {
    /// Starts with a tree that is taken as known to all.
    pub(super) fn new(tree: Map<String, Value>) -> Self {
        Self {
            tree: Value::Object(tree),
            ..Self::default()
        }
    }

    /// The tree as it was last recorded.
    pub(super) fn tree(&self) -> &Value {
        &self.tree
    }

    /// Notes how the new tree differs from the last one.
    pub(super) fn record(&mut self, tree: Map<String, Value>) {
        if self.muted {
            return;
        }
        let tree = Value::Object(tree);
        self.pending.extend(delta::diff(&self.tree, &tree));
        self.tree = tree;
    }

    /// Notes how these parts differ from what they were, where nothing else does: what
    /// [`Self::record`] would note. The parts are in the order of the tree; those of one parent
    /// stand together. Where the whole tree is given, it must come to the same.
    pub(super) fn record_parts(&mut self, parts: Vec<Part>, whole: Option<Map<String, Value>>) {
        if self.muted {
            return;
        }
        let expected = whole.map(|whole| {
            let whole = Value::Object(whole);
            (delta::diff(&self.tree, &whole), whole)
        });
        let noted = self.pending.len();
        let mut gone = Vec::new();
        let mut parts = parts.into_iter().peekable();
        while let Some(part) = parts.next() {
            let last = parts
                .peek()
                .is_none_or(|next| next.parent() != part.parent());
            self.record_part(part, &mut gone);
            if last {
                self.pending.append(&mut gone);
            }
        }
        if let Some((stanzas, whole)) = expected {
            assert_eq!(self.pending.get(noted..), Some(stanzas.as_slice()));
            assert_eq!(self.tree, whole);
        }
    }

    fn record_part(&mut self, part: Part, gone: &mut Vec<Value>) {
        let Some((key, parents)) = part.path.split_last() else {
            return;
        };
        let mut parent = &mut self.tree;
        for name in parents {
            match parent.get_mut(name) {
                Some(child) => parent = child,
                None => return,
            }
        }
        let Some(parent) = parent.as_object_mut() else {
            return;
        };
        match (parent.get_mut(key), part.value) {
            (None, None) => {}
            (Some(_), None) => {
                parent.remove(key);
                gone.push(json!([part.path]));
            }
            (None, Some(value)) => {
                self.pending.push(json!([part.path, value]));
                parent.insert(key.clone(), value);
            }
            (Some(before), Some(value)) => {
                let path = part.path.iter().map(|key| key.as_str().into()).collect();
                self.pending.extend(delta::diff_at(path, before, &value));
                *before = value;
            }
        }
    }

    /// Sends what is noted as one patch, unless it is to be held back.
    pub(super) fn commit(&mut self, now: f64) {
        if self.batches > 0 || self.muted {
            return;
        }
        let fresh = std::mem::take(&mut self.pending);
        if fresh.is_empty() {
            return;
        }
        let mut data = std::mem::take(&mut self.held);
        if self.stuck_tail {
            self.held = fresh;
        } else {
            data.extend(fresh);
        }
        self.patch(data, now);
    }

    /// Sends all there is, also what is held back.
    pub(super) fn flush(&mut self, now: f64) {
        if self.batches > 0 || self.muted {
            return;
        }
        let mut data = std::mem::take(&mut self.held);
        data.append(&mut self.pending);
        self.patch(data, now);
    }

    fn patch(&mut self, data: Vec<Value>, now: f64) {
        if data.is_empty() {
            return;
        }
        self.last_id += 1;
        if std::mem::take(&mut self.lose_next) {
            return;
        }
        let mut data = data;
        if std::mem::take(&mut self.spoil_next) {
            data.insert(
                0,
                json!([["monitor", "services", "nowhere", "is", "this"], 1]),
            );
        }
        let patch = json!({"kind": "patch", "id": self.last_id, "ts": now, "data": data});
        self.send_json(&patch);
    }

    /// Sends a message of the daemon.
    pub(super) fn send_json(&mut self, message: &Value) {
        if self.muted {
            return;
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.send(&bytes);
    }

    /// Sends bytes to every subscriber; one that does not read is cut, as the daemon does.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.subscribers
            .retain(|subscriber| subscriber.try_send(bytes.to_vec()).is_ok());
    }

    /// A new subscriber: it gets what is sent from now on.
    pub(super) fn subscribe(&mut self) -> mpsc::Receiver<Vec<u8>> {
        let (sender, receiver) = mpsc::channel(BACKLOG_MAX);
        self.subscribers.push(sender);
        receiver
    }

    /// How many get messages.
    pub(super) fn subscribers(&self) -> usize {
        self.subscribers
            .iter()
            .filter(|subscriber| !subscriber.is_closed())
            .count()
    }

    /// A client left. If it was a subscriber, the daemon may take another from its list, too.
    pub(super) fn leave(&mut self, now: f64) {
        let before = self.subscribers.len();
        self.subscribers
            .retain(|subscriber| !subscriber.is_closed());
        if self.subscribers.len() == before {
            return;
        }
        let soon = now - std::mem::replace(&mut self.left_at, now) < 1.0;
        if self.forgetful && soon && !self.subscribers.is_empty() {
            self.lost.push(self.subscribers.remove(0));
        }
    }

    /// Ends every stream, after what it was sent.
    pub(super) fn cut(&mut self) {
        self.subscribers.clear();
        self.lost.clear();
    }

    /// Forgets every subscriber without telling it.
    pub(super) fn lose(&mut self) {
        self.lost.append(&mut self.subscribers);
    }

    /// The daemon is down: nothing is noted, nothing is sent.
    pub(super) fn mute(&mut self) {
        self.cut();
        self.pending.clear();
        self.held.clear();
        self.muted = true;
    }

    /// The daemon is back: it knows nothing, and counts from one.
    pub(super) fn reboot(&mut self) {
        self.muted = false;
        self.tree = json!({});
        self.last_id = 0;
    }
}

/// Messages that may wait for a subscriber that does not read.
const BACKLOG_MAX: usize = 4096;
