//! PURE: the names of a certificate as an authority takes them (RFC 8555, section 7.1.3): lower
//! case, each once, none that it would refuse.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// The names that a text lists, between blanks or commas.
///
/// # Errors
/// The first that is none, and why, as a sentence.
pub fn names(texts: &[&str]) -> Result<BTreeSet<String>, String> {
    let words = texts
        .iter()
        .flat_map(|text| text.split([' ', ',', '\t', '\n']));
    let words = words.filter(|word| !word.is_empty());
    let names = words.map(name).collect::<Result<BTreeSet<_>, _>>()?;
    if names.len() > NAMES_MAX {
        return Err(format!(
            "are {} names, and no authority takes more than {NAMES_MAX}",
            names.len()
        ));
    }
    Ok(names)
}

/// One name in its one spelling.
///
/// # Errors
/// Why it is none, as a sentence that quotes it.
pub fn name(word: &str) -> Result<String, String> {
    let shown: String = word.chars().take(SHOWN_CHARS).collect();
    if let Ok(address) = word.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    if !word.is_ascii() {
        return Err(format!("{shown:?} has to be written in its xn-- form"));
    }
    let lower = word.strip_suffix('.').unwrap_or(word).to_ascii_lowercase();
    let host = lower.strip_prefix("*.").unwrap_or(&lower);
    let label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || c == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let sound = lower.len() <= NAME_BYTES_MAX && host.split('.').all(label);
    match (sound, host.contains('.')) {
        (false, _) => Err(format!("{shown:?} is no name of a host")),
        (true, false) => Err(format!("{shown:?} has no domain; no authority knows it")),
        (true, true) => Ok(lower),
    }
}

/// A name that a client may ask for to be shown a certificate for these.
pub fn asked_for(names: &BTreeSet<String>) -> Option<String> {
    let plain = names.iter().find(|name| !is_wildcard(name));
    let any = || Some(names.first()?.replacen('*', ANY_LABEL, 1));
    plain.cloned().or_else(any)
}

/// Whether the name stands for every host of a domain.
pub fn is_wildcard(name: &str) -> bool {
    name.starts_with("*.")
}

/// What Let's Encrypt's `classic` profile takes; the others take 25.
const NAMES_MAX: usize = 100;
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
const SHOWN_CHARS: usize = 80;
/// A host of a domain that nobody has.
const ANY_LABEL: &str = "osvc-igw-probe";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_and_each_is_there_once() {
        let found = names(&["WWW.Acme.org", "acme.org. www.acme.org,acme.org"]).unwrap();
        assert_eq!(Vec::from_iter(found), ["acme.org", "www.acme.org"]);
    }

    #[test]
    fn what_no_authority_takes_is_refused_here() {
        for (word, told) in [
            ("bücher.de", "xn--"),
            ("localhost", "no domain"),
            ("a_b.acme.org", "no name of a host"),
            ("*.*.acme.org", "no name of a host"),
            ("-a.acme.org", "no name of a host"),
            ("a..org", "no name of a host"),
            ("{env.name}.acme.org", "no name of a host"),
        ] {
            let reason = name(word).unwrap_err();
            assert!(reason.contains(told), "{word}: {reason}");
        }
        let many: Vec<String> = (0..101)
            .map(|number| format!("n{number}.acme.org"))
            .collect();
        assert!(
            names(&[&many.join(" ")])
                .unwrap_err()
                .contains("more than 100")
        );
    }

    #[test]
    fn addresses_are_names_too() {
        assert_eq!(name("10.0.0.1").unwrap(), "10.0.0.1");
        assert_eq!(name("FE80::0:1").unwrap(), "fe80::1");
    }

    #[test]
    fn a_wildcard_is_asked_for_by_a_name_that_it_stands_for() {
        let check = |text: &str| asked_for(&names(&[text]).unwrap()).unwrap();
        assert_eq!(check("*.a.org a.org"), "a.org");
        assert_eq!(check("*.a.org"), "osvc-igw-probe.a.org");
        assert_eq!(asked_for(&BTreeSet::new()), None);
    }
}
