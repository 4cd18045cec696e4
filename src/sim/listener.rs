//! The listener's own statistics, as they show in the status tree: every connection changes
//! them, and every change of them is a patch to all subscribers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Sessions of the raw socket, counted.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    accepted: u64,
    validated: u64,
    tx: usize,
    rx: usize,
    alive: BTreeMap<String, Value>,
}

impl Sessions {
    /// A client connected.
    pub(super) fn open(&mut self, id: &str, now: f64) {
        self.accepted += 1;
        let session = json!({
            "created": now, "addr": "local", "encrypted": false, "progress": "init",
            "ident": 139_777_100_000_000_u64 + self.accepted,
        });
        self.alive.insert(id.to_owned(), session);
    }

    /// Its request is read.
    pub(super) fn request(&mut self, id: &str, bytes: usize, progress: &str) {
        self.validated += 1;
        self.rx += bytes;
        if let Some(session) = self.alive.get_mut(id) {
            session["progress"] = progress.into();
        }
    }

    /// Something came in, so many bytes by now.
    pub(super) fn hear(&mut self, id: &str, bytes: usize) {
        if let Some(session) = self.alive.get_mut(id) {
            let before = session["heard"].as_u64().unwrap_or_default();
            session["heard"] = bytes.into();
            self.rx += bytes.saturating_sub(usize::try_from(before).unwrap_or_default());
        }
    }

    /// It is gone.
    pub(super) fn close(&mut self, id: &str, bytes: usize) {
        self.tx += bytes;
        self.alive.remove(id);
    }

    /// The `listener` part of the status tree.
    pub(super) fn tree(&self, born: f64) -> Value {
        let totals = json!({
            "accepted": self.accepted, "auth_validated": self.validated, "tx": self.tx,
            "rx": self.rx,
        });
        let mut sessions = totals.clone();
        sessions["alive"] = json!(self.alive);
        sessions["clients"] = json!({"local": totals});
        json!({
            "state": "running", "created": born, "configured": born, "tid": 4725,
            "ident": 139_777_000_000_003_u64, "stats": {"sessions": sessions},
            "config": {"port": 1214, "addr": ""},
        })
    }
}
