//! From `vhost` and `route` sections to virtual hosts and routes. What a single route does is
//! read by the files beside this one.

mod conditions;
mod forward;
mod hash;
mod headers;
pub mod model;
mod policies;
mod redirect;
pub mod spread;
mod texts;

use std::collections::BTreeSet;

use super::claims::{Claim, Claims};
use super::exposes::Exposed;
use super::{Origin, VirtualHost, regex};
use crate::inventory::Problem;
use crate::inventory::keywords::{Keywords, shown};
use conditions::conditions;
use forward::{FORWARD_KEYWORDS, forward};
use model::{PathMatch, Route, RouteAction};
use redirect::redirect;

/// Builds the virtual hosts of an expose, claiming their domains on `listener`.
///
/// A section that does not exist or does not parse costs itself; a virtual host that is left
/// without a domain is left out.
pub fn virtual_hosts(
    exposed: &Exposed<'_>,
    listener: &str,
    claims: &mut Claims,
    problems: &mut BTreeSet<Problem>,
) -> Vec<VirtualHost> {
    let mut hosts = Vec::new();
    let mut seen = BTreeSet::new();
    for section in exposed
        .expose
        .vhosts
        .iter()
        .filter(|section| seen.insert(*section))
    {
        let Some(keywords) = exposed.section_keywords("vhost", section) else {
            let reason = format!("names {}, which is no vhost section", shown(section));
            let problem = exposed.problem("vhosts", reason);
            problems.insert(problem.hence(match exposed.expose.vhosts.len() {
                1 => "the expose is not served",
                _ => "it is left out",
            }));
            continue;
        };
        let origin = Origin {
            object: exposed.owner.clone(),
            section: section.as_str().into(),
        };
        // Two exposes may name one vhost: the listener has its domains once all the same.
        let claimant = Origin {
            object: exposed.owner.clone(),
            section: format!("{} {section}", exposed.section).into(),
        };
        let domains = domains(exposed, &keywords, problems);
        let domains: Vec<String> = domains
            .into_iter()
            .filter(|domain| {
                let claim = Claim::Domain(domain.clone());
                match claims.claim(listener, claim, &claimant) {
                    Ok(()) => true,
                    Err(holder) => {
                        let reason = taken(domain, listener, &holder);
                        problems.insert(keywords.problem("domains", reason));
                        false
                    }
                }
            })
            .collect();
        if domains.is_empty() {
            continue;
        }
        hosts.push(VirtualHost {
            name: format!("{}.{section}", exposed.cluster()),
            origin,
            cluster: exposed.cluster(),
            domains,
            allow_from: exposed.expose.allow_from.clone(),
            http3_port: None,
            routes: routes(exposed, &keywords, problems),
        });
    }
    hosts
}

/// The sentence for a claim that came second.
pub fn taken(what: &str, listener: &str, holder: &Origin) -> String {
    let Origin { object, section } = holder;
    format!("{what} on {listener} is taken by {object} {section}, which comes first")
}

fn domains(
    exposed: &Exposed<'_>,
    keywords: &Keywords<'_>,
    problems: &mut BTreeSet<Problem>,
) -> Vec<String> {
    let words = match keywords.words("domains") {
        Ok(words) if words.is_empty() => vec![exposed.owner.name().to_owned()],
        Ok(words) => words,
        Err(problem) => {
            problems.insert(problem.hence("the vhost is left out"));
            return Vec::new();
        }
    };
    let mut domains = Vec::new();
    for word in words {
        // The agent's default is the object's name, which for a slave is not what is exposed.
        let word = match word == exposed.definer.name() {
            true => exposed.owner.name(),
            false => &word,
        };
        match domain(word) {
            Ok(domain) if !domains.contains(&domain) => domains.push(domain),
            Ok(_) => {}
            Err(reason) => {
                let problem = keywords.problem("domains", reason);
                problems.insert(problem.hence("it is left out"));
            }
        }
    }
    domains
}

/// A host pattern in the form that Envoy compares: lower case, without a port.
///
/// One `*` may stand for anything, at the beginning or at the end
/// (config.route.v3.VirtualHost.domains).
///
/// # Errors
/// Why it is none.
pub fn domain(word: &str) -> Result<String, String> {
    let host = match word.rsplit_once(':') {
        Some((host, port)) if is_port(port) => host,
        _ => word,
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if bare.is_some_and(|bare| bare.parse::<std::net::Ipv6Addr>().is_ok()) {
        return Ok(host.to_ascii_lowercase());
    }
    let rest = match (host.strip_prefix('*'), host.strip_suffix('*')) {
        (Some(rest), _) | (None, Some(rest)) => rest,
        (None, None) => host,
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || host.len() > DOMAIN_BYTES_MAX || !rest.chars().all(is_host) {
        let hint = if host.is_ascii() {
            ""
        } else {
            " (write it in its xn-- form)"
        };
        return Err(format!("{} is no domain{hint}", shown(word)));
    }
    Ok(host.to_ascii_lowercase())
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn routes(
    exposed: &Exposed<'_>,
    vhost: &Keywords<'_>,
    problems: &mut BTreeSet<Problem>,
) -> Vec<Route> {
    let sections = match vhost.words("routes") {
        Ok(sections) => sections,
        Err(problem) => {
            problems.insert(problem.hence("requests of the vhost are answered with 404"));
            return Vec::new();
        }
    };
    if sections.is_empty() {
        return vec![Route::default_to(exposed.cluster())];
    }
    let mut routes = Vec::new();
    for section in sections {
        let Some(keywords) = exposed.section_keywords("route", &section) else {
            let reason = format!("names {}, which is no route section", shown(&section));
            let problem = vhost.problem("routes", reason);
            problems.insert(problem.hence("it is left out"));
            continue;
        };
        match route(exposed, &section, &keywords, problems) {
            Ok(route) => routes.push(route),
            Err(problem) => {
                problems.insert(problem.hence("the route is left out"));
            }
        }
    }
    if routes.is_empty() {
        let problem = vhost.problem("routes", "has no route that can be served");
        problems.insert(problem.hence("its requests are answered with 404"));
    }
    routes
}

/// What decides where requests go costs the route where it is bad, what tunes how they go there
/// costs only itself.
fn route(
    exposed: &Exposed<'_>,
    section: &str,
    keywords: &Keywords<'_>,
    problems: &mut BTreeSet<Problem>,
) -> Result<Route, Problem> {
    let case_sensitive = keywords.boolean("match_case_sensitive")?.unwrap_or(true);
    let path = path(keywords, case_sensitive)?;
    let action = match redirect(keywords)? {
        Some(redirect) => {
            let unused = FORWARD_KEYWORDS.iter();
            for keyword in unused.filter(|keyword| forward::is_set(keywords, keyword)) {
                let reason = "has no effect: the route has redirect keywords, which win";
                problems.insert(keywords.problem(keyword, reason));
            }
            if redirect.host.is_none() && redirect.path.is_none() && !redirect.https {
                let reason = "redirects clients to where they are: no host, path or scheme is set";
                problems.insert(keywords.problem("", reason));
            }
            RouteAction::Redirect(Box::new(redirect))
        }
        None => RouteAction::Forward(Box::new(forward(exposed, keywords, problems)?)),
    };
    let compression = policies::compression(keywords).unwrap_or_else(|problem| {
        problems.insert(problem.hence("it has no effect"));
        BTreeSet::new()
    });
    Ok(Route {
        section: section.to_owned(),
        path,
        case_sensitive,
        conditions: conditions(keywords)?,
        action,
        request_headers: headers::edits(keywords, "request")?,
        response_headers: headers::edits(keywords, "response")?,
        rate_limit: policies::rate_limit(keywords)?,
        cors: policies::cors(keywords)?.map(Box::new),
        compression,
    })
}

fn path(keywords: &Keywords<'_>, case_sensitive: bool) -> Result<PathMatch, Problem> {
    let text = |keyword| match keywords.text(keyword)? {
        Some(text) if text.is_empty() => Err(keywords.problem(keyword, "is empty")),
        text => Ok(text),
    };
    let path = text("match_path")?.map(PathMatch::Path);
    // An empty prefix is one of every path.
    let prefix = keywords.text("match_prefix")?.map(PathMatch::Prefix);
    let regex = match text("match_regex")? {
        // Envoy's own flag for letter case is for paths and prefixes alone.
        Some(regex) if !case_sensitive => Some(format!("(?i){regex}")),
        regex => regex,
    };
    if let Some(Err(reason)) = regex.as_deref().map(regex::check) {
        return Err(keywords.problem("match_regex", reason));
    }
    let mut matches = [path, prefix, regex.map(PathMatch::Regex)]
        .into_iter()
        .flatten();
    let path = matches
        .next()
        .unwrap_or_else(|| PathMatch::Prefix("/".to_owned()));
    if matches.next().is_some() {
        let reason = "has more than one of match_path, match_prefix and match_regex";
        return Err(keywords.problem("", reason));
    }
    Ok(path)
}

/// The longest DNS name.
const DOMAIN_BYTES_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, expect: Result<&str, &str>) {
        let expect = expect.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(domain(word), expect);
    }

    #[test]
    fn a_domain_loses_its_port_and_its_capitals() {
        check("Web1.ACME.org:8080", Ok("web1.acme.org"));
    }

    #[test]
    fn one_star_stands_at_an_end() {
        check("*", Ok("*"));
        check("*.acme.org", Ok("*.acme.org"));
        check("www.acme.*", Ok("www.acme.*"));
        check("*.acme.*", Err("\"*.acme.*\" is no domain"));
    }

    #[test]
    fn an_address_is_a_domain_too() {
        check("10.0.0.1:80", Ok("10.0.0.1"));
        check("[FE80::1]:80", Ok("[fe80::1]"));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        check("{env.nope}", Err("\"{env.nope}\" is no domain"));
        check("", Err("\"\" is no domain"));
        check(
            "bücher.de",
            Err("\"bücher.de\" is no domain (write it in its xn-- form)"),
        );
    }
}
