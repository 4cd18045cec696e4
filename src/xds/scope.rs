//! A scope of a listener's requests: those whose host falls into one of so many buckets, and the
//! routes for these alone (config.route.v3.ScopedRouteConfiguration). Envoy looks into no virtual
//! host to find the scope of a request: the listener computes the bucket out of the host, writes it
//! into a request header, and takes the routes by that.
//!
//! Which hosts have a bucket of theirs is the business of `layout`.

use envoy_types::pb::envoy::config::common::mutation_rules::v3::{
    HeaderMutation, header_mutation::Action,
};
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{
    ConfigSource, HeaderValue, HeaderValueOption, TypedExtensionConfig,
};
use envoy_types::pb::envoy::config::route::v3::ScopedRouteConfiguration;
use envoy_types::pb::envoy::config::route::v3::scoped_route_configuration::{
    Key,
    key::{Fragment, fragment},
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::http::early_header_mutation::header_mutation::v3 as early;
use hcm::scoped_routes::scope_key_builder::FragmentBuilder;
use hcm::scoped_routes::scope_key_builder::fragment_builder::header_value_extractor::ExtractType;
use hcm::scoped_routes::scope_key_builder::fragment_builder::{HeaderValueExtractor, Type};
use hcm::scoped_routes::{ConfigSpecifier, ScopeKeyBuilder};
use hcm::{
    HttpConnectionManager, ScopedRds, ScopedRoutes, http_connection_manager::RouteSpecifier,
};

use super::encode::{ads, any, milliseconds};

/// How many buckets there are. With 10,000 hosts two or three share one, so that one more is a
/// push of about a kilobyte; with more of them, those in which nobody is would cost more.
pub const BUCKETS: u16 = 1 << JUDGES.len();

/// The header that the listener writes the bucket into. What a client sends of the name is
/// overwritten, and it is taken away before a request is passed on.
pub const HEADER: &str = "x-osvc-igw-scope";

/// The bucket of a host, be it a domain or what a client has sent: letter case does not count, nor
/// a port behind it. Every text is in one.
pub fn bucket(host: &str) -> u16 {
    let host = host.as_bytes();
    let end = host.iter().position(|byte| *byte == b':');
    let host = host.get(..end.unwrap_or(host.len())).unwrap_or(host);
    let judged = JUDGES.iter().map(|judge| u16::from(judge.takes(host)));
    judged.fold(0, |bits, bit| bits << 1 | bit)
}

/// The name of the scope of a bucket, and of its route configuration.
pub fn name(routes: &str, bucket: u16) -> String {
    format!("{routes}{MARK}{bucket:04x}")
}

/// The route configuration and the bucket that a name of a scope is made of.
pub(super) fn parsed(name: &str) -> Option<(&str, u16)> {
    let (routes, bucket) = name.rsplit_once(MARK)?;
    let bucket = u16::from_str_radix(bucket, 16).ok()?;
    (bucket < BUCKETS).then_some((routes, bucket))
}

/// Writes the scope of a bucket. Scopes of all listeners come to each of them: the key has the
/// name of the routes in it.
pub(super) fn encode(routes: &str, bucket: u16) -> ScopedRouteConfiguration {
    let bits = JUDGES.len();
    let key = format!("{routes} {bucket:0bits$b}");
    ScopedRouteConfiguration {
        name: name(routes, bucket),
        route_configuration_name: name(routes, bucket),
        key: Some(Key {
            fragments: vec![Fragment {
                r#type: Some(fragment::Type::StringKey(key)),
            }],
        }),
        ..ScopedRouteConfiguration::default()
    }
}

/// Lets a connection manager route by these scopes.
pub(super) fn route_by(manager: &mut HttpConnectionManager, routes: &str) {
    manager.early_header_mutation_extensions = vec![TypedExtensionConfig {
        name: EARLY_NAME.to_owned(),
        typed_config: Some(any(EARLY, &mutation(routes))),
    }];
    let builder = FragmentBuilder {
        r#type: Some(Type::HeaderValueExtractor(HeaderValueExtractor {
            name: HEADER.to_owned(),
            extract_type: Some(ExtractType::Index(0)),
            ..HeaderValueExtractor::default()
        })),
    };
    manager.route_specifier = Some(RouteSpecifier::ScopedRoutes(ScopedRoutes {
        name: routes.to_owned(),
        scope_key_builder: Some(ScopeKeyBuilder {
            fragments: vec![builder],
        }),
        rds_config_source: Some(patient()),
        config_specifier: Some(ConfigSpecifier::ScopedRds(ScopedRds {
            scoped_rds_config_source: Some(patient()),
            ..ScopedRds::default()
        })),
    }));
}

/// The stream that everything comes on. There are thousands of them, and while Envoy waits, the
/// listener before this one serves.
fn patient() -> ConfigSource {
    ConfigSource {
        initial_fetch_timeout: Some(milliseconds(FETCH_MS)),
        ..ads()
    }
}

/// The header, as Envoy's expressions compute it (config.core.v3, `%CEL(...)%`).
fn mutation(routes: &str) -> early::HeaderMutation {
    let bits = JUDGES
        .iter()
        .map(|judge| format!("%CEL(request.host.matches('{}')?'1':'0')%", judge.regex()));
    let value = format!("{} {}", routes.replace('%', "%%"), bits.collect::<String>());
    let header = HeaderValueOption {
        header: Some(HeaderValue {
            key: HEADER.to_owned(),
            value,
            ..HeaderValue::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    };
    early::HeaderMutation {
        mutations: vec![HeaderMutation {
            action: Some(Action::Append(header)),
        }],
    }
}

/// One bit of a bucket: whether an even number of some characters is at some places of a host.
/// That is what a regular expression can tell which Envoy evaluates in one pass.
struct Judge {
    /// Characters in front that are not looked at.
    skipped: usize,
    /// Of so many characters the first is looked at.
    stride: usize,
    /// The characters that are counted: from one to the other.
    digits: (u8, u8),
    letters: (u8, u8),
}

const fn judge(skipped: usize, stride: usize, digits: &[u8; 2], letters: &[u8; 2]) -> Judge {
    Judge {
        skipped,
        stride,
        digits: (digits[0], digits[1]),
        letters: (letters[0], letters[1]),
    }
}

/// Chosen out of many, so that names of several kinds (numbered ones, words, subdomains of one
/// domain) are spread evenly.
const JUDGES: [Judge; 13] = [
    judge(0, 1, b"59", b"nz"),
    judge(0, 1, b"36", b"ip"),
    judge(2, 2, b"37", b"np"),
    judge(0, 1, b"23", b"bn"),
    judge(0, 1, b"15", b"kt"),
    judge(1, 3, b"59", b"oq"),
    judge(0, 1, b"28", b"hs"),
    judge(2, 3, b"69", b"uy"),
    judge(2, 3, b"36", b"or"),
    judge(1, 2, b"17", b"df"),
    judge(1, 2, b"24", b"de"),
    judge(1, 3, b"35", b"qr"),
    judge(2, 2, b"48", b"tz"),
];

impl Judge {
    /// What the expression says of a host without its port.
    fn takes(&self, host: &[u8]) -> bool {
        let Some(rest) = host.get(self.skipped..) else {
            return false;
        };
        if self.stride > 1 && !host.iter().all(u8::is_ascii_graphic) {
            return false;
        }
        let mut even = true;
        for group in rest.chunks(self.stride) {
            let Some(first) = group.first().filter(|byte| is_known(**byte)) else {
                return false;
            };
            if self.counts(*first) {
                if group.len() < self.stride {
                    return false;
                }
                even = !even;
            }
        }
        even
    }

    fn counts(&self, byte: u8) -> bool {
        let within = |(first, last): (u8, u8)| (first..=last).contains(&byte.to_ascii_lowercase());
        within(self.digits) || within(self.letters)
    }

    /// As RE2 reads it: no quote, backslash or percent sign, which would end the text around it.
    fn regex(&self) -> String {
        let counted = class(|byte| self.counts(byte));
        let other = class(|byte| !self.counts(byte));
        let front = ANY.repeat(self.skipped);
        let between = ANY.repeat(self.stride - 1);
        let (counted, passed) = (counted + &between, other.clone() + &between);
        let last = match self.stride {
            1 => String::new(),
            2 => format!("{other}?"),
            _ => format!("({other}{ANY}?)?"),
        };
        format!("^{front}({passed}|{counted}({passed})*{counted})*{last}(:|$)")
    }
}

/// The characters of host names. A host with others is not looked at any further.
fn is_known(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

/// The class of such characters, as an expression.
fn class(is_in: impl Fn(u8) -> bool) -> String {
    let mut ranges: Vec<(u8, u8)> = Vec::new();
    let all = (b'.'..=b'z').filter(|byte| is_known(*byte) && is_in(*byte));
    for byte in all {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == byte => *last = byte,
            _ => ranges.push((byte, byte)),
        }
    }
    let ranges = ranges.into_iter().map(|(first, last)| {
        let (first, last) = (char::from(first), char::from(last));
        match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        }
    });
    // Where it is last it stands for itself.
    let dash = if is_in(b'-') { "-" } else { "" };
    format!("[{}{dash}]", ranges.collect::<String>())
}

/// Any character that can be in a host and ends none.
const ANY: &str = "[!-9;-~]";
/// Envoy itself would wait 15 s, and then answer 404.
const FETCH_MS: u32 = 120_000;
/// In no name of a route configuration otherwise.
const MARK: char = '~';
const EARLY_NAME: &str = "envoy.http.early_header_mutation.header_mutation";
const EARLY: &str = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_host_is_in_the_bucket_of_its_domain_however_it_is_written() {
        for domain in ["shop7.example.com", "a", "x_y-z.acme.org", "10.0.0.1", ""] {
            let bucket = bucket(domain);
            for host in [domain.to_uppercase(), format!("{domain}:8080")] {
                assert_eq!(super::bucket(&host), bucket, "{host}");
            }
        }
        assert_eq!(bucket("[::1]:80"), bucket("[::1]"));
    }

    #[test]
    fn whatever_is_sent_is_in_a_bucket() {
        for host in ["", ":", "[", "\u{fc}\0", "a b", "~", &"a".repeat(70_000)] {
            assert!(bucket(host) < BUCKETS, "{host}");
        }
    }

    #[test]
    fn names_of_scopes_are_read_back() {
        let routes = "0.0.0.0:443/tcp/test/svc/a.expose#1";
        for bucket in [0, 1, BUCKETS - 1] {
            assert_eq!(parsed(&name(routes, bucket)), Some((routes, bucket)));
        }
        assert_eq!(parsed(routes), None);
        assert_eq!(parsed("a~2000"), None);
    }

    #[test]
    fn hosts_of_many_kinds_are_spread_evenly() {
        let kinds: [fn(usize) -> String; 3] = [
            |at| format!("h{at:04}.test"),
            |at| format!("customer-{at}.eu.acme.org"),
            |at| format!("shop{}.example{}.com", at % 100, at / 100),
        ];
        for kind in kinds {
            let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
            for at in 0..10_000 {
                *counts.entry(bucket(&kind(at))).or_default() += 1;
            }
            let mean: usize = counts.values().map(|count| count * count).sum();
            println!(
                "{}: {} buckets, {} beside",
                kind(1),
                counts.len(),
                mean / 10_000
            );
            // With how many one shares its bucket; chance alone would come to 2.2.
            assert!(mean / 10_000 < 7, "{}", kind(1));
        }
    }

    /// What Envoy is given says the same as what is computed here. Envoy itself is asked in
    /// tests/scopes.rs.
    #[test]
    fn the_expressions_say_what_is_computed() {
        let mut state = 1_u64;
        let mut random = move |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % below
        };
        let alphabet = b"abcxyzABCXYZ0123456789.-_:[]~! %";
        let judges: Vec<(&Judge, regex::Regex)> = JUDGES
            .iter()
            .map(|judge| (judge, regex::Regex::new(&judge.regex()).unwrap()))
            .collect();
        for round in 0..20_000 {
            let within = if round % 2 == 0 { 25 } else { alphabet.len() };
            let host = (0..random(24)).map(|_| char::from(alphabet[random(within)]));
            let host: String = host.collect();
            let end = host.find(':').unwrap_or(host.len());
            for (judge, regex) in &judges {
                let takes = judge.takes(&host.as_bytes()[..end]);
                assert_eq!(takes, regex.is_match(&host), "{host:?} {regex}");
            }
        }
    }

    #[test]
    fn an_expression_has_nothing_that_ends_the_text_around_it() {
        for judge in &JUDGES {
            let regex = judge.regex();
            assert!(!regex.contains(['\'', '"', '\\', '%']), "{regex}");
        }
    }
}
