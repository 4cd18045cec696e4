//! PURE: what an account of an agent 2.x may do, from its answer to `whoami`, and what it lacks.
//!
//! The daemon fixes an account's grants when a connection begins: the answer is as old as that.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::inventory::Account;

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
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        let granted = text("raw_grant").unwrap_or_default().split_whitespace();
        Self {
            name: text("name").unwrap_or(NOBODY).to_owned(),
            namespace: text("namespace").map(str::to_owned),
            root: grant.is_some_and(|grant| grant.get("root").is_some()),
            guest: namespaces("guest"),
            admin: namespaces("admin"),
            granted: granted.map(str::to_owned).collect(),
        }
    }

    /// Whoever opens the daemon's unix socket.
    pub fn of_the_socket() -> Self {
        Self {
            name: "root".to_owned(),
            root: true,
            ..Self::default()
        }
    }

    /// Whether the daemon has such an account.
    pub fn is_known(&self) -> bool {
        self.root || self.name != NOBODY
    }

    /// What the account lacks to serve these namespaces, one sentence for each right, with the
    /// grant that gives it. Nothing is lacking where nothing is returned.
    ///
    /// Of a namespace that is new the daemon tells with the next connection: a grant that has it
    /// by its pattern counts at once.
    pub fn missing(&self, role: Role, namespaces: &BTreeSet<String>) -> Vec<String> {
        if self.root {
            return Vec::new();
        }
        if !self.is_known() {
            return vec![format!("the daemon does not know this account: {UNKNOWN}")];
        }
        let mut missing = Vec::new();
        if self.guest.is_empty() && !self.granted.iter().any(|word| word.contains(':')) {
            missing.push(self.lacks("guest", ANY, "no object is seen"));
        }
        for namespace in namespaces {
            if !self.has("guest", &self.guest, namespace) {
                missing.push(self.lacks("guest", namespace, "its objects are not seen"));
            }
            if !self.has("admin", &self.admin, namespace) {
                let consequence = match role {
                    Role::Gateway => {
                        "its configurations and the keys of its sec objects are not read, so its \
                         services are not served, or as they were read last, and \
                         listener_port=0 is not replaced by a port"
                    }
                    Role::Operator => "certificates and challenges cannot be written",
                };
                missing.push(self.lacks("admin", namespace, consequence));
            }
        }
        missing
    }

    /// What to say once where the account may do more than anything here needs.
    pub fn excess(&self) -> Option<String> {
        let name = &self.name;
        self.root.then(|| match self.namespace {
            None => ROOT.to_owned(),
            Some(_) => format!(
                "the account {name} has the grant root: it may change everything, and a gateway \
                 needs guest and admin of the namespaces that it serves"
            ),
        })
    }

    fn has(&self, role: &str, listed: &BTreeSet<String>, namespace: &str) -> bool {
        let rank = |role: &str| ROLES.iter().position(|known| *known == role);
        let gives = |word: &String| {
            let Some((granted, patterns)) = word.split_once(':') else {
                return false;
            };
            let enough = rank(granted).is_some_and(|granted| Some(granted) <= rank(role));
            enough && patterns.split(',').any(|pattern| fits(pattern, namespace))
        };
        listed.contains(namespace) || self.granted.iter().any(gives)
    }

    fn lacks(&self, right: &str, namespace: &str, consequence: &str) -> String {
        let home = self.namespace.as_deref().unwrap_or(SYSTEM);
        sentence(
            &self.name,
            home,
            &format!("{right}:{namespace}"),
            consequence,
        )
    }
}

/// What an account lacks, where the daemon refuses `action` in `namespace` with these words.
pub(super) fn lack(action: &str, namespace: &str, words: &str) -> String {
    let part = |before: &str| {
        let (_, rest) = words.split_once(before)?;
        let (part, _) = rest.split_once('\'')?;
        (!part.is_empty() && part.len() <= NAME_BYTES_MAX).then_some(part)
    };
    let parts = part("requested by user '").zip(part("requires role '"));
    let Some((user, role)) = parts else {
        return words.chars().take(SHOWN_CHARS).collect();
    };
    let consequence = match action {
        "get_service_config" => "its configurations are not read, nor is what they define served",
        "get_secret_key" | "get_key" => {
            "the keys of its objects are not read, nor is what needs them served"
        }
        "set_key" => "the keys of its objects are not written",
        "create" => "no object is created there",
        _ => "its objects are not changed",
    };
    let right = match ROLES.contains(&role) {
        true => format!("{role}:{namespace}"),
        false => role.to_owned(),
    };
    sentence(user, SYSTEM, &right, consequence)
}

fn sentence(name: &str, home: &str, grant: &str, consequence: &str) -> String {
    format!(
        "the account {name} has no grant {grant}: {consequence} (om {home}/usr/{name} set --kw \
         grant+={grant})"
    )
}

/// Whether a pattern with stars fits a name.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    let inner = name.strip_prefix(start);
    let Some(mut inner) = inner.and_then(|name| name.strip_suffix(end)) else {
        return false;
    };
    // Each star takes as little as it can: what is left for the others is most then.
    for part in middle.split('*') {
        let Some((_, after)) = inner.split_once(part) else {
            return false;
        };
        inner = after;
    }
    true
}

/// Each has what those behind it have.
const ROLES: [&str; 3] = ["admin", "operator", "guest"];
const NOBODY: &str = "nobody";
/// The namespace of accounts.
const SYSTEM: &str = "system";
/// What stands for the namespaces that nobody has named yet.
const ANY: &str = "NAMESPACE";
/// What an account's name has to be.
pub(super) const UNKNOWN: &str = "the certificate's common name, or the user's name, has to be \
                                  that of a usr object of the namespace system";
const ROOT: &str = "the daemon's unix socket makes this process root: it may change everything; \
                    an account with grants of its own connects over TLS";
/// A longer name is none.
const NAME_BYTES_MAX: usize = 100;
/// How much of the daemon's own words is repeated.
const SHOWN_CHARS: usize = 400;

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
        let words = json!({"name": "acme", "namespace": "system", "raw_grant": "guest:other",
            "grant": {"guest": ["other"], "admin": []}});
        let account = Account::of_whoami(&words);
        let missing = account.missing(Role::Operator, &names(&["other", "new"]));
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
        assert!(missing[0].contains("are not read"), "{missing:?}");
    }

    #[test]
    fn the_unix_socket_makes_root_and_lacks_nothing() {
        let root = Account::of_whoami(&json!({
            "name": "root", "namespace": null, "auth": "secret", "raw_grant": "root",
            "grant": {"root": null}}));
        assert_eq!(root.missing(Role::Gateway, &names(&["test"])), [""; 0]);
        assert!(root.excess().is_some());
        assert_eq!(root.excess(), Account::of_the_socket().excess());
    }

    #[test]
    fn an_account_with_the_grant_root_is_told_that_it_needs_less() {
        let account = Account::of_whoami(&json!({
            "name": "igw", "namespace": "system", "raw_grant": "root", "grant": {"root": null}}));
        let excess = account.excess().unwrap();
        assert!(
            excess.starts_with("the account igw has the grant root"),
            "{excess}"
        );
    }

    #[test]
    fn an_account_that_sees_nothing_at_all_is_told_so() {
        let account = Account::of_whoami(&json!({
            "name": "igw", "namespace": "system", "raw_grant": "", "grant": {"guest": []}}));
        let missing = account.missing(Role::Gateway, &BTreeSet::new());
        assert_eq!(
            missing,
            [
                "the account igw has no grant guest:NAMESPACE: no object is seen (om \
              system/usr/igw set --kw grant+=guest:NAMESPACE)"
            ]
        );
    }

    #[test]
    fn a_grant_by_pattern_has_namespaces_that_are_new() {
        let account = |raw: &str| {
            let answer = json!({"name": "igw", "namespace": "system", "raw_grant": raw,
                "grant": {"guest": [], "admin": []}});
            Account::of_whoami(&answer)
        };
        let new = names(&["shop-new"]);
        for (raw, lacking) in [
            ("guest:* admin:shop-*", 0),
            ("admin:*", 0),
            ("admin:a,shop-new", 0),
            ("admin:*-n*w", 0),
            ("operator:shop-new", 1),
            ("admin:shop", 2),
            ("squire:*", 2),
        ] {
            let missing = account(raw).missing(Role::Gateway, &new);
            assert_eq!(missing.len(), lacking, "{raw}: {missing:?}");
        }
    }

    #[test]
    fn what_the_daemon_forbids_is_told_with_the_grant_that_allows_it() {
        let words = "Forbidden: handler 'key' requested by user 'acme' with grants 'guest:test' \
                     requires role 'admin'";
        assert_eq!(
            lack("get_secret_key", "test", words),
            "the account acme has no grant admin:test: the keys of its objects are not read, nor \
             is what needs them served (om system/usr/acme set --kw grant+=admin:test)"
        );
        let root = words.replace("'admin'", "'root'");
        let told = lack("lock", "test", &root);
        assert!(told.contains("has no grant root:"), "{told}");
        for strange in ["Forbidden", "requested by user '", &"x".repeat(1_000)] {
            assert!(strange.starts_with(&lack("set_key", "test", strange)));
        }
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
            let missing = account.missing(Role::Gateway, &names(&["test"]));
            assert_eq!(missing.len(), 1);
            assert!(missing[0].ends_with(UNKNOWN), "{missing:?}");
        }
    }
}
