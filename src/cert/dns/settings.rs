//! PURE: what the `sec` object of an authority says about the DNS: by which way records are
//! written for DNS-01, where they have to be seen, and whose name a standing record has.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::inventory::{Secret, Sensitive};

/// What an issuer says about the DNS.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Dns {
    /// How records are written; `None` where they are not.
    pub writing: Option<Writing>,
    /// The name by which records know the authority (key `issuer_domain`), where its directory
    /// does not tell.
    pub issuer_domain: Option<String>,
}

/// How records are written, and when they count as written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Writing {
    /// By what.
    pub way: Way,
    /// Who has to answer a record before the authority is told; empty for every name server of
    /// the zone.
    pub nameservers: Vec<Server>,
    /// How long they get to do so.
    pub wait: Duration,
}

/// By what records are written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Way {
    /// A dynamic update (RFC 2136).
    Update(Update),
    /// A webhook.
    Httpreq(Httpreq),
    /// A program of this name, in the folder that the operator was started with.
    Exec(String),
}

/// Whom to send dynamic updates, signed with what (RFC 8945).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Update {
    /// The primary server of the zone.
    pub server: Server,
    /// The zone; `None` to look which it is.
    pub zone: Option<String>,
    /// The name of the key.
    pub key_name: String,
    /// The key, in base64.
    pub secret: Sensitive,
    /// What it signs with.
    pub algorithm: Algorithm,
}

/// What a key signs with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// `hmac-sha256`.
    Sha256,
    /// `hmac-sha384`.
    Sha384,
    /// `hmac-sha512`.
    Sha512,
}

/// A webhook that writes records, by the protocol of lego's `httpreq`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Httpreq {
    /// Where it is, without the `/present` and `/cleanup` at the end.
    pub url: String,
    /// Who we are there, and the password.
    pub login: Option<(String, Sensitive)>,
    /// The roots to believe it by, in PEM, in the place of those of the system.
    pub ca_bundle: Option<String>,
}

/// A name server: an address or a name, and a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    /// An address, or the name of a host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Reads what the keys say.
///
/// # Errors
/// The key that is wrong, and why, as the end of a sentence that names it.
pub fn dns(keys: &Secret) -> Result<Dns, (&'static str, String)> {
    let issuer_domain = read(keys, "issuer_domain").map(|domain| domain.to_ascii_lowercase());
    if issuer_domain
        .as_deref()
        .is_some_and(|text| !is_domain(text))
    {
        return Err(("issuer_domain", "is no name of a domain".to_owned()));
    }
    let writing = match read(keys, "dns") {
        Some(way) => Some(writing(keys, &way)?),
        None => None,
    };
    Ok(Dns {
        writing,
        issuer_domain,
    })
}

fn writing(keys: &Secret, way: &str) -> Result<Writing, (&'static str, String)> {
    let way = match way {
        "rfc2136" => Way::Update(update(keys)?),
        "httpreq" => Way::Httpreq(httpreq(keys)?),
        "exec" => Way::Exec(program(keys)?),
        other => {
            let reason = format!("{other:?} is none of rfc2136, httpreq and exec");
            return Err(("dns", reason));
        }
    };
    let named = read(keys, "dns_nameservers").unwrap_or_default();
    let named = named
        .split([' ', ',', '\n'])
        .filter(|word| !word.is_empty());
    let nameservers = named.map(server).collect::<Result<Vec<_>, _>>();
    let wait = match read(keys, "dns_wait") {
        None => WAIT,
        Some(text) => humantime::parse_duration(&text)
            .ok()
            .filter(|wait| (SHORTEST..=LONGEST).contains(wait))
            .ok_or_else(|| {
                let reason = format!("{text:?} is no time between 1s and 30m, such as 2m");
                ("dns_wait", reason)
            })?,
    };
    Ok(Writing {
        way,
        nameservers: nameservers.map_err(|reason| ("dns_nameservers", reason))?,
        wait,
    })
}

fn update(keys: &Secret) -> Result<Update, (&'static str, String)> {
    let asked = needed(keys, "dns_server")?;
    let server = server(&asked).map_err(|reason| ("dns_server", reason))?;
    let zone = read(keys, "dns_zone").map(|zone| zone.trim_end_matches('.').to_ascii_lowercase());
    if let Some(zone) = zone.as_deref().filter(|zone| !is_domain(zone)) {
        return Err(("dns_zone", format!("{zone:?} is no name of a zone")));
    }
    let key_name = needed(keys, "dns_tsig_name")?;
    if !is_domain(key_name.trim_end_matches('.')) {
        return Err(("dns_tsig_name", format!("{key_name:?} is no name of a key")));
    }
    let secret = needed(keys, "dns_tsig_secret").map(Sensitive::new)?;
    if tsig_key(&secret).is_none() {
        return Err(("dns_tsig_secret", "is no base64".to_owned()));
    }
    let algorithm = read(keys, "dns_tsig_algorithm").map(|text| text.to_ascii_lowercase());
    let algorithm = match algorithm.as_deref().map(|text| text.trim_end_matches('.')) {
        None | Some("hmac-sha256") => Algorithm::Sha256,
        Some("hmac-sha384") => Algorithm::Sha384,
        Some("hmac-sha512") => Algorithm::Sha512,
        Some(other) => {
            let known = "hmac-sha256, hmac-sha384 and hmac-sha512";
            return Err((
                "dns_tsig_algorithm",
                format!("{other:?} is none of {known}"),
            ));
        }
    };
    Ok(Update {
        server,
        zone,
        key_name,
        secret,
        algorithm,
    })
}

fn httpreq(keys: &Secret) -> Result<Httpreq, (&'static str, String)> {
    let url = needed(keys, "httpreq_url")?;
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest.filter(|rest| !rest.is_empty()) else {
        return Err(("httpreq_url", "is no http or https address".to_owned()));
    };
    // What is in the address is shown; what is in a key of its own is not.
    let (host, _) = rest.split_once('/').unwrap_or((rest, ""));
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '?' || c == '#';
    if host.contains('@') || url.contains(bad) {
        let reason = "has more in it than a host and a path: a name and a password go into \
                      httpreq_user and httpreq_password";
        return Err(("httpreq_url", reason.to_owned()));
    }
    let password = keys.get("httpreq_password");
    let password = password.map(|text| Sensitive::new(text.expose().trim().to_owned()));
    let login = match (read(keys, "httpreq_user"), password) {
        (None, None) => None,
        (Some(user), Some(password)) => Some((user, password)),
        (None, _) => return Err(missing("httpreq_user")),
        (_, None) => return Err(missing("httpreq_password")),
    };
    Ok(Httpreq {
        url: url.trim_end_matches('/').to_owned(),
        login,
        ca_bundle: read(keys, "httpreq_ca_bundle"),
    })
}

/// Whoever administrates a namespace writes its `sec` objects: a path there would run whatever
/// lies on the machine of the operator.
fn program(keys: &Secret) -> Result<String, (&'static str, String)> {
    let name = needed(keys, "exec")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.chars().all(plain) || name.starts_with(['.', '-']) || name.len() > NAME_BYTES_MAX {
        let reason = "is no plain name of a file: the folder is said by the option \
                      --acme-exec-dir of the operator";
        return Err(("exec", reason.to_owned()));
    }
    Ok(name)
}

/// An address or a name, with a port or without.
///
/// # Errors
/// What is wrong, as the end of a sentence.
pub fn server(text: &str) -> Result<Server, String> {
    let parts = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => Some((host, port.strip_prefix(':').unwrap_or(port))),
        None if text.matches(':').count() > 1 => Some((text, "")),
        None => Some(text.split_once(':').unwrap_or((text, ""))),
    };
    let found = parts.and_then(|(host, port)| {
        let port = if port.is_empty() { "53" } else { port };
        let sound = host.parse::<std::net::IpAddr>().is_ok() || is_domain(host);
        let port = port.parse::<u16>().ok().filter(|port| *port > 0);
        port.filter(|_| sound).map(|port| Server {
            host: host.to_owned(),
            port,
        })
    });
    found.ok_or_else(|| format!("{text:?} is no name server, such as 192.0.2.53 or ns1.a.org:53"))
}

/// The bytes of a key.
pub fn tsig_key(secret: &Sensitive) -> Option<Vec<u8>> {
    let key = BASE64_STANDARD.decode(secret.expose().trim()).ok()?;
    (!key.is_empty()).then_some(key)
}

/// Whether a text can stand for a name in the DNS, as those do that have a meaning to others.
pub fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
            && !label.starts_with('-')
    };
    text.len() <= NAME_BYTES_MAX && text.split('.').all(label)
}

fn needed(keys: &Secret, key: &'static str) -> Result<String, (&'static str, String)> {
    read(keys, key).ok_or_else(|| missing(key))
}

fn missing(key: &'static str) -> (&'static str, String) {
    (key, "is missing".to_owned())
}

fn read(keys: &Secret, key: &str) -> Option<String> {
    let text = keys.get(key)?.expose().trim();
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// The keys that are read where the key `dns` says this.
pub fn keys_of(way: &str) -> &'static [&'static str] {
    match way.trim() {
        "rfc2136" => &[
            "dns_nameservers",
            "dns_wait",
            "dns_server",
            "dns_zone",
            "dns_tsig_name",
            "dns_tsig_secret",
            "dns_tsig_algorithm",
        ],
        "httpreq" => &[
            "dns_nameservers",
            "dns_wait",
            "httpreq_url",
            "httpreq_user",
            "httpreq_password",
            "httpreq_ca_bundle",
        ],
        "exec" => &["dns_nameservers", "dns_wait", "exec"],
        _ => &[],
    }
}

/// How long name servers get to answer a new record where nothing is said.
const WAIT: Duration = Duration::from_secs(120);
const SHORTEST: Duration = Duration::from_secs(1);
/// An authorization lives for an hour, and other certificates wait meanwhile.
const LONGEST: Duration = Duration::from_secs(1_800);
const NAME_BYTES_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Secret {
        let pairs = text
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(key, value)| (key.to_owned(), Sensitive::new(value.to_owned())))
            .collect()
    }

    const UPDATE: &str = "dns=rfc2136 dns_server=ns.a.org dns_tsig_name=k dns_tsig_secret=aHVudGVy";

    #[track_caller]
    fn wrong(text: &str, key: &str, told: &str) {
        let (found, reason) = dns(&keys(text)).unwrap_err();
        assert!(found == key && reason.contains(told), "{found}: {reason}");
    }

    #[test]
    fn an_update_needs_a_server_and_a_key() {
        let found = dns(&keys(UPDATE)).unwrap().writing.unwrap();
        assert_eq!(found.wait, WAIT);
        let Way::Update(update) = &found.way else {
            panic!("{found:?}");
        };
        assert_eq!(update.server, server("ns.a.org:53").unwrap());
        assert_eq!(update.algorithm, Algorithm::Sha256);
        assert_eq!(tsig_key(&update.secret).unwrap(), b"hunter");
        assert!(!format!("{found:?}").contains("aHVudGVy"));
        wrong("dns=rfc2136", "dns_server", "is missing");
        wrong(
            "dns=rfc2136 dns_server=a:b:c",
            "dns_server",
            "no name server",
        );
        wrong(
            "dns=rfc2136 dns_server=a dns_tsig_name=k",
            "dns_tsig_secret",
            "is missing",
        );
        wrong(
            "dns=rfc2136 dns_server=a dns_tsig_name=k dns_tsig_secret=??",
            "dns_tsig_secret",
            "is no base64",
        );
        wrong(
            &format!("{UPDATE} dns_tsig_algorithm=hmac-md5"),
            "dns_tsig_algorithm",
            "none of",
        );
        wrong(
            &format!("{UPDATE} dns_zone=a..b"),
            "dns_zone",
            "no name of a zone",
        );
        wrong(
            &format!("{UPDATE} dns_wait=3h"),
            "dns_wait",
            "between 1s and 30m",
        );
        wrong(
            &format!("{UPDATE} dns_nameservers=-,b"),
            "dns_nameservers",
            "no name server",
        );
    }

    #[test]
    fn a_webhook_has_no_password_in_its_address() {
        let text = "dns=httpreq httpreq_url=https://hook/dns/ httpreq_user=u httpreq_password=p";
        let found = dns(&keys(text)).unwrap().writing.unwrap();
        let Way::Httpreq(hook) = &found.way else {
            panic!("{found:?}");
        };
        assert_eq!(hook.url, "https://hook/dns");
        wrong("dns=httpreq", "httpreq_url", "is missing");
        wrong("dns=httpreq httpreq_url=ftp://a", "httpreq_url", "no http");
        wrong(
            "dns=httpreq httpreq_url=https://u:p@a",
            "httpreq_url",
            "httpreq_password",
        );
        wrong(
            "dns=httpreq httpreq_url=http://a httpreq_user=u",
            "httpreq_password",
            "missing",
        );
    }

    #[test]
    fn a_program_is_named_and_its_folder_is_not() {
        let found = dns(&keys("dns=exec exec=write-txt.sh"))
            .unwrap()
            .writing
            .unwrap();
        assert_eq!(found.way, Way::Exec("write-txt.sh".to_owned()));
        for name in ["/bin/sh", "../sh", "..", "-c", "a\\b", "$HOME"] {
            wrong(&format!("dns=exec exec={name}"), "exec", "--acme-exec-dir");
        }
        wrong("dns=route53", "dns", "none of rfc2136, httpreq and exec");
        wrong(
            "issuer_domain=no/domain",
            "issuer_domain",
            "no name of a domain",
        );
    }

    #[test]
    fn a_name_server_is_an_address_or_a_name() {
        for (text, host, port) in [
            ("192.0.2.53", "192.0.2.53", 53),
            ("192.0.2.53:5353", "192.0.2.53", 5353),
            ("2001:db8::53", "2001:db8::53", 53),
            ("[2001:db8::53]:5353", "2001:db8::53", 5353),
            ("ns1.a.org:5353", "ns1.a.org", 5353),
        ] {
            let found = server(text).unwrap();
            assert_eq!((found.host.as_str(), found.port), (host, port), "{text}");
        }
        for text in ["", ":53", "a b", "a:0", "a:x", "[::1", "::1::"] {
            assert!(server(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_key_that_is_read_is_asked_for() {
        for way in ["rfc2136", "httpreq", "exec"] {
            assert!(keys_of(way).contains(&"dns_wait"));
        }
        assert!(keys_of("route53").is_empty());
    }
}
