//! From `retry_*`, `rate_limit`, `cors_*` and `compression` of a `route` section to what Envoy's
//! router and its filters do with a request. The agent 2.1 has no definition of them.

use std::collections::BTreeSet;

use super::model::{Cors, Encoding, RateLimit, Retry};
use super::texts;
use crate::inventory::Problem;
use crate::inventory::keywords::Keywords;

/// Reads `retry_count`, `retry_on` and `retry_timeout`; `None` where none is set.
///
/// # Errors
/// The first that cannot be taken.
pub(super) fn retry(keywords: &Keywords<'_>) -> Result<Option<Retry>, Problem> {
    let count = match texts::line(keywords, "retry_count")? {
        None => None,
        Some(text) => match text.trim().parse::<u32>() {
            Ok(count) if count <= RETRIES_MAX => Some(count),
            _ => {
                let wrong = format!("is no number from 0 to {RETRIES_MAX}");
                let reason = texts::shown(&text, &wrong);
                return Err(keywords.problem("retry_count", reason));
            }
        },
    };
    let (mut on, mut codes) = (Vec::new(), Vec::new());
    for word in keywords.words("retry_on")? {
        match word.parse::<u32>() {
            Ok(code) if (100..600).contains(&code) => codes.push(code),
            _ if RETRY_ON.contains(&word.as_str()) => on.push(word),
            _ => {
                let wrong = "is neither a status nor a word that Envoy has for it";
                let reason = texts::shown(&word, wrong);
                return Err(keywords.problem("retry_on", reason));
            }
        }
    }
    let per_try_timeout_ms = texts::milliseconds(keywords, "retry_timeout")?;
    let is_set =
        count.is_some() || !on.is_empty() || !codes.is_empty() || per_try_timeout_ms.is_some();
    Ok(is_set.then_some(Retry {
        count,
        on,
        codes,
        per_try_timeout_ms,
    }))
}

/// Reads `rate_limit`, such as `100/s`, `100/m` or `100/h`.
///
/// # Errors
/// A problem for what is none.
pub(super) fn rate_limit(keywords: &Keywords<'_>) -> Result<Option<RateLimit>, Problem> {
    let Some(text) = texts::line(keywords, "rate_limit")? else {
        return Ok(None);
    };
    match parse_rate_limit(&text) {
        Some(limit) => Ok(Some(limit)),
        None => {
            let reason = texts::shown(&text, "is no rate such as 100/s, 100/m or 100/h");
            Err(keywords.problem("rate_limit", reason))
        }
    }
}

fn parse_rate_limit(text: &str) -> Option<RateLimit> {
    let (requests, unit) = text.trim().split_once('/')?;
    let per_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return None,
    };
    let requests = requests.parse().ok().filter(|requests| *requests > 0)?;
    Some(RateLimit { requests, per_s })
}

/// Reads `cors_*`; `None` without `cors_allow_origins`.
///
/// # Errors
/// The first that cannot be taken.
pub(super) fn cors(keywords: &Keywords<'_>) -> Result<Option<Cors>, Problem> {
    let allow_origins = checked(keywords, "cors_allow_origins", "is no origin", |word| {
        let rest = word.strip_prefix('*').unwrap_or(word);
        rest.chars().all(|c| c.is_ascii_graphic() && c != '*')
    })?;
    let tokens = |keyword| {
        let wrong = "is no name that HTTP has for it";
        checked(keywords, keyword, wrong, texts::is_token)
    };
    let cors = Cors {
        allow_origins,
        allow_methods: tokens("cors_allow_methods")?,
        allow_headers: tokens("cors_allow_headers")?,
        expose_headers: tokens("cors_expose_headers")?,
        max_age_s: texts::seconds(keywords, "cors_max_age")?,
        allow_credentials: keywords.boolean("cors_allow_credentials")?,
    };
    if cors.allow_credentials == Some(true) && cors.allow_origins.iter().any(|word| word == "*") {
        let reason = "any site could act for a user: not together with the origin *";
        return Err(keywords.problem("cors_allow_credentials", reason));
    }
    if !cors.allow_origins.is_empty() {
        return Ok(Some(cors));
    }
    match cors == Cors::default() {
        true => Ok(None),
        false => {
            let reason = "is not set, and the other cors keywords need it";
            Err(keywords.problem("cors_allow_origins", reason))
        }
    }
}

/// Reads `compression`: what answers may be compressed with.
///
/// # Errors
/// The first word that is none.
pub(super) fn compression(keywords: &Keywords<'_>) -> Result<BTreeSet<Encoding>, Problem> {
    let words = keywords.words("compression")?;
    let encodings = words.iter().map(|word| match word.as_str() {
        "br" => Ok(Encoding::Brotli),
        "gzip" => Ok(Encoding::Gzip),
        "zstd" => Ok(Encoding::Zstd),
        _ => {
            let reason = texts::shown(word, "is none of br, gzip and zstd");
            Err(keywords.problem("compression", reason))
        }
    });
    encodings.collect()
}

fn checked(
    keywords: &Keywords<'_>,
    keyword: &str,
    wrong: &str,
    right: impl Fn(&str) -> bool,
) -> Result<Vec<String>, Problem> {
    let words = keywords.words(keyword)?;
    match words.iter().find(|word| word.is_empty() || !right(word)) {
        Some(word) => Err(keywords.problem(keyword, texts::shown(word, wrong))),
        None => Ok(words),
    }
}

/// More would only hammer what is down.
const RETRIES_MAX: u32 = 10;
/// The words of Envoy's router for `retry_on`, those that need nothing else to be set.
const RETRY_ON: &[&str] = &[
    "5xx",
    "cancelled",
    "connect-failure",
    "deadline-exceeded",
    "envoy-ratelimited",
    "gateway-error",
    "internal",
    "refused-stream",
    "reset",
    "reset-before-request",
    "resource-exhausted",
    "retriable-4xx",
    "unavailable",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<(u32, u32)>) {
        let limit = parse_rate_limit(text).map(|limit| (limit.requests, limit.per_s));
        assert_eq!(limit, expect, "{text}");
    }

    #[test]
    fn a_rate_is_a_number_for_each_unit() {
        check("100/s", Some((100, 1)));
        check("5/m", Some((5, 60)));
        check("1/h", Some((1, 3_600)));
        for text in ["", "100", "0/s", "-1/s", "1/x", "1/10s", "99999999999/s"] {
            check(text, None);
        }
    }
}
