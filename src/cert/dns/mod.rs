//! EDGE: the records that show an authority that names are ours (RFC 8555, section 8.4): they are
//! written, seen at every name server of their zone, and taken away again. Which records, and when
//! the authority is told, is decided elsewhere.

pub mod caa;
pub mod exec;
pub mod httpreq;
pub mod lookup;
pub mod persist;
pub mod settings;
pub mod update;

use std::path::PathBuf;
use std::time::Duration;

use hickory_proto::rr::Name;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::authority::Proof;
use super::declaration::Issuer;
use super::method::Method;
use super::plan::Subject;
use super::record::Failure;
use super::refusal::Refusal;
use crate::clock::{now, unix_seconds};
use crate::inventory::Problem;
use lookup::{NameServer, Resolver, absolute};
use settings::{Way, Writing, is_domain};
use update::Change;

/// What the operator may use to find out about the DNS and to write to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reach {
    /// Finds out what the DNS says.
    pub resolver: Resolver,
    /// The folder of the programs that an issuer may name; `None` where it may name none.
    pub programs: Option<PathBuf>,
    /// How long a program may take.
    pub program_max: Duration,
}

impl Default for Reach {
    fn default() -> Self {
        Self {
            resolver: Resolver::new(Vec::new()),
            programs: None,
            program_max: PROGRAM_MAX,
        }
    }
}

impl Reach {
    /// What stands in the way of a certificate whatever the authority says.
    ///
    /// # Errors
    /// The problem.
    pub fn check(&self, subject: &Subject) -> Result<(), Problem> {
        let (declaration, issuer) = (&subject.declaration, &subject.issuer);
        let methods = declaration.methods(issuer);
        let chosen = |name: &String| Method::choose(methods, name, subject.record.failures);
        let written = declaration
            .names
            .iter()
            .any(|name| chosen(name) == Some(Method::Dns01));
        let way = issuer.dns.writing.as_ref().map(|writing| &writing.way);
        match (way, &self.programs) {
            (Some(Way::Exec(_)), None) if written => Err(Problem {
                object: issuer.path.clone(),
                section: String::new(),
                keyword: "exec".to_owned(),
                reason: "names a program, and the operator was started without --acme-exec-dir, \
                         so that it runs none"
                    .to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// The name servers that have to answer what stands at a name.
    async fn asked(&self, writing: Option<&Writing>, at: &Name) -> Result<Vec<NameServer>, String> {
        let named = writing.map(|writing| writing.nameservers.as_slice());
        let named = named.unwrap_or_default();
        if named.is_empty() {
            let zone = self.resolver.zone_of(at).await?;
            return self.resolver.servers_of(&zone).await;
        }
        let mut servers = Vec::new();
        for server in named {
            servers.push(self.resolver.server(server).await?);
        }
        Ok(servers)
    }

    /// The texts that stand at a name now, as the first server of its zone has them that answers.
    ///
    /// # Errors
    /// When none does.
    pub async fn texts(&self, writing: Option<&Writing>, at: &str) -> Result<Vec<String>, String> {
        let at = self.resolver.end_of(&absolute(at)?).await?;
        let mut reason = String::new();
        for server in self.asked(writing, &at).await? {
            match server.texts(&at).await {
                Ok(texts) => return Ok(texts),
                Err(why) => reason = why,
            }
        }
        Err(reason)
    }
}

/// The records of one order.
pub(super) struct Records<'a> {
    reach: &'a Reach,
    writing: Option<&'a Writing>,
    /// Where they stand in the end, and what they say.
    texts: Vec<(Name, String)>,
}

impl<'a> Records<'a> {
    /// The records that these proofs are; none where they are other proofs.
    pub(super) async fn of(
        reach: &'a Reach,
        issuer: &'a Issuer,
        proofs: &[Proof],
    ) -> Result<Self, Refusal> {
        let mut texts = Vec::new();
        let look = async {
            for proof in proofs.iter().filter(|proof| proof.method == Method::Dns01) {
                let host = proof.name.strip_prefix("*.").unwrap_or(&proof.name);
                let at = end_of(reach, &format!("_acme-challenge.{host}")).await?;
                texts.push((at, proof.dns_value.clone()));
            }
            Ok(())
        };
        let looked = timeout(LOOKUPS_MAX, look).await;
        let looked = looked.unwrap_or_else(|_| Err("the DNS is too slow".to_owned()));
        looked.map_err(|reason| refusal(&reason))?;
        Ok(Self {
            reach,
            writing: issuer.dns.writing.as_ref(),
            texts,
        })
    }

    /// Writes them all, and waits until every name server of theirs answers them.
    pub(super) async fn present(&self) -> Result<(), Refusal> {
        if self.texts.is_empty() {
            return Ok(());
        }
        let done = async {
            self.write(Change::Add).await?;
            self.seen().await
        };
        done.await.map_err(|reason: String| refusal(&reason))
    }

    /// Takes them away, and no others. One that stays is of no use to anybody: what became of the
    /// order counts more.
    pub(super) async fn withdraw(&self) {
        if self.texts.is_empty() {
            return;
        }
        match self.write(Change::Remove).await {
            Ok(()) => debug!("took the records of a challenge away"),
            Err(reason) => warn!(reason, "the records of a challenge are still in the DNS"),
        }
    }

    /// Whatever is written to, others wait for it.
    async fn write(&self, change: Change) -> Result<(), String> {
        let written = timeout(WRITE_MAX, self.write_all(change)).await;
        let late = |_| Err("records took too long to be written or taken away".to_owned());
        written.unwrap_or_else(late)
    }

    async fn write_all(&self, change: Change) -> Result<(), String> {
        let Some(writing) = self.writing else {
            return Err("the issuer has no key dns".to_owned());
        };
        let action = match change {
            Change::Add => "present",
            Change::Remove => "cleanup",
        };
        let resolver = &self.reach.resolver;
        let update = match &writing.way {
            Way::Update(update) => update,
            other => return self.call(other, action).await,
        };
        update::change(update, resolver, change, &self.texts, unix_seconds()).await
    }

    /// One failure does not keep the others from being taken away.
    async fn call(&self, way: &Way, action: &str) -> Result<(), String> {
        let mut done = Ok(());
        for (name, value) in &self.texts {
            let name = name.to_ascii();
            let called = match (way, &self.reach.programs) {
                (Way::Httpreq(hook), _) => httpreq::call(hook, action, &name, value).await,
                (Way::Exec(program), Some(folder)) => {
                    let words = [action, name.as_str(), value.as_str()];
                    exec::run(folder, program, words, self.reach.program_max).await
                }
                _ => Err("no program is run without --acme-exec-dir".to_owned()),
            };
            done = done.and(called);
        }
        done
    }

    async fn seen(&self) -> Result<(), String> {
        let Some(writing) = self.writing else {
            return Ok(());
        };
        let until = now() + writing.wait;
        for (name, text) in &self.texts {
            let mut servers = Err(String::new());
            loop {
                if servers.is_err() {
                    servers = self.reach.asked(self.writing, name).await;
                }
                let reason = match &servers {
                    Ok(servers) => match lacks(servers, name, text).await {
                        None => break,
                        Some(reason) => reason,
                    },
                    Err(reason) => reason.clone(),
                };
                if now() >= until {
                    let name = name.to_ascii();
                    let waited = humantime::format_duration(writing.wait);
                    return Err(format!("{name} is not seen after {waited}: {reason}"));
                }
                sleep(POLL).await;
            }
        }
        Ok(())
    }
}

/// Which server does not answer a text yet.
async fn lacks(servers: &[NameServer], name: &Name, text: &String) -> Option<String> {
    for server in servers {
        match server.texts(name).await {
            Ok(texts) if texts.contains(text) => {}
            Ok(_) => return Some(format!("{} does not have it", server.name)),
            Err(reason) => return Some(reason),
        }
    }
    None
}

/// Where a record goes: people have `_acme-challenge` lead into a zone that may be written.
async fn end_of(reach: &Reach, name: &str) -> Result<Name, String> {
    let end = reach.resolver.end_of(&absolute(name)?).await?;
    let text = end.to_ascii();
    // It goes to programs and webhooks, and the DNS takes any byte.
    match is_domain(text.trim_end_matches('.')) {
        true => Ok(end),
        false => Err(format!(
            "{name} leads to {text:?}, which is no name of a host"
        )),
    }
}

fn refusal(reason: &str) -> Refusal {
    Refusal::of(Failure::Transient, reason)
}

/// How long everything that is looked up for an order may take.
pub(super) const LOOKUPS_MAX: Duration = Duration::from_secs(60);
/// How long the records of one order may take to be written.
const WRITE_MAX: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_secs(1);
/// Some programs wait themselves until others have heard of it.
const PROGRAM_MAX: Duration = Duration::from_secs(180);
