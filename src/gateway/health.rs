//! What an expose says of how its instances are reached and how Envoy finds out whether they
//! work. Which instances there are is not decided here.

use super::{BackendProtocol, HealthCheck, LbPolicy, Limits, Policy};
use crate::inventory::Problem;
use crate::inventory::keywords::{Keywords, shown};

/// What an expose says of health checks (keywords `health_check` and `health_check_path`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WantedCheck {
    /// Nothing: what the operator of the gateway decided.
    Default,
    /// None at all.
    None,
    /// That a connection can be made.
    Tcp,
    /// That a GET of this path is answered 200.
    Http(String),
}

impl WantedCheck {
    /// The check that is made of a service that answers to `host`; `None` for none.
    pub fn resolve(&self, policy: &Policy, host: &str) -> Option<HealthCheck> {
        match self {
            Self::Default => policy.health_checks.then_some(HealthCheck::Tcp),
            Self::None => None,
            Self::Tcp => Some(HealthCheck::Tcp),
            Self::Http(path) => Some(HealthCheck::Http {
                path: path.clone(),
                host: host.to_owned(),
            }),
        }
    }

    /// Reads both keywords.
    ///
    /// # Errors
    /// A [`Problem`] for what is no check, or two that do not go together.
    pub fn read(keywords: &Keywords<'_>) -> Result<Self, Problem> {
        let path = keywords.text("health_check_path")?;
        match (keywords.text("health_check")?.as_deref(), path) {
            (None | Some("http"), Some(path)) => {
                if !path.starts_with('/') || path.bytes().any(|b| b <= b' ' || b == 0x7f) {
                    let reason = format!(
                        "{} is no path: it starts with / and has no space",
                        shown(&path)
                    );
                    return Err(keywords.problem("health_check_path", reason));
                }
                Ok(Self::Http(path))
            }
            (None, None) => Ok(Self::Default),
            (Some("tcp"), None) => Ok(Self::Tcp),
            (Some("none"), None) => Ok(Self::None),
            (Some("http"), None) => {
                let reason = "http needs health_check_path to say what to ask for";
                Err(keywords.problem("health_check", reason))
            }
            (Some(other), path) => {
                let with = path
                    .map(|_| " beside health_check_path")
                    .unwrap_or_default();
                let reason = format!("{}{with} is none of tcp, http and none", shown(other));
                Err(keywords.problem("health_check", reason))
            }
        }
    }
}

/// Reads `lb_policy`.
///
/// # Errors
/// A [`Problem`] for what is none.
pub fn lb_policy(keywords: &Keywords<'_>) -> Result<LbPolicy, Problem> {
    let Some(text) = keywords.text("lb_policy")? else {
        return Ok(LbPolicy::default());
    };
    match text.to_ascii_lowercase().replace([' ', '-'], "_").as_str() {
        "round_robin" => Ok(LbPolicy::RoundRobin),
        "least_request" => Ok(LbPolicy::LeastRequest),
        "ring_hash" => Ok(LbPolicy::RingHash),
        "random" => Ok(LbPolicy::Random),
        "original_dst_lb" => Ok(LbPolicy::OriginalDst),
        "maglev" => Ok(LbPolicy::Maglev),
        _ => Err(keywords.problem("lb_policy", format!("{} is no known policy", shown(&text)))),
    }
}

/// Reads `backend_protocol`.
///
/// # Errors
/// A [`Problem`] for what is none.
pub fn backend_protocol(keywords: &Keywords<'_>) -> Result<BackendProtocol, Problem> {
    match keywords.text("backend_protocol")?.as_deref() {
        None | Some("http1") => Ok(BackendProtocol::Http1),
        Some("http2") => Ok(BackendProtocol::Http2),
        Some(other) => {
            let reason = format!("{} is neither http1 nor http2", shown(other));
            Err(keywords.problem("backend_protocol", reason))
        }
    }
}

/// Reads `max_connections`, `max_pending_requests` and `max_requests`.
///
/// # Errors
/// A [`Problem`] for what is no number from 1.
pub fn limits(keywords: &Keywords<'_>) -> Result<Limits, Problem> {
    Ok(Limits {
        connections: keywords.count("max_connections")?,
        pending_requests: keywords.count("max_pending_requests")?,
        requests: keywords.count("max_requests")?,
    })
}

/// Reads `connect_timeout`.
///
/// # Errors
/// A [`Problem`] for what is no time to connect in.
pub fn connect_timeout(keywords: &Keywords<'_>) -> Result<u32, Problem> {
    match keywords.milliseconds("connect_timeout")? {
        None => Ok(CONNECT_TIMEOUT_MS),
        Some(0) => Err(keywords.problem("connect_timeout", "0 leaves no time to connect")),
        Some(timeout) => Ok(timeout),
    }
}

/// igw_envoy's default: an instance is as near as the next rack.
const CONNECT_TIMEOUT_MS: u32 = 250;
