//! Who a client of the daemon is, what it may, and what it is shown: as it was when the
//! connection was made, whatever changes later. No socket here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// Who may log in, and with what.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// By name: the grant, and the password if there is one.
    pub(super) users: BTreeMap<String, (String, Option<String>)>,
    /// By token: the name and the grant; `None` where it is expired.
    pub(super) tokens: BTreeMap<String, Option<(String, String)>>,
}

/// The user of a connection.
#[derive(Clone, Debug)]
pub(super) struct User {
    name: String,
    namespace: Option<&'static str>,
    auth: Option<&'static str>,
    raw_grant: String,
    root: bool,
    squatter: bool,
    /// The namespaces that there were.
    namespaces: BTreeSet<String>,
    /// Namespaces by role.
    roles: BTreeMap<&'static str, BTreeSet<String>>,
}

impl User {
    /// Whoever opens the unix socket.
    pub(super) fn root() -> Self {
        Self {
            name: "root".to_owned(),
            namespace: None,
            auth: Some("uxsock"),
            raw_grant: "root".to_owned(),
            root: true,
            squatter: false,
            namespaces: BTreeSet::new(),
            roles: BTreeMap::new(),
        }
    }

    /// Who did not show who it is.
    pub(super) fn nobody() -> Self {
        Self {
            name: "nobody".to_owned(),
            auth: None,
            raw_grant: String::new(),
            root: false,
            ..Self::root()
        }
    }

    /// A user with a grant such as `guest:* admin:test`, as the namespaces are now.
    pub(super) fn new(
        name: &str,
        auth: &'static str,
        grant: &str,
        namespaces: &BTreeSet<String>,
    ) -> Self {
        let mut roles: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
        for word in grant.split_whitespace() {
            let Some((role, pattern)) = word.split_once(':') else {
                continue;
            };
            let Some(first) = ROLES.iter().position(|known| *known == role) else {
                continue;
            };
            let matches = namespaces.iter().filter(|name| fits(pattern, name));
            let matches: BTreeSet<String> = matches.cloned().collect();
            // A role has all that is below it.
            for role in &ROLES[first..] {
                roles.entry(role).or_default().extend(matches.clone());
            }
        }
        let has = |role: &str| grant.split_whitespace().any(|word| word == role);
        Self {
            name: name.to_owned(),
            namespace: Some("system"),
            auth: Some(auth),
            raw_grant: grant.to_owned(),
            root: has("root"),
            squatter: has("squatter"),
            namespaces: namespaces.clone(),
            roles,
        }
    }

    /// Whether anybody is known to be there.
    pub(super) fn is_known(&self) -> bool {
        self.auth.is_some()
    }

    /// What `whoami` answers.
    pub(super) fn whoami(&self) -> Value {
        let mut grant = Map::new();
        for role in self
            .raw_grant
            .split_whitespace()
            .filter(|role| !role.contains(':'))
        {
            grant.insert(role.to_owned(), Value::Null);
        }
        // A user is told of every role, root on the socket is not.
        let named = self.namespace.map(|_| ROLES);
        for role in named.into_iter().flatten() {
            let namespaces = self.roles.get(role).cloned().unwrap_or_default();
            grant.insert(role.to_owned(), json!(namespaces));
        }
        json!({
            "name": self.name, "namespace": self.namespace, "auth": self.auth,
            "raw_grant": self.raw_grant, "grant": grant,
        })
    }

    /// Why this request is not for this user, if it is not.
    pub(super) fn refusal(&self, method: &str, action: &str, options: &Value) -> Option<Value> {
        if self.root || matches!(action, "whoami" | "authinfo") {
            return None;
        }
        if !self.is_known() {
            return Some(json!({"status": 401, "error": "Not Authorized"}));
        }
        let path = ["path", "svcpath", "svcname"];
        let path = path.iter().find_map(|name| options.get(name)?.as_str());
        let may = |role| self.may(role, namespace(path.unwrap_or_default()));
        let role = match (method, action) {
            (_, "events" | "daemon_status" | "object_selector") => return None,
            ("POST", "object_create") => return self.refusal_to_create(options),
            (_, "object_keys" | "object_status") => "guest",
            (_, "key" | "object_config" | "object_action" | "wake_monitor") => "admin",
            _ => "root",
        };
        (role == "root" || !may(role)).then(|| self.forbidden(action, role))
    }

    fn refusal_to_create(&self, options: &Value) -> Option<Value> {
        let paths = options.get("data").and_then(Value::as_object);
        let mut errors = Vec::new();
        for path in paths.into_iter().flat_map(Map::keys) {
            let namespace = namespace(path);
            if self.may("admin", namespace) {
                continue;
            }
            if self.namespaces.contains(namespace) {
                return Some(self.forbidden("object_create", "admin"));
            }
            if !self.squatter {
                errors.push(format!(
                    "{path}: create the new namespace {namespace} requires the squatter cluster \
                     role"
                ));
            }
        }
        (!errors.is_empty()).then(|| json!({"status": 403, "error": errors}))
    }

    fn forbidden(&self, action: &str, role: &str) -> Value {
        let grants = ROLES.iter().filter_map(|role| {
            let namespaces = self.roles.get(role)?;
            let namespaces: Vec<&str> = namespaces.iter().map(String::as_str).collect();
            Some(format!("{role}:{}", namespaces.join(",")))
        });
        let grants: Vec<String> = grants.collect();
        let error = format!(
            "Forbidden: handler '{action}' requested by user '{}' with grants '{}' requires role \
             '{role}'",
            self.name,
            grants.join(" ")
        );
        json!({"status": 403, "error": error})
    }

    fn may(&self, role: &str, namespace: &str) -> bool {
        let namespaces = self.roles.get(role);
        self.root || namespaces.is_some_and(|namespaces| namespaces.contains(namespace))
    }

    /// Whether this user is shown everything.
    pub(super) fn is_root(&self) -> bool {
        self.root
    }

    /// Whether this user is shown an object.
    pub(super) fn is_shown(&self, path: &str) -> bool {
        self.may("guest", namespace(path))
    }

    /// Takes out of a status what this user is not shown.
    pub(super) fn filter_status(&self, tree: &mut Value) {
        let shown = |path: &String| self.is_shown(path);
        let monitor = tree.get_mut("monitor");
        let Some(monitor) = monitor.and_then(Value::as_object_mut) else {
            return;
        };
        if let Some(objects) = monitor.get_mut("services").and_then(Value::as_object_mut) {
            objects.retain(|path, _| shown(path));
        }
        let nodes = monitor.get_mut("nodes").and_then(Value::as_object_mut);
        for node in nodes.into_iter().flat_map(Map::values_mut) {
            for part in ["/services/status", "/services/config"] {
                if let Some(objects) = node.pointer_mut(part).and_then(Value::as_object_mut) {
                    objects.retain(|path, _| shown(path));
                }
            }
        }
    }

    /// Takes out of a message what this user is not shown; what is deleted is told to all, and
    /// a patch without content keeps its number.
    pub(super) fn filter_message(&self, message: &mut Value) {
        let Some(stanzas) = message.get_mut("data").and_then(Value::as_array_mut) else {
            return;
        };
        stanzas.retain_mut(|stanza| {
            let path = stanza.get(0).and_then(Value::as_array).cloned();
            let path = path.unwrap_or_default();
            let name = |depth: usize| path.get(depth).and_then(Value::as_str).unwrap_or_default();
            let object = match (name(0), name(1)) {
                ("monitor", "services") => path.get(2),
                ("monitor", "nodes") if name(3) == "services" => path.get(5),
                _ => None,
            };
            if let Some(object) = object.and_then(Value::as_str) {
                return stanza.get(1).is_none() || self.is_shown(object);
            }
            if let Some(value) = stanza.get_mut(1) {
                self.filter_value(&path, value);
            }
            true
        });
    }

    /// A whole subtree that is set may hold objects.
    fn filter_value(&self, path: &[Value], value: &mut Value) {
        let mut tree = value.take();
        for key in path.iter().rev() {
            let mut parent = Map::new();
            parent.insert(key.as_str().unwrap_or_default().to_owned(), tree);
            tree = Value::Object(parent);
        }
        self.filter_status(&mut tree);
        for key in path {
            let inner = tree.get_mut(key.as_str().unwrap_or_default());
            tree = inner.map(Value::take).unwrap_or_default();
        }
        *value = tree;
    }
}

/// The namespace of an object's path.
pub(super) fn namespace(path: &str) -> &str {
    match path.split('/').collect::<Vec<_>>()[..] {
        [namespace, _, _] => namespace,
        _ => "root",
    }
}

/// Whether a pattern with at most a star at its end fits.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// Each has what those behind it have.
const ROLES: [&str; 3] = ["admin", "operator", "guest"];
