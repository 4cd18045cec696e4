//! From the `certificate` sections that an expose names to the secrets that Envoy needs: where
//! each is found, what still has to be read, and what is wrong with it.

use std::collections::BTreeSet;

use super::compile::Want;
use super::exposes::Exposed;
use super::sections::own_certificate;
use super::{Origin, SecretContent, Source, TlsSecret};
use crate::inventory::certificate::Pair;
use crate::inventory::keywords::{Keywords, shown};
use crate::inventory::{Inventory, Judged, Kind, Name, ObjectPath, Problem};

/// What became of the certificates that an expose names.
#[derive(Debug, Eq, PartialEq)]
pub enum Resolved {
    /// All that is needed.
    Ready(Tls),
    /// Something has been asked for and is not there yet.
    Waiting,
    /// One cannot be had: serving without it would be something else than what was written.
    Broken,
}

/// One side's part in TLS.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Tls {
    /// The certificates to present, by name, in the order in which they are named.
    pub certificates: Vec<(String, TlsSecret)>,
    /// What the peer is judged by.
    pub validation: Option<Validation>,
}

/// What a peer is judged by.
#[derive(Debug, Eq, PartialEq)]
pub struct Validation {
    /// The name of the secret.
    pub name: String,
    /// Its content.
    pub secret: TlsSecret,
    /// Clients: whether one without a certificate is sent away
    /// (`certificate.require_client_certificate`). Backends: whether the certificate has to be
    /// for the server name that is sent (`certificate.verify_server_name`).
    pub strict: bool,
}

/// Which peers the certificates are for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The clients: `expose.listener_certificates`.
    Listener,
    /// The backends: `expose.cluster_certificates`.
    Cluster,
}

/// Finds secrets in what is known, and notes what is wrong or wanted.
#[derive(Debug)]
pub struct Resolver<'a, 'p> {
    /// What is known.
    pub inventory: &'a Inventory,
    /// The namespaces whose secrets every service may use.
    pub secrets_of: &'a BTreeSet<String>,
    /// Takes what is wrong.
    pub problems: &'p mut BTreeSet<Problem>,
    /// Takes what has to be read.
    pub wants: &'p mut BTreeSet<Want>,
    /// Takes what will be wrong, and after which second since 1970.
    pub expiries: &'p mut BTreeSet<(i64, Problem)>,
    /// Takes the namespaces that secrets are named of.
    pub namespaces: &'p mut BTreeSet<String>,
    /// Takes the secrets that are named.
    pub uses: &'p mut BTreeSet<ObjectPath>,
}

/// Why a certificate is not there.
pub(super) enum Missing {
    Waiting,
    Broken(Problem),
}

impl From<Problem> for Missing {
    fn from(problem: Problem) -> Self {
        Self::Broken(problem)
    }
}

impl<'a> Resolver<'a, '_> {
    /// Resolves the `certificate` sections that the expose names for one side.
    pub fn resolve(&mut self, exposed: &Exposed<'_>, side: Side) -> Resolved {
        let mut tls = Tls::default();
        let (mut waiting, mut broken) = (false, false);
        for section in side.sections(exposed) {
            match self.section(exposed, side, section, &mut tls) {
                Ok(()) => {}
                Err(Missing::Waiting) => waiting = true,
                Err(Missing::Broken(problem)) => {
                    let consequence = format!("{} is not served", exposed.section);
                    self.problems.insert(problem.hence(consequence));
                    broken = true;
                }
            }
        }
        if broken {
            return Resolved::Broken;
        }
        if waiting {
            return Resolved::Waiting;
        }
        if side == Side::Listener && tls.validation.is_some() && tls.certificates.is_empty() {
            let reason = "names no certificate to present to clients, only what to judge theirs by";
            let problem = exposed.problem(side.keyword(), reason.to_owned());
            let consequence = format!("{} is not served", exposed.section);
            self.problems.insert(problem.hence(consequence));
            return Resolved::Broken;
        }
        if side == Side::Cluster {
            self.lone_key(exposed, &tls);
        }
        Resolved::Ready(tls)
    }

    /// `cluster_private_key_filename` is for a certificate that has no key of its own.
    fn lone_key(&mut self, exposed: &Exposed<'_>, tls: &Tls) {
        let named = exposed.expose.cluster_private_key_filename.is_some();
        let prefix = format!("tls_certificate/{}.", exposed.cluster());
        if named
            && !tls
                .certificates
                .iter()
                .any(|(name, _)| name.starts_with(&prefix))
        {
            let reason = "has no effect: every certificate of cluster_certificates has a private \
                          key of its own";
            let problem = exposed.problem("cluster_private_key_filename", reason.to_owned());
            self.problems.insert(problem);
        }
    }

    /// Whether the expose's configuration is about to be read anew.
    fn is_behind(&self, exposed: &Exposed<'_>) -> bool {
        self.wants.iter().any(|want| match want {
            Want::Config(path, _) => path == exposed.definer || *path == exposed.owner,
            _ => false,
        })
    }

    fn section(
        &mut self,
        exposed: &Exposed<'_>,
        side: Side,
        section: &str,
        tls: &mut Tls,
    ) -> Result<(), Missing> {
        let Some(keywords) = exposed.section_keywords("certificate", section) else {
            let reason = format!("names {}, which is no certificate section", shown(section));
            return Err(exposed.problem(side.keyword(), reason).into());
        };
        let validation = self.validation(exposed, side, &keywords);
        let certificate = self.certificate(exposed, side, &keywords, section);
        let (validation, certificate) = (validation?, certificate?);
        if validation.is_none() && certificate.is_none() {
            // What was read of the object may be older than the section.
            if self.is_behind(exposed) {
                return Err(Missing::Waiting);
            }
            return Err(keywords.problem(SECRET, NOT_SET).into());
        }
        let known = |name: &str| tls.certificates.iter().any(|(known, _)| known == name);
        if let Some(certificate) = certificate.filter(|(name, _)| !known(name)) {
            tls.certificates.push(certificate);
        }
        match (&tls.validation, validation) {
            (None, validation) => tls.validation = validation,
            (Some(first), Some(second)) if first != &second => {
                let reason = format!("has no effect: {} is named before it", first.name);
                self.problems.insert(keywords.problem(VALIDATION, reason));
            }
            _ => {}
        }
        Ok(())
    }

    /// The certificate of a section: that of a `sec` object, else what the section holds itself.
    fn certificate(
        &mut self,
        exposed: &Exposed<'_>,
        side: Side,
        keywords: &Keywords<'_>,
        section: &str,
    ) -> Result<Option<(String, TlsSecret)>, Missing> {
        let word = secret_word(keywords)?;
        let Some(word) = word else {
            let own = own_certificate(exposed, side, keywords, section, self.problems)?;
            return Ok(own.map(|own| {
                if let SecretContent::Certificate {
                    not_after: Some(not_after),
                    ..
                } = own.1.content
                {
                    self.expires(keywords, "the certificate of the section", not_after);
                }
                own
            }));
        };
        let (path, revision) = self.secret(exposed, keywords, SECRET, &word)?;
        let want = || Want::Secret(path.clone(), revision.clone());
        let known = self.inventory.secrets.get(&path);
        let still = |pair: &Pair| {
            let expiry = pair.expiry();
            format!("the certificate before is still served, and expires on {expiry}")
        };
        let pair = self.judged(
            keywords.problem(SECRET, &path),
            known,
            revision,
            want,
            still,
        )?;
        self.expires(
            keywords,
            &format!("the certificate of {path}"),
            pair.not_after,
        );
        let secret = TlsSecret {
            origin: Origin {
                object: path.clone(),
                section: "".into(),
            },
            content: SecretContent::Certificate {
                certificate_chain: Source::Inline(pair.certificate_chain.clone()),
                private_key: Source::Inline(pair.private_key.clone()),
                not_after: Some(pair.not_after),
            },
        };
        Ok(Some((format!("tls_certificate/{path}"), secret)))
    }

    /// What `certificate.validation_secret` names.
    fn validation(
        &mut self,
        exposed: &Exposed<'_>,
        side: Side,
        keywords: &Keywords<'_>,
    ) -> Result<Option<Validation>, Missing> {
        let Some(word) = keywords.text(VALIDATION)? else {
            return no_other_validation(keywords);
        };
        let (path, revision) = self.secret(exposed, keywords, VALIDATION, &word)?;
        let want = || Want::Trust(path.clone(), revision.clone());
        let known = self.inventory.trusts.get(&path);
        let still = |_: &_| "what it held before still counts".to_owned();
        let trust = self.judged(
            keywords.problem(VALIDATION, &path),
            known,
            revision,
            want,
            still,
        )?;
        let strict = match side {
            Side::Listener => keywords.boolean("require_client_certificate")?,
            Side::Cluster => keywords.boolean("verify_server_name")?,
        };
        // Without an authority the hash alone tells which certificate it must be.
        let can_verify_name = trust.trusted_ca.is_some();
        Ok(Some(Validation {
            name: format!("validation_context/{path}"),
            secret: TlsSecret {
                origin: Origin {
                    object: path,
                    section: "".into(),
                },
                content: SecretContent::Validation(trust.clone()),
            },
            strict: strict.unwrap_or(true) && (side == Side::Listener || can_verify_name),
        }))
    }

    /// The `sec` object that a keyword names, and its revision.
    fn secret(
        &mut self,
        exposed: &Exposed<'_>,
        keywords: &Keywords<'_>,
        keyword: &str,
        word: &str,
    ) -> Result<(ObjectPath, &'a Name), Problem> {
        let broken = |reason: String| Err(keywords.problem(keyword, reason));
        let path = exposed
            .owner
            .resolve(Kind::Sec, word)
            .filter(|path| path.kind() == Kind::Sec);
        let Some(path) = path else {
            return broken(format!("{} is no name of a sec object", shown(word)));
        };
        // Another namespace belongs to somebody else: naming its secret must not lend it.
        let lent = self.secrets_of.contains(path.namespace());
        if path.namespace() != exposed.owner.namespace() && !lent {
            let namespace = path.namespace();
            return broken(format!(
                "{path} is in another namespace than the service; --allow-secrets-of {namespace} \
                 would let every service use it"
            ));
        }
        self.namespaces.insert(path.namespace().to_owned());
        self.uses.insert(path.clone());
        // A reading that ends after the object went must not live on: what is served would depend
        // on which was faster.
        match self.inventory.objects.get(&path) {
            Some(object) => Ok((path, &object.revision)),
            None => broken(format!("{path} does not exist")),
        }
    }

    /// The newest that is usable. `problem` begins what is said of a newer one, `still` ends it.
    fn judged<T>(
        &mut self,
        mut problem: Problem,
        known: Option<&'a Judged<T>>,
        revision: &Name,
        want: impl FnOnce() -> Want,
        still: impl FnOnce(&T) -> String,
    ) -> Result<&'a T, Missing> {
        if known.is_none_or(|judged| judged.revision != *revision) {
            self.wants.insert(want());
        }
        let known = known.ok_or(Missing::Waiting)?;
        if let Some(flaw) = &known.flaw {
            problem.reason = format!("{} {flaw}", problem.reason);
            let Some(good) = &known.good else {
                return Err(Missing::Broken(problem));
            };
            self.problems.insert(problem.hence(still(good)));
        }
        known.good.as_ref().ok_or(Missing::Waiting)
    }

    fn expires(&mut self, keywords: &Keywords<'_>, whose: &str, not_after: i64) {
        let problem = keywords.problem(SECRET, format!("{whose} has expired; it is still served"));
        self.expiries.insert((not_after, problem));
    }
}

impl Side {
    /// The keyword of the expose.
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Listener => "listener_certificates",
            Self::Cluster => "cluster_certificates",
        }
    }

    /// The sections that the expose names.
    pub fn sections<'e>(self, exposed: &'e Exposed<'_>) -> &'e [String] {
        match self {
            Self::Listener => &exposed.expose.listener_certificates,
            Self::Cluster => &exposed.expose.cluster_certificates,
        }
    }
}

/// The agent's driver has two more keywords for what peers are judged by, which the janitor never
/// used. To serve without them would let everybody in.
fn no_other_validation(keywords: &Keywords<'_>) -> Result<Option<Validation>, Missing> {
    for keyword in ["validation_filename", "validation_inline_string"] {
        if keywords.text(keyword)?.is_some() {
            let reason =
                format!("is not served: put the authority into a sec object, {VALIDATION}");
            return Err(keywords.problem(keyword, reason).into());
        }
    }
    Ok(None)
}

/// The name of the `sec` object: `certificate_secret`, or the documented `secret`, which the 2.1
/// driver drops.
fn secret_word(keywords: &Keywords<'_>) -> Result<Option<String>, Problem> {
    for keyword in [SECRET, "secret"] {
        if let Some(word) = keywords.text(keyword)? {
            return Ok(Some(word));
        }
    }
    Ok(None)
}

/// `certificate.certificate_secret`, and the keyword that certificates at large are told of.
pub(super) const SECRET: &str = "certificate_secret";
const NOT_SET: &str = "is not set, nor is any other source of a certificate";
const VALIDATION: &str = "validation_secret";
