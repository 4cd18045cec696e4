//! EDGE: what the DNS says of names before an order is made for them: whether the authority may
//! make certificates for them (RFC 8659), and whether the records stand that it will look for. An
//! order that the authority would refuse counts for its limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::timeout;
use tracing::{debug, warn};

use super::authority::{Authority, document};
use super::dns::LOOKUPS_MAX;
use super::dns::caa::{Asked, Caa, allows, climb};
use super::dns::lookup::Resolver;
use super::dns::persist::{Standing, standing};
use super::issue::Desk;
use super::method::Method;
use super::names::is_wildcard;
use super::plan::Subject;
use super::record::Failure;
use super::refusal::Refusal;
use super::wire::Client;

impl Desk {
    /// Asks the DNS whether an order has a chance.
    pub(super) async fn preflight(
        &self,
        authority: &Authority,
        subject: &Subject,
    ) -> Result<(), Refusal> {
        let identities = self.identities(subject).await;
        if !identities.is_empty() {
            let checked = check_caa(&self.reach.resolver, authority, subject, &identities);
            match timeout(LOOKUPS_MAX, checked).await {
                Ok(checked) => checked?,
                Err(_) => warn!("the CAA records were not all looked up in time"),
            }
        }
        self.stand(authority, subject).await
    }

    /// The names by which CAA records know the authority (RFC 8555, section 7.1.1).
    async fn identities(&self, subject: &Subject) -> Vec<String> {
        let client = Client::new(Arc::clone(&self.wire));
        let directory = document(&client, &subject.issuer.directory).await;
        let directory = directory.unwrap_or_default();
        let names = directory["meta"]["caaIdentities"].as_array();
        let names = names.into_iter().flatten().filter_map(|name| name.as_str());
        names.map(str::to_owned).collect()
    }

    /// Looks whether the records stand that people have to publish; they are told which.
    pub(super) async fn stand(
        &self,
        authority: &Authority,
        subject: &Subject,
    ) -> Result<(), Refusal> {
        let (declaration, issuer) = (&subject.declaration, &subject.issuer);
        let needed = standing(declaration, issuer, subject.record.failures);
        if needed.is_empty() {
            return Ok(());
        }
        let named = issuer.dns.issuer_domain.clone();
        let authorities = match named {
            Some(name) => vec![name],
            None => self.identities(subject).await,
        };
        let Some(first) = authorities.first() else {
            let reason = format!(
                "the directory of {} does not say by which name records know the authority: it \
                 has to be in the key issuer_domain",
                issuer.path
            );
            return Err(Refusal::of(Failure::Transient, &reason));
        };
        let mut lacks = Vec::new();
        let account = authority.account();
        for one in &needed {
            let stands = self.stands(subject, one, &authorities, account);
            let stands = timeout(LOOKUPS_MAX, stands).await;
            let stands = stands.unwrap_or_else(|_| Err(" (the DNS is too slow)".to_owned()));
            if let Err(reason) = stands {
                let text = one.text(first, account);
                lacks.push(format!(
                    "{} TXT \"{text}\" has to stand in the DNS{reason}",
                    one.name
                ));
            }
        }
        match lacks.is_empty() {
            true => Ok(()),
            false => Err(Refusal::of(Failure::Transient, &lacks.join("; "))),
        }
    }

    async fn stands(
        &self,
        subject: &Subject,
        one: &Standing,
        authorities: &[String],
        account: &str,
    ) -> Result<(), String> {
        let writing = subject.issuer.dns.writing.as_ref();
        let texts = self.reach.texts(writing, &one.name).await;
        let texts = texts.map_err(|reason| format!(" ({reason})"))?;
        let now = (self.clock)();
        let mut told = " and does not".to_owned();
        for text in &texts {
            match one.fits(text, authorities, account, now) {
                Ok(()) => return Ok(()),
                Err(reason) if reason.is_empty() => {}
                Err(reason) => told = format!("; the one that does {reason}"),
            }
        }
        Err(told)
    }
}

async fn check_caa(
    resolver: &Resolver,
    authority: &Authority,
    subject: &Subject,
    identities: &[String],
) -> Result<(), Refusal> {
    let methods = subject.declaration.methods(&subject.issuer);
    let mut known = BTreeMap::new();
    let mut denied = Vec::new();
    for name in &subject.declaration.names {
        let Some(method) = Method::choose(methods, name, subject.record.failures) else {
            continue;
        };
        if name.parse::<std::net::IpAddr>().is_ok() {
            continue;
        }
        let (at, records) = match nearest(resolver, name, &mut known).await {
            Ok(found) => found,
            Err(reason) => {
                warn!(
                    name,
                    reason, "the CAA records of a name cannot be looked up"
                );
                continue;
            }
        };
        let asked = Asked {
            authorities: identities,
            account: authority.account(),
            method: method.word(),
            wildcard: is_wildcard(name),
        };
        match allows(&records, asked) {
            Ok(()) => debug!(name, at, "CAA records are in favour"),
            Err(reason) => denied.push(format!("{name}: the CAA records of {at} {reason}")),
        }
    }
    match denied.is_empty() {
        true => Ok(()),
        // It costs nothing to look again, and nobody else would say that they were changed.
        false => Err(Refusal {
            retry_after_s: Some(LOOK_AGAIN_S),
            kind: "caa".to_owned(),
            ..Refusal::of(Failure::Transient, &denied.join("; "))
        }),
    }
}

/// The records of the nearest name that has any, and that name.
async fn nearest<'a>(
    resolver: &Resolver,
    name: &'a str,
    known: &mut BTreeMap<&'a str, Vec<Caa>>,
) -> Result<(&'a str, Vec<Caa>), String> {
    for at in climb(name) {
        let records = match known.get(at) {
            Some(records) => records.clone(),
            None => resolver.caa(at).await?,
        };
        known.insert(at, records.clone());
        if !records.is_empty() {
            return Ok((at, records));
        }
    }
    Ok((name, Vec::new()))
}

/// After how long a name that records forbid is looked up again.
const LOOK_AGAIN_S: u64 = 3_600;
