//! EDGE: why an authority did not do what it was asked, and whether asking again may help.

use super::record::Failure;
use super::wire::Client;

/// Why an authority did not do what it was asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Whether trying again may help.
    pub failure: Failure,
    /// What it said, as a sentence.
    pub reason: String,
    /// For how many seconds it wants to be left alone.
    pub retry_after_s: Option<u64>,
    /// The names that were not found to be ours.
    pub unproven: Vec<String>,
    /// What kind of refusal it is where that matters: the last word of the problem's type.
    pub kind: String,
}

impl Refusal {
    /// A refusal of no special kind.
    pub fn of(failure: Failure, reason: &str) -> Self {
        Self {
            failure,
            reason: reason.to_owned(),
            retry_after_s: None,
            unproven: Vec::new(),
            kind: String::new(),
        }
    }
}

/// Asks again where the authority did not take the nonce: instant-acme asks three times.
macro_rules! patiently {
    ($ask:expr) => {{
        let mut tries = 0;
        loop {
            match $ask.await {
                Err(refusal)
                    if refusal.kind == $crate::cert::refusal::BAD_NONCE
                        && tries < $crate::cert::refusal::NONCES_MAX =>
                {
                    tries += 1
                }
                done => break done,
            }
        }
    }};
}
pub(super) use patiently;

/// What an error means (RFC 8555, section 6.7).
pub(super) fn refusal(client: &Client, error: &instant_acme::Error) -> Refusal {
    let seen = client.seen();
    let retry_after_s = seen.retry_after_s.filter(|_| seen.status >= 400);
    let instant_acme::Error::Api(problem) = error else {
        return Refusal {
            retry_after_s,
            ..Refusal::of(Failure::Transient, &error.to_string())
        };
    };
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let kind = kind.rsplit(':').next().unwrap_or_default().to_owned();
    let failure = match REFUSED.contains(&kind.as_str()) {
        true => Failure::Refused,
        false => Failure::Transient,
    };
    let detail = problem.detail.as_deref().unwrap_or_default();
    let mut reason = match kind.is_empty() {
        true => detail.to_owned(),
        false => format!("{kind}: {detail}"),
    };
    for one in &problem.subproblems {
        reason = format!("{reason}; {one}");
    }
    Refusal {
        failure,
        reason,
        retry_after_s,
        unproven: Vec::new(),
        kind,
    }
}

/// The kind of a refusal that says that there is no such account.
pub const NO_ACCOUNT: &str = "accountDoesNotExist";
/// The kind of a refusal that says that names were not found to be ours.
pub const UNPROVEN: &str = "unproven";
pub(super) const BAD_NONCE: &str = "badNonce";
/// How often instant-acme is asked to ask again.
pub(super) const NONCES_MAX: u32 = 5;
/// What trying again does not help against.
const REFUSED: [&str; 9] = [
    "badCSR",
    "caa",
    "externalAccountRequired",
    "invalidContact",
    "invalidProfile",
    "malformed",
    "rejectedIdentifier",
    "unsupportedContact",
    "unsupportedIdentifier",
];
