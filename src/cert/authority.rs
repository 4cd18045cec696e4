//! EDGE: one certificate authority, over instant-acme (RFC 8555): its account, its orders, and
//! what its refusals mean. When to ask is decided elsewhere.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeStatus,
    ChallengeType, ExternalAccountKey, Identifier, NewAccount, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use serde_json::Value;

use super::declaration::{Declaration, Issuer};
use super::method::Method;
use super::record::Failure;
use super::refusal::{NO_ACCOUNT, NONCES_MAX, Refusal, UNPROVEN, refusal};
use super::schedule::Window;
use super::wire::{Client, Wire, no_headers, seconds_of};
use crate::inventory::Sensitive;

/// An authority, with an account there.
pub struct Authority {
    client: Client,
    account: Account,
}

/// An order and how far it is.
pub struct Ordered {
    order: Order,
}

/// What an authority looks for to find that a name is ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// Where it looks.
    pub method: Method,
    /// The name, which may be a wildcard or an address.
    pub name: String,
    /// What it calls the challenge.
    pub token: String,
    /// The key authorization (RFC 8555, section 8.1). It is told to whoever asks: no secret.
    pub key_authorization: String,
    /// The SHA-256 of that, which a certificate for TLS-ALPN-01 has (RFC 8737, section 3).
    pub digest: Vec<u8>,
    /// The text of the record for DNS-01 (RFC 8555, section 8.4).
    pub dns_value: String,
}

/// Tells which challenge of a name is taken.
pub type Choose<'a> = &'a (dyn Fn(&str) -> Option<Method> + Send + Sync);

/// A certificate with its chain.
#[derive(Clone, Debug)]
pub struct Chain {
    /// In PEM, the certificate first.
    pub pem: Sensitive,
    /// Where it is with other chains.
    pub alternates: Vec<String>,
}

/// How far an order is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Names have to be shown to be ours.
    Pending,
    /// The request for the certificate can be sent.
    Ready,
    /// The certificate is being made, or is there.
    Finalized,
    /// Nothing will come of it.
    Invalid,
}

impl Authority {
    /// Goes to an account that was made before.
    ///
    /// # Errors
    /// When the authority cannot be asked, or what was kept of the account is no account.
    pub async fn with_account(wire: Arc<dyn Wire>, account: &Sensitive) -> Result<Self, Refusal> {
        let client = Client::new(wire);
        let credentials: AccountCredentials =
            serde_json::from_str(account.expose()).map_err(|_| Refusal {
                kind: NO_ACCOUNT.to_owned(),
                ..Refusal::of(Failure::Transient, "what is kept of the account is none")
            })?;
        let builder = Account::builder_with_http(Box::new(client.clone()));
        let account = builder.from_credentials(credentials).await;
        let account = account.map_err(|error| refusal(&client, &error))?;
        Ok(Self { client, account })
    }

    /// Makes an account; returns it with the text to keep.
    ///
    /// # Errors
    /// When the authority cannot be asked or does not make one.
    pub async fn register(
        wire: Arc<dyn Wire>,
        issuer: &Issuer,
    ) -> Result<(Self, Sensitive), Refusal> {
        let client = Client::new(wire);
        let contact: Vec<&str> = issuer.contact.iter().map(String::as_str).collect();
        let external = match &issuer.external {
            Some(external) => {
                let hmac = external.hmac.expose().trim().trim_end_matches('=');
                let hmac = BASE64_URL_SAFE_NO_PAD.decode(hmac).map_err(|_| {
                    Refusal::of(Failure::Refused, "eab_hmac of the issuer is no base64url")
                })?;
                Some(ExternalAccountKey::new(external.kid.clone(), &hmac))
            }
            None => None,
        };
        let wanted = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let builder = Account::builder_with_http(Box::new(client.clone()));
        let made = builder.create(&wanted, issuer.directory.clone(), external.as_ref());
        let (account, credentials) = made.await.map_err(|error| refusal(&client, &error))?;
        let text = serde_json::to_string(&credentials).map(Sensitive::new);
        let text =
            text.map_err(|_| Refusal::of(Failure::Transient, "an account without a text"))?;
        Ok((Self { client, account }, text))
    }

    /// Makes an order; one that names what it replaces is made without if that is refused.
    ///
    /// # Errors
    /// When the authority does not take it.
    pub async fn order(
        &self,
        declaration: &Declaration,
        issuer: &Issuer,
        replaces: Option<&str>,
    ) -> Result<Ordered, Refusal> {
        let identifiers: Vec<Identifier> = declaration
            .names
            .iter()
            .map(|name| identifier(name))
            .collect();
        let wanted = || {
            let order = NewOrder::new(&identifiers);
            match declaration.profile(issuer) {
                Some(profile) => order.profile(profile),
                None => order,
            }
        };
        if let Some((signer, serial)) = replaces.and_then(|text| text.split_once('.')) {
            let replaced = CertificateIdentifier {
                authority_key_identifier: signer.into(),
                serial: serial.into(),
            };
            let made = self.account.new_order(&wanted().replaces(replaced)).await;
            match made.map_err(|error| refusal(&self.client, &error)) {
                Ok(order) => return Ok(Ordered { order }),
                // A rate limit or an outage is not about what is replaced.
                Err(refusal) if refusal.retry_after_s.is_some() => return Err(refusal),
                Err(_) => {}
            }
        }
        let made = self.account.new_order(&wanted()).await;
        let order = made.map_err(|error| refusal(&self.client, &error))?;
        Ok(Ordered { order })
    }

    /// Comes back to an order.
    ///
    /// # Errors
    /// When the authority does not know it any more, or cannot be asked.
    pub async fn resume(&self, url: &str) -> Result<Ordered, Refusal> {
        let found = self.account.order(url.to_owned()).await;
        let order = found.map_err(|error| refusal(&self.client, &error))?;
        Ok(Ordered { order })
    }

    /// By how many seconds its clock is ahead of ours, as its last answer said.
    pub fn ahead_s(&self) -> Option<i64> {
        self.client.seen().ahead_s
    }

    /// What shows that the names are ours which are not shown to be yet; or, `spent`, what showed
    /// it of the others.
    ///
    /// # Errors
    /// When the authority offers none of what is chosen for a name, or cannot be asked.
    pub async fn proofs(
        &self,
        ordered: &mut Ordered,
        choose: Choose<'_>,
        spent: bool,
    ) -> Result<Vec<Proof>, Refusal> {
        let wanted = match spent {
            true => AuthorizationStatus::Valid,
            false => AuthorizationStatus::Pending,
        };
        let mut proofs = Vec::new();
        let mut all = ordered.order.authorizations();
        while let Some(next) = all.next().await {
            let mut one = next.map_err(|error| refusal(&self.client, &error))?;
            if one.status != wanted {
                continue;
            }
            let name = one.identifier().to_string();
            let method = choose(&name);
            let offered = method.and_then(|method| one.challenge(challenge_type(method)));
            let (Some(method), Some(challenge)) = (method, offered) else {
                let word = method.map_or("challenge that fits", Method::word);
                let reason = format!("the authority offers no {word} for {name}");
                return Err(Refusal::of(Failure::Refused, &reason));
            };
            let answer = challenge.key_authorization();
            proofs.push(Proof {
                method,
                name,
                token: challenge.token.clone(),
                digest: answer.digest().as_ref().to_vec(),
                dns_value: answer.dns_value(),
                key_authorization: answer.as_str().to_owned(),
            });
        }
        Ok(proofs)
    }

    /// The address of the account.
    pub fn account(&self) -> &str {
        self.account.id()
    }

    /// Tells the authority that every challenge is answered, and waits for what it finds.
    ///
    /// # Errors
    /// With every name that it did not find to be ours, and why.
    pub async fn validate(&self, ordered: &mut Ordered, choose: Choose<'_>) -> Result<(), Refusal> {
        let mut all = ordered.order.authorizations();
        while let Some(next) = all.next().await {
            let mut one = next.map_err(|error| refusal(&self.client, &error))?;
            // What was told before a nonce was refused is not told twice: that would be an error.
            let asked = one.refresh().await;
            asked.map_err(|error| refusal(&self.client, &error))?;
            if one.status != AuthorizationStatus::Pending {
                continue;
            }
            let method = choose(&one.identifier().to_string());
            let offered = method.and_then(|method| one.challenge(challenge_type(method)));
            let untold = offered.filter(|one| one.status == ChallengeStatus::Pending);
            if let Some(mut challenge) = untold {
                let told = challenge.set_ready().await;
                told.map_err(|error| refusal(&self.client, &error))?;
            }
        }
        let found = ordered.order.poll_ready(&POLL).await;
        match found {
            Ok(OrderStatus::Ready | OrderStatus::Valid) => Ok(()),
            Ok(_) => Err(self.unproven(ordered).await),
            Err(error) if ordered.order.state().status == OrderStatus::Invalid => {
                let told = self.unproven(ordered).await;
                match told.reason.is_empty() {
                    true => Err(refusal(&self.client, &error)),
                    false => Err(told),
                }
            }
            Err(error) => Err(refusal(&self.client, &error)),
        }
    }

    /// Which names were not found to be ours: an order tells of one alone.
    async fn unproven(&self, ordered: &mut Ordered) -> Refusal {
        let (mut reasons, mut unproven) = (Vec::new(), Vec::new());
        let mut all = ordered.order.authorizations();
        while let Some(Ok(mut one)) = all.next().await {
            if one.refresh().await.is_err() || one.status != AuthorizationStatus::Invalid {
                continue;
            }
            let name = one.identifier().to_string();
            let errors = one.challenges.iter().filter_map(|one| one.error.as_ref());
            let errors: Vec<&str> = errors.filter_map(|error| error.detail.as_deref()).collect();
            reasons.push(format!("{name}: {}", errors.join(", ")));
            unproven.push(name);
        }
        Refusal {
            unproven,
            kind: UNPROVEN.to_owned(),
            ..Refusal::of(Failure::Transient, &reasons.join("; "))
        }
    }

    /// Sends the request for the certificate.
    ///
    /// # Errors
    /// When the authority does not take it.
    pub async fn finalize(&self, ordered: &mut Ordered, csr_der: &[u8]) -> Result<(), Refusal> {
        let sent = ordered.order.finalize_csr(csr_der).await;
        sent.map_err(|error| refusal(&self.client, &error))
    }

    /// Waits for the certificate and its chain, in PEM.
    ///
    /// # Errors
    /// When none comes of it.
    pub async fn certificate(&self, ordered: &mut Ordered) -> Result<Chain, Refusal> {
        let made = ordered.order.poll_certificate(&POLL).await;
        let made = made.map_err(|error| refusal(&self.client, &error))?;
        Ok(Chain {
            pem: Sensitive::new(made),
            alternates: self.client.seen().alternates,
        })
    }

    /// The same certificate with another chain; `None` where that is not to be had.
    pub async fn alternate(&self, url: &str) -> Option<Sensitive> {
        let text = String::from_utf8(self.document(url).await?.to_vec()).ok()?;
        Some(Sensitive::new(text))
    }

    /// An order of these names that was made and that nobody finalized. Not every authority tells
    /// (RFC 8555, section 7.1.2.1); then there is none.
    pub async fn find(&self, declaration: &Declaration) -> Option<Ordered> {
        let read = async |url: &str| {
            let document = self.document(url).await?;
            serde_json::from_slice::<Value>(&document).ok()
        };
        let account = read(self.account.id()).await?;
        let listed = read(account["orders"].as_str()?).await?;
        let mut urls: Vec<&str> = listed["orders"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        // The last ones, where they are told in the order in which they were made.
        urls.reverse();
        for url in urls.into_iter().take(FIND_MAX) {
            let order = read(url).await?;
            let open = matches!(order["status"].as_str(), Some("pending" | "ready"));
            let names = order["identifiers"].as_array().into_iter().flatten();
            let names: BTreeSet<&str> = names.filter_map(|name| name["value"].as_str()).collect();
            if open
                && names
                    .iter()
                    .copied()
                    .eq(declaration.names.iter().map(String::as_str))
            {
                return self.resume(url).await.ok();
            }
        }
        None
    }

    /// What is at an address, asked for as the account. instant-acme reads orders that way, and
    /// does not mind to be told of something else but for the error that it makes of it.
    async fn document(&self, url: &str) -> Option<Bytes> {
        let mut asked = 0;
        loop {
            let _ = self.account.order(url.to_owned()).await;
            let seen = self.client.seen();
            asked += 1;
            match seen.status {
                200 => return Some(seen.document),
                400 if asked <= NONCES_MAX => {}
                _ => return None,
            }
        }
    }
}

impl Ordered {
    /// Its address.
    pub fn url(&self) -> &str {
        self.order.url()
    }

    /// How far it is.
    pub fn stage(&mut self) -> Stage {
        match self.order.state().status {
            OrderStatus::Pending => Stage::Pending,
            OrderStatus::Ready => Stage::Ready,
            OrderStatus::Processing | OrderStatus::Valid => Stage::Finalized,
            OrderStatus::Invalid => Stage::Invalid,
        }
    }
}

/// Whether what is kept of an account is one of the authority with this directory.
pub fn belongs(kept: &Sensitive, directory: &str) -> bool {
    let kept: Result<Value, _> = serde_json::from_str(kept.expose());
    kept.is_ok_and(|kept| kept["directory"] == directory)
}

/// Asks when a certificate should be renewed (RFC 9773); `None` where the authority does not say.
/// Returns also for how many seconds the answer holds.
///
/// # Errors
/// When the authority cannot be asked.
pub async fn window(
    wire: Arc<dyn Wire>,
    directory: &str,
    identifier: &str,
) -> Result<Option<(Window, u64)>, Refusal> {
    let client = Client::new(wire);
    let document = document(&client, directory).await?;
    let Some(base) = document["renewalInfo"].as_str() else {
        return Ok(None);
    };
    let url = format!("{}/{identifier}", base.trim_end_matches('/'));
    let told = self::document(&client, &url).await?;
    let at = |name: &str| seconds_of(told["suggestedWindow"][name].as_str()?);
    let (Some(start), Some(end)) = (at("start"), at("end")) else {
        return Ok(None);
    };
    let holds = client.seen().retry_after_s.unwrap_or(WINDOW_HOLDS_S);
    Ok(Some((Window { start, end }, holds.clamp(60, 86_400))))
}

pub(super) async fn document(client: &Client, url: &str) -> Result<Value, Refusal> {
    let sent = client.send(
        http::Method::GET,
        url.to_owned(),
        no_headers(),
        Bytes::new(),
    );
    let answer = sent
        .await
        .map_err(|reason| Refusal::of(Failure::Transient, &reason))?;
    if !answer.status().is_success() {
        let reason = format!("{url} answers {}", answer.status());
        return Err(Refusal {
            retry_after_s: client.seen().retry_after_s,
            ..Refusal::of(Failure::Transient, &reason)
        });
    }
    Ok(serde_json::from_slice(answer.body()).unwrap_or_default())
}

fn challenge_type(method: Method) -> ChallengeType {
    match method {
        Method::Http01 => ChallengeType::Http01,
        Method::TlsAlpn01 => ChallengeType::TlsAlpn01,
        Method::Dns01 => ChallengeType::Dns01,
        Method::DnsPersist01 => ChallengeType::Unknown(method.word().to_owned()),
    }
}

fn identifier(name: &str) -> Identifier {
    match name.parse::<IpAddr>() {
        Ok(address) => Identifier::Ip(address),
        Err(_) => Identifier::Dns(name.to_owned()),
    }
}

/// How many orders are looked at to find one again.
const FIND_MAX: usize = 10;
const POLL: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(90));
/// How long a renewal window holds where the authority does not say (RFC 9773, section 4.3.2).
const WINDOW_HOLDS_S: u64 = 12 * 3_600;
