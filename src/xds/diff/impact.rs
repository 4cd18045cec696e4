//! What Envoy does when it is sent a change, in words. Each is shown with a real Envoy and an
//! open connection by `tests/impact.rs`.

use serde::Serialize;
use serde_json::Value;

use super::parts::Parts;
use super::{Action, ResourceType};

/// What a change does to traffic.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Impact {
    /// How bad it is.
    pub level: Level,
    /// The same in words.
    pub text: String,
}

/// How bad a change is for traffic, the least first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing that runs notices it.
    Nothing,
    /// New requests, connections or handshakes go another way; open ones do not notice.
    NewTraffic,
    /// A cluster warms anew, and the old one serves until the new one can.
    Rewarms,
    /// An endpoint leaves: what it has open ends by itself.
    EndpointDrains,
    /// HTTP clients of a chain are asked to connect again.
    ChainDrains,
    /// The same for all of a listener.
    ListenerReplaced,
    /// Connections are cut that cannot be asked to go.
    ConnectionsCut,
}

impl Level {
    /// The word for it in documents.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::NewTraffic => "new_traffic",
            Self::Rewarms => "rewarms",
            Self::EndpointDrains => "endpoint_drains",
            Self::ChainDrains => "chain_drains",
            Self::ListenerReplaced => "listener_replaced",
            Self::ConnectionsCut => "connections_cut",
        }
    }
}

/// Of a change to a whole resource, or to what concerns all of it.
pub(super) fn of_resource(
    kind: ResourceType,
    action: Action,
    old: Option<&Parts>,
    new: Option<&Parts>,
) -> Impact {
    match (kind, action) {
        (ResourceType::Cluster, Action::Added) => {
            nothing("it warms before anything sends traffic to it")
        }
        (ResourceType::Cluster, Action::Changed) => rewarms(new),
        (ResourceType::Cluster, Action::Removed) => nothing(
            "it goes when nothing sends traffic to it any more; what it has open ends by itself",
        ),
        (ResourceType::Endpoint, Action::Added) => nothing("the endpoints of a new cluster"),
        (ResourceType::Endpoint, Action::Removed) => nothing("they go with their cluster"),
        (ResourceType::Endpoint, Action::Changed) => {
            new_traffic("new requests and connections are spread otherwise")
        }
        (ResourceType::Secret, Action::Added) => nothing("what uses it comes with it"),
        (ResourceType::Secret, Action::Removed) => nothing("nothing uses it any more"),
        (ResourceType::Secret, Action::Changed) => {
            new_traffic("new TLS handshakes use it; open connections go on")
        }
        (ResourceType::Scope, _) => nothing("it comes and goes with its routes"),
        (ResourceType::Listener, Action::Added) => nothing("a new address is listened on"),
        (ResourceType::Listener, Action::Removed) => closes(old),
        (ResourceType::Listener, Action::Changed) => replaced(old),
        (ResourceType::Route, Action::Added) => nothing("the routes of a new listener or chain"),
        (ResourceType::Route, Action::Removed) => nothing("they go with their listener or chain"),
        (ResourceType::Route, Action::Changed) => routed(),
    }
}

/// Of a change to one part of a resource that stays.
pub(super) fn of_part(
    kind: ResourceType,
    old: Option<&Value>,
    new: Option<&Value>,
    whole: &Parts,
) -> Impact {
    match (kind, old, new) {
        (ResourceType::Listener, Some(old), after) => chain_drains(old, after.is_none()),
        (ResourceType::Listener, None, _) => {
            new_traffic("new connections that match it go to it; open ones of other chains go on")
        }
        (ResourceType::Route, Some(_), None) => new_traffic(
            "new requests to its domains are answered as if they were unknown; open ones go on",
        ),
        (ResourceType::Route, ..) => routed(),
        (ResourceType::Endpoint, old, new) => endpoint(old, new, whole),
        _ => nothing("nothing sees it"),
    }
}

fn endpoint(old: Option<&Value>, new: Option<&Value>, whole: &Parts) -> Impact {
    let drains = |value: Option<&Value>| value.is_none_or(|it| it.get("health_status").is_some());
    if !drains(new) {
        return match drains(old) {
            true => new_traffic("it takes its share of new requests and connections"),
            false => new_traffic("new requests and connections are spread otherwise"),
        };
    }
    let rest = if whole.parts.values().any(|one| !drains(Some(one))) {
        "new ones go to the others"
    } else if whole.parts.is_empty() {
        "no endpoint is left for new ones: requests get a 503, and connections are closed"
    } else {
        // Envoy, "Panic threshold": where no host is healthy, all of them get traffic.
        "new ones go to what drains, as nothing else is left"
    };
    Impact {
        level: Level::EndpointDrains,
        text: format!("its open requests and connections go on to their end; {rest}"),
    }
}

fn rewarms(new: Option<&Parts>) -> Impact {
    let checks = new.and_then(|new| new.head.get("health_checks"));
    let ready = match checks {
        Some(_) => "has its endpoints and their first checks",
        None => "has its endpoints",
    };
    Impact {
        level: Level::Rewarms,
        text: format!(
            "the cluster warms anew: the old one serves until the new one {ready}; open requests \
             and connections go on"
        ),
    }
}

fn routed() -> Impact {
    new_traffic("new requests alone, also of open connections; requests under way go on")
}

/// A chain that changes or goes takes its connections with it, and no others (Envoy, "Listener
/// filter chain only update").
fn chain_drains(chain: &Value, goes: bool) -> Impact {
    let traffic = Traffic::of(chain);
    let what = if goes { "goes" } else { "is replaced" };
    let after = if goes {
        ", and new ones are refused or go to another chain"
    } else {
        ""
    };
    match traffic.is_http {
        true => Impact {
            level: Level::ChainDrains,
            text: format!(
                "the chain {what}: {traffic} clients are asked to connect again, and what is \
                 still open when {DRAIN_TIME} ends is cut{after}; other chains go on"
            ),
        },
        false => Impact {
            level: Level::ConnectionsCut,
            text: format!(
                "the chain {what}: {traffic} connections through it are cut when {DRAIN_TIME} \
                 ends{after}; other chains go on"
            ),
        },
    }
}

fn replaced(old: Option<&Parts>) -> Impact {
    let traffic = all_traffic(old);
    if is_udp(old) {
        return Impact {
            level: Level::ListenerReplaced,
            text: "the listener is replaced: UDP sessions begin anew with the next datagram"
                .to_owned(),
        };
    }
    let (level, how) = match traffic.iter().all(|it| it.is_http) {
        true => (
            Level::ListenerReplaced,
            "clients are asked to connect again",
        ),
        false => (Level::ConnectionsCut, "connections stay open for a while"),
    };
    Impact {
        level,
        text: format!(
            "the listener is replaced without a refused connection: open {} {how}, and what is \
             left when {DRAIN_TIME} ends is cut",
            listed(&traffic)
        ),
    }
}

fn closes(old: Option<&Parts>) -> Impact {
    if is_udp(old) {
        return Impact {
            level: Level::ConnectionsCut,
            text: "the address is not listened on any more: UDP sessions end".to_owned(),
        };
    }
    let traffic = all_traffic(old);
    Impact {
        level: Level::ConnectionsCut,
        text: format!(
            "the address is not listened on any more: open {} connections are cut when \
             {DRAIN_TIME} ends",
            listed(&traffic)
        ),
    }
}

/// What kind of traffic a chain carries.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Traffic {
    is_http: bool,
    word: &'static str,
    names: Vec<String>,
}

impl Traffic {
    fn of(chain: &Value) -> Self {
        let filters = chain.get("filters").and_then(Value::as_array);
        let mut filters = filters.into_iter().flatten();
        let is_http = filters.any(|filter| {
            let name = filter.get("name").and_then(Value::as_str);
            name.is_some_and(|name| name.ends_with("http_connection_manager"))
        });
        let matches = chain.get("filter_chain_match");
        let transport = matches.and_then(|it| it.get("transport_protocol")?.as_str());
        let socket = chain.get("transport_socket");
        let is_quic = socket
            .and_then(|it| it.get("name")?.as_str())
            .is_some_and(|name| name.ends_with("quic"));
        let names = matches.and_then(|it| it.get("server_names")?.as_array());
        let names = names.into_iter().flatten().filter_map(Value::as_str);
        Self {
            is_http,
            word: match (is_http, socket.is_some()) {
                (true, _) if is_quic => "HTTP/3",
                (true, true) => "HTTPS",
                (true, false) => "HTTP",
                (false, true) => "TLS",
                (false, false) if transport == Some("tls") => "TLS passthrough",
                (false, false) => "TCP",
            },
            names: names.map(str::to_owned).collect(),
        }
    }
}

impl std::fmt::Display for Traffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word)?;
        match &self.names[..] {
            [] => Ok(()),
            [only] => write!(f, " ({only})"),
            [first, rest @ ..] => write!(f, " ({first} and {} more)", rest.len()),
        }
    }
}

fn all_traffic(parts: Option<&Parts>) -> Vec<Traffic> {
    let chains = parts.into_iter().flat_map(|parts| parts.parts.values());
    let mut traffic: Vec<Traffic> = chains.map(Traffic::of).collect();
    traffic.sort();
    traffic
}

fn listed(traffic: &[Traffic]) -> String {
    let mut words: Vec<&str> = traffic.iter().map(|it| it.word).collect();
    words.sort_unstable();
    words.dedup();
    match words[..] {
        [] => "TCP".to_owned(),
        _ => words.join(" and "),
    }
}

fn is_udp(parts: Option<&Parts>) -> bool {
    let head = parts.map(|parts| &parts.head);
    let is_quic = || all_traffic(parts).iter().any(|it| it.word == "HTTP/3");
    head.is_some_and(|head| head.get("udp_listener_config").is_some()) && !is_quic()
}

fn nothing(text: &str) -> Impact {
    Impact {
        level: Level::Nothing,
        text: text.to_owned(),
    }
}

fn new_traffic(text: &str) -> Impact {
    Impact {
        level: Level::NewTraffic,
        text: text.to_owned(),
    }
}

/// Envoy, "Draining": what is open may go on for so long.
const DRAIN_TIME: &str = "Envoy's drain time (--drain-time-s, 600 s by default)";
