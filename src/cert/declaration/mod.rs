//! PURE: what the objects of the cluster ask for: which certificates, and of whom. A certificate
//! is a `sec` with `cn`, `alt_names` and `ca`, all of them keywords of OpenSVC; its `ca` is a `sec`
//! whose key `directory` is the address of an ACME authority.

use std::collections::BTreeSet;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::dns::settings::{Dns, dns};
use super::method::Method;
use super::names::names;
use crate::inventory::{Config, Kind, ObjectPath, Problem, Secret, Sensitive};

/// A certificate that is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Declaration {
    /// The `sec` object that it goes into.
    pub path: ObjectPath,
    /// Its names, at least one.
    pub names: BTreeSet<String>,
    /// The `sec` object of the authority.
    pub issuer: ObjectPath,
    /// What its key is like (`[labels] acme.key`).
    pub key: KeyKind,
    /// The profile of the authority (`[labels] acme.profile`, else the issuer's).
    pub profile: Option<String>,
    /// Whether the next certificate is for the same key (`[labels] acme.reuse_key`).
    pub reuse_key: bool,
    /// How its names are shown to be ours (`[labels] acme.challenge`); empty for the issuer's.
    pub methods: Vec<Method>,
    /// When the names that services serve with it (`[labels] acme.names = auto`) count as
    /// settled; `None` where they are all declared. No order is made before.
    pub settles_at: Option<i64>,
}

/// What a private key is like.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KeyKind {
    /// ECDSA on P-256.
    #[default]
    P256,
    /// ECDSA on P-384.
    P384,
    /// RSA of 2048 bits.
    Rsa2048,
}

/// An authority that can be asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issuer {
    /// The `sec` object that describes it.
    pub path: ObjectPath,
    /// Where its directory is.
    pub directory: String,
    /// Whom it may write to: `mailto:` addresses.
    pub contact: Vec<String>,
    /// The profile for certificates that name none.
    pub profile: Option<String>,
    /// How names are shown to be ours: those that fit a name take turns.
    pub methods: Vec<Method>,
    /// What it says about the DNS.
    pub dns: Dns,
    /// The account that its owner has elsewhere (RFC 8555, section 7.3.4).
    pub external: Option<External>,
    /// The roots to believe its server by, in PEM, beside those of the system.
    pub ca_bundle: Option<String>,
    /// The roots that a chain should lead to, in PEM, where it offers several.
    pub preferred_roots: Option<String>,
    /// The namespaces whose certificates it may sign, `*` at an end for any; empty for its own
    /// alone.
    pub allow: Vec<String>,
    /// The `sec` object of the authority that stands in for this one.
    pub fallback: Option<ObjectPath>,
    /// The account that was made here, as it was written; `None` before the first order.
    pub account: Option<Sensitive>,
    /// The ledger of what was asked of it.
    pub ledger: Option<Sensitive>,
}

/// An account at an authority that was made elsewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct External {
    /// Its name.
    pub kid: String,
    /// Its key, in base64url.
    pub hmac: Sensitive,
}

/// Reads what a `sec` object asks for; `None` where it names no `ca`.
///
/// Whether the `ca` is an ACME authority is told by that object alone.
pub fn declaration(path: &ObjectPath, config: &Config) -> Option<Result<Declaration, Problem>> {
    let read = |section: &str, keyword: &str| {
        let text = config.keyword(path, "", section, keyword)?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let ca = read(DEFAULT, "ca").filter(|_| path.kind() == Kind::Sec)?;
    let issuer = match sec(&ca) {
        Ok(issuer) => issuer,
        Err(reason) => return Some(Err(problem(path, DEFAULT, "ca", reason))),
    };
    let (cn, alt_names) = (read(DEFAULT, "cn"), read(DEFAULT, "alt_names"));
    let texts = [&cn, &alt_names].map(|text| text.as_deref().unwrap_or_default());
    let auto = match read(LABELS, NAMES_LABEL).as_deref() {
        None => Ok(None),
        Some("auto") => Ok(Some(0)),
        Some(other) => {
            let reason = format!("{other:?} is not auto");
            Err(problem(path, LABELS, NAMES_LABEL, reason))
        }
    };
    let names = match names(&texts) {
        Ok(names) if names.is_empty() && auto == Ok(None) => {
            Err(problem(path, DEFAULT, "cn", "is not set".to_owned()))
        }
        Ok(names) => Ok(names),
        Err(reason) => {
            let keyword = if names(&texts[..1]).is_err() {
                "cn"
            } else {
                "alt_names"
            };
            Err(problem(path, DEFAULT, keyword, reason))
        }
    };
    let key = match read(LABELS, "acme.key").as_deref() {
        None | Some("p256") => Ok(KeyKind::P256),
        Some("p384") => Ok(KeyKind::P384),
        Some("rsa" | "rsa2048") => Ok(KeyKind::Rsa2048),
        Some(other) => {
            let reason = format!("{other:?} is none of p256, p384 and rsa2048");
            Err(problem(path, LABELS, "acme.key", reason))
        }
    };
    let reuse_key = match read(LABELS, "acme.reuse_key").as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            let reason = format!("{other:?} is neither true nor false");
            Err(problem(path, LABELS, "acme.reuse_key", reason))
        }
    };
    let methods = methods(&read(LABELS, CHALLENGE_LABEL).unwrap_or_default());
    let methods = methods.map_err(|reason| problem(path, LABELS, CHALLENGE_LABEL, reason));
    Some(names.and_then(|names| {
        Ok(Declaration {
            path: path.clone(),
            names,
            issuer,
            key: key?,
            reuse_key: reuse_key?,
            profile: read(LABELS, "acme.profile"),
            methods: methods?,
            settles_at: auto?,
        })
    }))
}

/// Reads the keys of a `sec` object; `None` where it is no ACME authority.
pub fn issuer(path: &ObjectPath, keys: &Secret) -> Option<Result<Issuer, Problem>> {
    let read = |key: &str| {
        let text = keys.get(key)?.expose().trim();
        Some(text.to_owned()).filter(|text| !text.is_empty())
    };
    let directory = read("directory")?;
    if keys.contains_key("private_key") {
        return None;
    }
    let problem = |key: &str, reason: String| Some(Err(problem(path, "", key, reason)));
    if !directory.starts_with("https://") || directory.contains(char::is_whitespace) {
        return problem("directory", "is no https address".to_owned());
    }
    let words = |key: &str| words(&read(key).unwrap_or_default());
    let contact = words("contact").into_iter();
    let contact = contact.map(|word| match word.contains(':') {
        true => word,
        false => format!("mailto:{word}"),
    });
    let methods = match methods(&read("challenge").unwrap_or_default()) {
        Ok(none) if none.is_empty() => vec![Method::Http01],
        Ok(methods) => methods,
        Err(reason) => return problem("challenge", reason),
    };
    let dns = match dns(keys) {
        Ok(dns) => dns,
        Err((key, reason)) => return problem(key, reason),
    };
    if methods.contains(&Method::Dns01) && dns.writing.is_none() {
        return problem("dns", NO_WAY.to_owned());
    }
    let external = match (read("eab_kid"), keys.get("eab_hmac")) {
        (None, None) => None,
        (Some(kid), Some(hmac)) => Some(External {
            kid,
            hmac: hmac.clone(),
        }),
        (kid, _) => {
            let key = if kid.is_none() { "eab_kid" } else { "eab_hmac" };
            return problem(key, "is missing: an external account has both".to_owned());
        }
    };
    let preferred_roots = read("preferred_roots");
    if preferred_roots.as_deref().is_some_and(|pem| !is_pem(pem)) {
        return problem("preferred_roots", "holds no certificates in PEM".to_owned());
    }
    let fallback = match read("fallback").map(|text| sec(&text)).transpose() {
        Ok(fallback) => fallback,
        Err(reason) => return problem("fallback", reason),
    };
    let written = |key: &str| {
        keys.get(key)
            .filter(|text| !text.expose().is_empty())
            .cloned()
    };
    Some(Ok(Issuer {
        path: path.clone(),
        directory,
        contact: contact.collect(),
        profile: read("profile"),
        methods,
        dns,
        external,
        ca_bundle: read("ca_bundle"),
        preferred_roots,
        allow: words("allow"),
        fallback,
        account: written(ACCOUNT_KEY),
        ledger: written(LEDGER_KEY),
    }))
}

impl Declaration {
    /// What stands between this declaration and an order of the issuer.
    ///
    /// # Errors
    /// The problem; nothing is asked of the authority while there is one.
    pub fn check(&self, issuer: &Issuer) -> Result<(), Problem> {
        let methods = self.methods(issuer);
        let lost = |name: &&String| Method::choose(methods, name, 0).is_none();
        if let Some(name) = self.names.iter().find(lost) {
            let words: Vec<&str> = methods.iter().map(|method| method.word()).collect();
            let reason = format!(
                "{name} cannot be shown to be ours by {}, which is all that {} and the label \
                 {CHALLENGE_LABEL} offer: a wildcard needs a DNS challenge, an address another one",
                words.join(" "),
                issuer.path
            );
            return Err(problem(&self.path, DEFAULT, "alt_names", reason));
        }
        if methods.contains(&Method::Dns01) && issuer.dns.writing.is_none() {
            return Err(problem(&issuer.path, "", "dns", NO_WAY.to_owned()));
        }
        let namespace = self.path.namespace();
        let allowed = match issuer.allow.is_empty() {
            true => namespace == issuer.path.namespace(),
            false => issuer.allow.iter().any(|pattern| fits(pattern, namespace)),
        };
        if allowed {
            return Ok(());
        }
        let reason = format!(
            "{} does not allow the namespace {namespace} (its key allow)",
            issuer.path
        );
        Err(problem(&self.path, DEFAULT, "ca", reason))
    }

    /// A text that changes when something else is declared.
    pub fn fingerprint(&self, issuer: &Issuer) -> String {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let profile = self.profile(issuer).unwrap_or_default();
        let (key, directory) = (self.key.word(), &issuer.directory);
        format!("{directory} {profile} {key} {}", names.join(" "))
    }

    /// How its names are shown to be ours, in the order in which they take turns.
    pub fn methods<'a>(&'a self, issuer: &'a Issuer) -> &'a [Method] {
        match self.methods.is_empty() {
            true => &issuer.methods,
            false => &self.methods,
        }
    }

    /// The profile to ask for.
    pub fn profile<'a>(&'a self, issuer: &'a Issuer) -> Option<&'a str> {
        self.profile.as_deref().or(issuer.profile.as_deref())
    }
}

impl KeyKind {
    /// The word of `acme.key`.
    pub fn word(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Rsa2048 => "rsa2048",
        }
    }
}

fn sec(text: &str) -> Result<ObjectPath, String> {
    let path = text.parse::<ObjectPath>().ok();
    let path = path.filter(|path| path.kind() == Kind::Sec);
    path.ok_or_else(|| format!("names {text:?}, which is no path of a sec object"))
}

fn is_pem(text: &str) -> bool {
    let mut found = CertificateDer::pem_slice_iter(text.as_bytes()).peekable();
    found.peek().is_some() && found.all(|one| one.is_ok())
}

fn words(text: &str) -> Vec<String> {
    let words = text.split([' ', ',', '\n']).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

fn methods(text: &str) -> Result<Vec<Method>, String> {
    let words = words(text).into_iter();
    words.map(|word| Method::of_word(&word)).collect()
}

fn fits(pattern: &str, namespace: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => namespace.starts_with(start),
        None => pattern == namespace,
    }
}

fn problem(path: &ObjectPath, section: &str, keyword: &str, reason: String) -> Problem {
    Problem {
        object: path.clone(),
        section: section.to_owned(),
        keyword: keyword.to_owned(),
        reason,
    }
}

/// The keys of an issuer that are read, beside those that its key `dns` asks for.
pub const ISSUER_KEYS: [&str; 15] = [
    "directory",
    "private_key",
    "contact",
    "profile",
    "challenge",
    "dns",
    "issuer_domain",
    "eab_kid",
    "eab_hmac",
    "ca_bundle",
    "allow",
    "fallback",
    "preferred_roots",
    ACCOUNT_KEY,
    LEDGER_KEY,
];
/// The key of an issuer that its account is in.
pub const ACCOUNT_KEY: &str = "account";
/// The key of an issuer that the ledger is in.
pub const LEDGER_KEY: &str = "acme_ledger";
const NO_WAY: &str = "is missing: dns-01 needs a way to write records, which is one of rfc2136, \
                      httpreq and exec";
const CHALLENGE_LABEL: &str = "acme.challenge";
const NAMES_LABEL: &str = "acme.names";
const DEFAULT: &str = "DEFAULT";
const LABELS: &str = "labels";

#[cfg(test)]
mod tests;
