//! Reading the texts of route keywords: hosts, paths, header names, durations. Each says of a
//! bad one what is wrong with it; what follows is said by who asked.

use crate::inventory::Problem;
use crate::inventory::keywords::{self, Keywords};

/// A text that is not empty and fits on a line of HTTP.
///
/// # Errors
/// A problem for any other.
pub(super) fn line(keywords: &Keywords<'_>, keyword: &str) -> Result<Option<String>, Problem> {
    let Some(text) = keywords.text(keyword)?.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if text.len() > BYTES_MAX {
        return Err(keywords.problem(keyword, format!("is longer than {BYTES_MAX} bytes")));
    }
    if text.contains(char::is_control) {
        return Err(keywords.problem(keyword, "has a control character in it"));
    }
    Ok(Some(text))
}

/// A host, with a port or without.
///
/// # Errors
/// A problem for what is none.
pub(super) fn host(keywords: &Keywords<'_>, keyword: &str) -> Result<Option<String>, Problem> {
    let is_host =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    checked(keywords, keyword, "is no host", |text| {
        text.chars().all(is_host)
    })
}

/// The path of a URL, with a query or without.
///
/// # Errors
/// A problem for what is none.
pub(super) fn path(keywords: &Keywords<'_>, keyword: &str) -> Result<Option<String>, Problem> {
    let wrong = "is no path: it begins with / and has percent-encoded what is not plain ASCII";
    checked(keywords, keyword, wrong, |text| {
        text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic())
    })
}

/// The name of a header, in lower case as Envoy has them.
///
/// # Errors
/// A problem for what is none.
pub(super) fn header(keywords: &Keywords<'_>, keyword: &str) -> Result<Option<String>, Problem> {
    let name = checked(keywords, keyword, "is no header name", is_token)?;
    Ok(name.map(|name| name.to_ascii_lowercase()))
}

/// Whether it can name a header, a cookie or a method (RFC 9110, token).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}

fn checked(
    keywords: &Keywords<'_>,
    keyword: &str,
    wrong: &str,
    right: impl Fn(&str) -> bool,
) -> Result<Option<String>, Problem> {
    match line(keywords, keyword)? {
        Some(text) if !right(&text) => Err(keywords.problem(keyword, shown(&text, wrong))),
        text => Ok(text),
    }
}

/// A duration in milliseconds: `15` and `15s`, `250ms`, `1m30s`, `1h`, `1d`, `1w`.
///
/// # Errors
/// A problem for what is none, or for more than 49 days.
pub(super) fn milliseconds(keywords: &Keywords<'_>, keyword: &str) -> Result<Option<u32>, Problem> {
    duration(keywords, keyword, 1, "is longer than 49 days")
}

/// A duration in seconds, in the same spelling.
///
/// # Errors
/// A problem for what is none, or for more than 136 years.
pub(super) fn seconds(keywords: &Keywords<'_>, keyword: &str) -> Result<Option<u32>, Problem> {
    duration(keywords, keyword, 1_000, "is longer than 136 years")
}

fn duration(
    keywords: &Keywords<'_>,
    keyword: &str,
    unit_ms: u64,
    too_long: &str,
) -> Result<Option<u32>, Problem> {
    let Some(text) = line(keywords, keyword)? else {
        return Ok(None);
    };
    let wrong = "is no duration such as 15, 15s or 1m30s";
    let duration = match parse_duration(&text) {
        None => Err(wrong),
        Some(ms) => u32::try_from(ms / unit_ms).map_err(|_| too_long),
    };
    match duration {
        Ok(duration) => Ok(Some(duration)),
        Err(wrong) => Err(keywords.problem(keyword, shown(&text, wrong))),
    }
}

fn parse_duration(text: &str) -> Option<u64> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse::<u64>().ok()?.checked_mul(1_000);
    }
    let (mut rest, mut sum) = (text, None);
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(unit_at)?;
        let end = tail.find(|c: char| c.is_ascii_digit());
        let (unit, tail) = tail.split_at_checked(end.unwrap_or(tail.len()))?;
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let part = number.parse::<u64>().ok()?.checked_mul(*factor)?;
        sum = Some(sum.unwrap_or(0_u64).checked_add(part)?);
        rest = tail;
    }
    sum
}

/// The text, as a problem repeats it, and what is wrong with it.
pub(super) fn shown(text: &str, wrong: &str) -> String {
    format!("{} {wrong}", keywords::shown(text))
}

const UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];
/// More than any sane text; Envoy itself takes 60 KiB of request headers.
const BYTES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<u64>) {
        assert_eq!(parse_duration(text), expect, "{text}");
    }

    #[test]
    fn a_number_is_seconds_and_units_add_up() {
        check("0", Some(0));
        check("15", Some(15_000));
        check("15s", Some(15_000));
        check("1m", Some(60_000));
        check("1m30s", Some(90_000));
        check("250ms", Some(250));
        check("1w2d3h4m5s", Some(788_645_000));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "bogus",
            "s",
            "1x",
            "1m30",
            "-1",
            "1.5s",
            "99999999999999999999",
            "1 m",
        ] {
            check(text, None);
        }
        check("18446744073709551615w", None);
    }
}
