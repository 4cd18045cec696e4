//! EDGE: shows an authority that names are ours: everything that it will look for is put in its
//! place and seen there before it is told to look, and taken away again whatever it found.

use super::authority::{Authority, Ordered, Proof};
use super::dns::Records;
use super::issue::{Desk, unkept};
use super::method::Method;
use super::plan::Subject;
use super::record::Failure;
use super::refusal::{Refusal, patiently};
use crate::inventory::challenge::{self, Challenge, Challenges};
use crate::inventory::{ObjectPath, Secret, Sensitive};

impl Desk {
    /// Shows that the names are ours.
    pub(super) async fn prove(
        &self,
        authority: &Authority,
        subject: &Subject,
        ordered: &mut Ordered,
    ) -> Result<(), Refusal> {
        let methods = subject.declaration.methods(&subject.issuer).to_vec();
        let failures = subject.record.failures;
        let choose = |name: &str| Method::choose(&methods, name, failures);
        let proofs = patiently!(authority.proofs(ordered, &choose, false))?;
        if proofs
            .iter()
            .any(|proof| proof.method == Method::DnsPersist01)
        {
            self.stand(authority, subject).await?;
        }
        let records = Records::of(&self.reach, &subject.issuer, &proofs).await?;
        let presented = match records.present().await {
            Ok(()) => self.present(subject, &proofs).await,
            refused => refused,
        };
        let proven = match presented {
            Ok(()) => patiently!(authority.validate(ordered, &choose)),
            refused => refused,
        };
        // Expired or not, they are of no use any more.
        records.withdraw().await;
        let withdrawn = self.withdraw(subject, &proofs).await;
        proven.and(withdrawn)
    }

    /// Takes away the records that whoever showed that the names are ours did not come to take
    /// away: nobody else knows them. Challenges that gateways answer expire.
    pub(super) async fn sweep(
        &self,
        authority: &Authority,
        subject: &Subject,
        ordered: &mut Ordered,
    ) {
        let methods = subject.declaration.methods(&subject.issuer).to_vec();
        let failures = subject.record.failures;
        let choose = |name: &str| Method::choose(&methods, name, failures);
        if let Ok(spent) = patiently!(authority.proofs(ordered, &choose, true))
            && let Ok(records) = Records::of(&self.reach, &subject.issuer, &spent).await
        {
            records.withdraw().await;
        }
    }

    /// Puts every proof in its place, then waits until each is seen there.
    async fn present(&self, subject: &Subject, proofs: &[Proof]) -> Result<(), Refusal> {
        let namespace = subject.declaration.path.namespace();
        let expires = (self.clock)() + CHALLENGE_LIFE_S;
        let answers = answers(proofs, expires);
        self.publish(namespace, &answers, &[]).await?;
        let shown = self.show(namespace, proofs, expires).await?;
        let answered = match self.door.answers(&answers).await {
            Ok(()) => self.door.answers_by_tls(&shown).await,
            unanswered => unanswered,
        };
        answered.map_err(|reason| Refusal::of(Failure::Transient, &reason))
    }

    async fn withdraw(&self, subject: &Subject, proofs: &[Proof]) -> Result<(), Refusal> {
        let namespace = subject.declaration.path.namespace();
        let published = self.publish(namespace, &[], &answers(proofs, 0)).await;
        published.and(self.unshow(namespace, proofs).await)
    }

    /// Adds challenges to those that the namespace's gateways answer, and takes others away.
    async fn publish(
        &self,
        namespace: &str,
        add: &[Challenge],
        remove: &[Challenge],
    ) -> Result<(), Refusal> {
        if add.is_empty() && remove.is_empty() {
            return Ok(());
        }
        let now = (self.clock)();
        let removed = |one: &Challenge| remove.iter().any(|other| other.token == one.token);
        let change = |keys: &Secret| {
            let mut all: Challenges = challenge::challenges(keys).unwrap_or_default();
            all.retain(|one| one.expires > now && !removed(one));
            all.extend(add.iter().cloned());
            Sensitive::new(challenge::text(&all))
        };
        let carrier = challenge::carrier(namespace);
        self.carry(&carrier, challenge::KEY, !add.is_empty(), change)
            .await
    }

    /// Changes what an object carries to the gateways under a key. One that is not there is made
    /// where something is added alone.
    pub(super) async fn carry(
        &self,
        carrier: &ObjectPath,
        key: &str,
        adds: bool,
        change: impl FnOnce(&Secret) -> Sensitive,
    ) -> Result<(), Refusal> {
        let text = self.daemon.read_key(carrier, key).await;
        let text = text.map_err(|error| unkept(carrier, &error))?;
        if text.is_none() && !adds {
            return Ok(());
        }
        if text.is_none() {
            let made = self.writer.create(carrier).await;
            made.map_err(|error| unkept(carrier, &error))?;
        }
        let keys = text.map(|text| (key.to_owned(), text));
        self.keep(carrier, key, &change(&keys.into_iter().collect()))
            .await
    }
}

/// What the gateways answer over HTTP.
fn answers(proofs: &[Proof], expires: i64) -> Vec<Challenge> {
    let proofs = proofs.iter().filter(|proof| proof.method == Method::Http01);
    let answers = proofs.map(|proof| Challenge {
        name: challenge::host(&proof.name),
        token: proof.token.clone(),
        key_authorization: proof.key_authorization.clone(),
        expires,
    });
    answers.collect()
}

/// What Let's Encrypt gives a pending authorization.
const CHALLENGE_LIFE_S: i64 = 3_600;
