//! EDGE: takes a certificate through its steps: account, order, challenges, request, pair. Each
//! step is kept before the next is taken, so that whoever comes after a crash goes on.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_RSA_SHA256, SignatureAlgorithm,
};
use tracing::{info, warn};

use super::authority::{Authority, Chain, Ordered, Stage, belongs};
use super::declaration::{ACCOUNT_KEY, Declaration, KeyKind, LEDGER_KEY};
use super::dns::Reach;
use super::leaf::{Leaf, check, leads_to};
use super::names::asked_for;
use super::plan::{Step, Subject};
use super::probe::Door;
use super::record::{Failure, Journal, Ledger, Record, Tried};
use super::refusal::{NO_ACCOUNT, Refusal, patiently};
use super::wire::Wire;
use super::writer::Writer;
use crate::inventory::{ObjectPath, Sensitive};
use crate::opensvc::{Daemon, Error};

/// What takes the steps.
pub struct Desk {
    /// What everything is read of.
    pub daemon: Arc<dyn Daemon>,
    /// What keeps everything.
    pub writer: Arc<dyn Writer>,
    /// The way to the authority.
    pub wire: Arc<dyn Wire>,
    /// Where the gateways are.
    pub door: Door,
    /// The way to the DNS.
    pub reach: Reach,
    /// How long somebody else who wants to make the same order gets to say so.
    pub settle: Duration,
    /// Tells the second since 1970.
    pub clock: fn() -> i64,
}

impl Desk {
    /// Takes every step that is left, and notes what came of it.
    ///
    /// # Errors
    /// What the certificate waits for now; it is noted in its record already.
    pub async fn work(&self, subject: &Subject, step: &Step) -> Result<Leaf, Refusal> {
        let path = &subject.declaration.path;
        let declared = subject.declaration.fingerprint(&subject.issuer);
        let kept = subject.issuer.ledger.as_ref().map(Sensitive::expose);
        let mut ledger = Ledger::parse(kept.unwrap_or_default());
        let before = ledger.clone();
        let done = self.issue(subject, step, &declared, &mut ledger).await;
        if ledger != before {
            let text = Sensitive::new(ledger.text());
            self.keep(&subject.issuer.path, LEDGER_KEY, &text).await?;
        }
        let mut record = subject.record.clone();
        match done {
            Ok(leaf) => {
                record.succeed(&leaf.serial, &declared);
                self.deploy(subject, &leaf, &mut record).await;
                let text = Sensitive::new(record.text());
                self.keep(path, RECORD_KEY, &text).await?;
                let nothing = Sensitive::new(String::new());
                self.keep(path, JOURNAL_KEY, &nothing).await?;
                Ok(leaf)
            }
            // Who is faster notes what comes of it.
            Err(refusal) if refusal.kind == CLAIMED => Err(refusal),
            Err(refusal) => {
                let Refusal {
                    failure,
                    reason,
                    retry_after_s,
                    ..
                } = &refusal;
                let now = (self.clock)();
                let tried = Tried {
                    declared: &declared,
                    directory: &subject.issuer.directory,
                    alone: subject.is_alone(),
                };
                record.fail(now, *failure, reason.clone(), &tried, *retry_after_s);
                self.keep(path, RECORD_KEY, &Sensitive::new(record.text()))
                    .await?;
                Err(refusal)
            }
        }
    }

    async fn issue(
        &self,
        subject: &Subject,
        step: &Step,
        declared: &str,
        ledger: &mut Ledger,
    ) -> Result<Leaf, Refusal> {
        let mut authority = self.account(subject).await?;
        if let Some(ahead) = authority.ahead_s().filter(|ahead| ahead.abs() > SKEW_S) {
            warn!(
                ahead,
                "the clock of the certificate authority is not ours: seconds"
            );
        }
        if *step != Step::Resume {
            self.preflight(&authority, subject).await?;
        }
        let names = &subject.declaration.names;
        let (mut ordered, journal) = self
            .ordered(&mut authority, subject, step, declared, ledger)
            .await?;
        if ordered.stage() == Stage::Pending {
            let proven = self.prove(&authority, subject, &mut ordered).await;
            if let Err(refusal) = &proven {
                ledger.failure((self.clock)(), &refusal.unproven);
            }
            proven?;
        } else if *step == Step::Resume && subject.issuer.dns.writing.is_some() {
            self.sweep(&authority, subject, &mut ordered).await;
        }
        if ordered.stage() == Stage::Ready {
            let csr = csr(subject, &journal.key)?;
            patiently!(authority.finalize(&mut ordered, &csr))?;
        }
        let chain = patiently!(authority.certificate(&mut ordered))?;
        let now = (self.clock)();
        let chain = preferred(now, &authority, subject, chain).await;
        let (pair, leaf) = check(now, names, &chain, &journal.key).map_err(|flaw| {
            let reason = format!("what the authority made {flaw}");
            Refusal::of(Failure::Transient, &reason)
        })?;
        if subject.leaf.as_ref() != Some(&leaf) {
            ledger.certificate(now, names, subject.is_again());
        }
        let (chain, key) = (&pair.certificate_chain, &pair.private_key);
        self.write_pair(&subject.declaration.path, chain, key)
            .await?;
        Ok(leaf)
    }

    /// The account: the one that is kept, or a new one, which is kept before it is used.
    async fn account(&self, subject: &Subject) -> Result<Authority, Refusal> {
        let issuer = &subject.issuer;
        let wire = Arc::clone(&self.wire);
        // An account is one of one authority.
        let own = |kept: &&Sensitive| belongs(kept, &issuer.directory);
        if let Some(kept) = issuer.account.as_ref().filter(own) {
            match Authority::with_account(wire, kept).await {
                Err(refusal) if refusal.kind == NO_ACCOUNT => {}
                done => return done,
            }
        }
        self.register(subject).await
    }

    async fn register(&self, subject: &Subject) -> Result<Authority, Refusal> {
        let issuer = &subject.issuer;
        let made = patiently!(Authority::register(Arc::clone(&self.wire), issuer));
        let (authority, text) = made?;
        info!(issuer = %issuer.path, "registered an account");
        self.keep(&issuer.path, ACCOUNT_KEY, &text).await?;
        Ok(authority)
    }

    /// The order that is under way where it is still good for something, else a new one.
    async fn ordered(
        &self,
        authority: &mut Authority,
        subject: &Subject,
        step: &Step,
        declared: &str,
        ledger: &mut Ledger,
    ) -> Result<(Ordered, Journal), Refusal> {
        let path = &subject.declaration.path;
        let kept = subject.journal.as_ref().filter(|_| *step == Step::Resume);
        if let Some(journal) = kept.filter(|journal| !journal.order.is_empty()) {
            match patiently!(authority.resume(&journal.order)) {
                Ok(mut ordered) => {
                    if ordered.stage() != Stage::Invalid {
                        info!(object = %path, "going on with the order that is under way");
                        return Ok((ordered, journal.clone()));
                    }
                }
                Err(refusal) if !VOID.contains(&refusal.kind.as_str()) => return Err(refusal),
                Err(_) => {}
            }
            info!(object = %path, "the order that was under way is void");
        }
        if let Some(ahead) = authority
            .ahead_s()
            .filter(|ahead| ahead.abs() > CLOCK_MAX_S)
        {
            let reason = format!(
                "nothing is ordered by a clock that is wrong: that of {} is ahead of the one here \
                 by {ahead} s",
                subject.issuer.directory
            );
            return Err(Refusal::of(Failure::Transient, &reason));
        }
        let begun = subject.journal.as_ref();
        let begun = begun.filter(|one| one.order.is_empty() && one.ordered_for == declared);
        let mut journal = Journal {
            order: String::new(),
            claimed_at: (self.clock)(),
            ordered_for: declared.to_owned(),
            key: match begun {
                Some(begun) => begun.key.clone(),
                None => self.new_key(subject).await?,
            },
        };
        self.claim(path, &journal).await?;
        // Whoever began may have made an order, and ended before the answer.
        if begun.is_some()
            && let Some(found) = authority.find(&subject.declaration).await
        {
            ledger.order((self.clock)());
            found.url().clone_into(&mut journal.order);
            self.keep(path, JOURNAL_KEY, &journal.text()).await?;
            info!(object = %path, "found an order that was made and not noted");
            return Ok((found, journal));
        }
        let replaces = match step {
            Step::Order { replaces } => replaces.as_deref(),
            _ => None,
        };
        let (declaration, issuer) = (&subject.declaration, &subject.issuer);
        let made = match patiently!(authority.order(declaration, issuer, replaces)) {
            Err(refusal) if refusal.kind == NO_ACCOUNT => {
                *authority = self.register(subject).await?;
                patiently!(authority.order(declaration, issuer, replaces))?
            }
            made => made?,
        };
        ledger.order((self.clock)());
        made.url().clone_into(&mut journal.order);
        self.keep(path, JOURNAL_KEY, &journal.text()).await?;
        info!(object = %path, "ordered a certificate");
        Ok((made, journal))
    }

    /// The key of the next certificate: that of the last one where that is asked for and fits.
    async fn new_key(&self, subject: &Subject) -> Result<Sensitive, Refusal> {
        let Declaration {
            path,
            key,
            reuse_key,
            ..
        } = &subject.declaration;
        let algorithm = algorithm(*key);
        let placeholder = |leaf: &Leaf| leaf.self_signed;
        if *reuse_key && !subject.leaf.as_ref().is_none_or(placeholder) {
            let kept = self.daemon.read_key(path, PRIVATE_KEY).await;
            let kept = kept.map_err(|error| unkept(path, &error))?;
            let fits = |kept: &Sensitive| {
                let key = KeyPair::from_pem(kept.expose());
                key.is_ok_and(|key| key.is_compatible(algorithm))
            };
            if let Some(kept) = kept.filter(fits) {
                return Ok(kept);
            }
            info!(object = %path, "the key that is there cannot be used again");
        }
        let made = KeyPair::generate_for(algorithm);
        let made = made.map_err(|_| Refusal::of(Failure::Transient, "no key can be made"))?;
        Ok(Sensitive::new(made.serialize_pem()))
    }

    /// Says who is about to make an order. Whoever said it last makes it; and a daemon that takes
    /// no writes must not cost an order.
    async fn claim(&self, path: &ObjectPath, journal: &Journal) -> Result<(), Refusal> {
        self.keep(path, JOURNAL_KEY, &journal.text()).await?;
        tokio::time::sleep(self.settle).await;
        let found = self.daemon.read_key(path, JOURNAL_KEY).await;
        let found = found.map_err(|error| unkept(path, &error))?;
        if found.as_ref().and_then(Journal::parse).as_ref() == Some(journal) {
            return Ok(());
        }
        let reason = "another operator is about to order it: there has to be one alone";
        Err(Refusal {
            kind: CLAIMED.to_owned(),
            ..Refusal::of(Failure::Transient, reason)
        })
    }

    /// Writes a pair so that no reader ever sees halves of two: first the one key that holds all of
    /// it, last the chain.
    async fn write_pair(
        &self,
        path: &ObjectPath,
        chain: &Sensitive,
        key: &Sensitive,
    ) -> Result<(), Refusal> {
        let full = Sensitive::new(format!("{}{}", key.expose(), chain.expose()));
        let end = chain.expose().find(END).map(|end| end + END.len());
        let first = chain
            .expose()
            .get(..end.unwrap_or_default())
            .unwrap_or_default();
        let first = Sensitive::new(format!("{first}\n"));
        self.keep(path, "fullpem", &full).await?;
        self.keep(path, PRIVATE_KEY, key).await?;
        self.keep(path, "certificate", &first).await?;
        self.keep(path, "certificate_chain", chain).await?;
        info!(object = %path, "wrote a new certificate");
        Ok(())
    }

    async fn deploy(&self, subject: &Subject, leaf: &Leaf, record: &mut Record) {
        let path = &subject.declaration.path;
        let Some(name) = asked_for(&subject.declaration.names) else {
            return;
        };
        match self.door.shows(&name, leaf).await {
            Ok(()) => {
                record.deployed = (self.clock)();
                info!(object = %path, "every gateway shows the new certificate");
            }
            Err(reason) => {
                info!(object = %path, reason, "not every gateway shows the new certificate yet");
            }
        }
    }

    pub(super) async fn keep(
        &self,
        path: &ObjectPath,
        key: &str,
        value: &Sensitive,
    ) -> Result<(), Refusal> {
        let kept = self.writer.write_key(path, key, value).await;
        kept.map_err(|error| unkept(path, &error))
    }
}

pub(super) fn unkept(path: &ObjectPath, error: &Error) -> Refusal {
    Refusal::of(
        Failure::Transient,
        &format!("{path} cannot be written: {error}"),
    )
}

/// The chain that leads to the roots that the issuer prefers; the authority's own choice where it
/// prefers none, or none does.
async fn preferred(now: i64, authority: &Authority, subject: &Subject, chain: Chain) -> Sensitive {
    let Some(roots) = subject.issuer.preferred_roots.as_deref() else {
        return chain.pem;
    };
    if leads_to(now, &chain.pem, roots) {
        return chain.pem;
    }
    for url in chain.alternates.iter().take(ALTERNATES_MAX) {
        let other = authority.alternate(url).await;
        if let Some(other) = other.filter(|other| leads_to(now, other, roots)) {
            return other;
        }
    }
    let object = &subject.declaration.path;
    warn!(%object, "no chain of the authority leads to the preferred_roots of the issuer");
    chain.pem
}

fn algorithm(kind: KeyKind) -> &'static SignatureAlgorithm {
    match kind {
        KeyKind::P256 => &PKCS_ECDSA_P256_SHA256,
        KeyKind::P384 => &PKCS_ECDSA_P384_SHA384,
        KeyKind::Rsa2048 => &PKCS_RSA_SHA256,
    }
}

/// The request (RFC 2986): the names alone, as what is in a common name is too short for some.
fn csr(subject: &Subject, key: &Sensitive) -> Result<Vec<u8>, Refusal> {
    let wrong = |_| Refusal::of(Failure::Transient, "no request can be made of the journal");
    let key = KeyPair::from_pem(key.expose()).map_err(wrong)?;
    let names: Vec<String> = subject.declaration.names.iter().cloned().collect();
    let mut params = CertificateParams::new(names).map_err(wrong)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(wrong)?;
    Ok(request.der().to_vec())
}

/// The key of a certificate's object that its record is in.
pub const RECORD_KEY: &str = "acme_state";
/// The key of a certificate's object that its journal is in.
pub const JOURNAL_KEY: &str = "acme_pending";
const PRIVATE_KEY: &str = "private_key";
/// More chains than any authority offers.
const ALTERNATES_MAX: usize = 8;
/// By how far a clock may be off before nothing is ordered by it.
const CLOCK_MAX_S: i64 = 3_600;
/// What an authority says of an order that it does not know any more.
const VOID: [&str; 4] = [NO_ACCOUNT, "malformed", "notFound", "unauthorized"];
/// The kind of a refusal that says that somebody else was faster.
const CLAIMED: &str = "claimed";
const END: &str = "-----END CERTIFICATE-----";
/// How far a clock may be off before it is said.
const SKEW_S: i64 = 300;
