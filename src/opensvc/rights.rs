//! PURE: what an account of an agent 2.x may do, from its answer to `whoami`, and what it lacks.
//!
//! The daemon fixes an account's grants when a connection begins: the answer is as old as that.

use std::collections::BTreeSet;
use std::sync::{Arc, Once};

use serde_json::Value;

/// Who the daemon takes this process for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Account {
    /// The account's name; `nobody` where the daemon knows none.
    pub name: String,
    /// Whether it may do everything.
    pub root: bool,
    /// The namespaces whose objects it sees.
    pub guest: BTreeSet<String>,
    /// The namespaces whose keys and configurations it reads and writes.
    pub admin: BTreeSet<String>,
}

/// Whether it was said that the account may do more than is needed. Clones say it once together.
#[derive(Clone, Debug)]
pub struct Told(Arc<Once>);

impl Default for Told {
    fn default() -> Self {
        Self(Arc::new(Once::new()))
    }
}

impl Told {
    /// Gives `say` what there is to say of a `whoami` answer, the first time that there is any.
    pub fn once(&self, answer: &Value, say: impl FnOnce(&str)) {
        if let Some(excess) = Account::of_whoami(answer).excess() {
            self.0.call_once(|| say(excess));
        }
    }
}

/// What an account is used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// A gateway's controller: sees the objects, reads keys and configurations, writes
    /// `listener_port`.
    Gateway,
    /// The certificate operator: writes keys of `sec` and `cfg` objects, and creates them.
    Operator,
}

impl Account {
    /// Reads the daemon's answer to `whoami`. What is not there is not granted.
    pub fn of_whoami(answer: &Value) -> Self {
        let grant = answer.get("grant");
        let namespaces = |role: &str| {
            let list = grant.and_then(|grant| grant.get(role)?.as_array());
            let names = list.into_iter().flatten().filter_map(Value::as_str);
            names.map(str::to_owned).collect()
        };
        let name = answer.get("name").and_then(Value::as_str);
        Self {
            name: name.unwrap_or(NOBODY).to_owned(),
            root: grant.is_some_and(|grant| grant.get("root").is_some()),
            guest: namespaces("guest"),
            admin: namespaces("admin"),
        }
    }

    /// What the account lacks to serve these namespaces, one sentence for each right, with the
    /// grant that gives it. Nothing is lacking where nothing is returned.
    pub fn missing(&self, role: Role, namespaces: &BTreeSet<String>) -> Vec<String> {
        if self.root {
            return Vec::new();
        }
        if self.name == NOBODY {
            return vec![UNKNOWN.to_owned()];
        }
        let mut missing = Vec::new();
        for namespace in namespaces {
            if !self.guest.contains(namespace) {
                missing.push(self.lacks("guest", namespace, "its objects are not seen"));
            }
            if !self.admin.contains(namespace) {
                let consequence = match role {
                    Role::Gateway => {
                        "keys of its sec objects and raw configurations cannot be read, and \
                         listener_port=0 cannot be replaced by a port"
                    }
                    Role::Operator => "certificates and challenges cannot be written",
                };
                missing.push(self.lacks("admin", namespace, consequence));
            }
        }
        missing
    }

    /// What to say once where the account may do more than anything here needs.
    pub fn excess(&self) -> Option<&'static str> {
        self.root.then_some(ROOT)
    }

    fn lacks(&self, right: &str, namespace: &str, consequence: &str) -> String {
        let name = &self.name;
        format!(
            "the account {name} has no grant {right}:{namespace}: {consequence} (om \
             system/usr/{name} set --kw grant+={right}:{namespace})"
        )
    }
}

const NOBODY: &str = "nobody";
const UNKNOWN: &str = "the daemon does not know this account: the certificate's common name, or \
                       the user's name, has to be that of a usr object of the namespace system";
const ROOT: &str = "the daemon's unix socket makes this process root: it may change everything; \
                    an account with grants of its own connects over TLS";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// As recorded, for `guest:* admin:test`.
    fn recorded() -> Account {
        Account::of_whoami(&json!({
            "name": "acme", "namespace": "system", "auth": "x509",
            "raw_grant": "guest:* admin:test",
            "grant": {"guest": ["test", "other", "root", "system"], "admin": ["test"],
                "operator": ["test"]}}))
    }

    #[test]
    fn an_account_with_all_rights_lacks_nothing() {
        assert_eq!(
            recorded().missing(Role::Gateway, &names(&["test"])),
            [""; 0]
        );
        assert_eq!(
            recorded().missing(Role::Operator, &names(&["test"])),
            [""; 0]
        );
        assert_eq!(recorded().excess(), None);
    }

    #[test]
    fn each_missing_right_has_a_message_of_its_own_with_the_command_that_grants_it() {
        let missing = recorded().missing(Role::Operator, &names(&["other", "new"]));
        assert_eq!(
            missing,
            [
                "the account acme has no grant guest:new: its objects are not seen (om \
                 system/usr/acme set --kw grant+=guest:new)",
                "the account acme has no grant admin:new: certificates and challenges cannot be \
                 written (om system/usr/acme set --kw grant+=admin:new)",
                "the account acme has no grant admin:other: certificates and challenges cannot \
                 be written (om system/usr/acme set --kw grant+=admin:other)",
            ]
        );
        let guest = Account::of_whoami(&json!({
            "name": "acme", "namespace": "system", "auth": "x509",
            "raw_grant": "operator:test",
            "grant": {"operator": ["test"], "guest": ["test"], "admin": []}}));
        let missing = guest.missing(Role::Gateway, &names(&["test"]));
        assert_eq!(missing.len(), 1);
        assert!(missing[0].contains("admin:test"), "{missing:?}");
        assert!(missing[0].contains("cannot be read"), "{missing:?}");
    }

    #[test]
    fn the_unix_socket_makes_root_and_lacks_nothing() {
        let root = Account::of_whoami(&json!({
            "name": "root", "namespace": null, "auth": "secret", "raw_grant": "root",
            "grant": {"root": null}}));
        assert_eq!(root.missing(Role::Gateway, &names(&["test"])), [""; 0]);
        assert!(root.excess().is_some());
    }

    #[test]
    fn that_it_is_root_is_said_once() {
        let told = Told::default();
        let mut said = 0;
        told.once(&json!({"name": "acme", "grant": {"guest": []}}), |_| {
            said += 1
        });
        assert_eq!(said, 0);
        for _ in 0..3 {
            let answer = json!({"name": "root", "grant": {"root": null}});
            told.clone().once(&answer, |_| said += 1);
        }
        assert_eq!(said, 1);
    }

    #[test]
    fn an_account_that_the_daemon_does_not_know_is_said_to_be_so() {
        for answer in [
            json!({"name": "nobody", "grant": {}}),
            json!({}),
            json!([]),
            json!({"name": 7, "grant": {"guest": "test", "admin": [1]}}),
        ] {
            let account = Account::of_whoami(&answer);
            assert_eq!(account.missing(Role::Gateway, &names(&["test"])), [UNKNOWN]);
        }
    }
}
