//! PURE: the services' own Envoy JSON as Envoy's messages. Whether it can be taken is found out
//! before anything is encoded, so that an expose which cannot be served is left out as a whole.
//!
//! The order is: translate, read strictly, point every config source at ADS, fill up as the
//! encoders do, check the rules. What is forced is not looked at in the user's data.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use envoy_types::pb::google::protobuf::Any;
use prost::Message;
use prost_reflect::{DynamicMessage, ReflectMessage, Value as Pb};
use serde_json::{Value, json};

use super::api::{api, successor};
use super::encode::any;
use super::json::{ANY, JsonError, parse};
use super::{cluster, listener, preflight, v2};
use crate::gateway::user_json::consequence;
use crate::gateway::{ChainAction, FilterChain, Gateway, Origin, UserJson};
use crate::inventory::Problem;

/// A message that a service has given, to be filled up by an encoder.
#[derive(Clone, Debug, Default)]
pub struct Given<M> {
    /// What was given; the default message for nothing.
    pub message: M,
    fields: BTreeSet<String>,
}

impl<M> Given<M> {
    /// Whether the service has set that field, be it to its default value.
    pub fn has(&self, field: &str) -> bool {
        self.fields.contains(field)
    }
}

/// What a service's JSON is the JSON of.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Form {
    /// A cluster.
    Cluster,
    /// A connection manager.
    Http,
    /// A TCP proxy.
    Tcp,
}

impl Form {
    /// What the filter of a chain is configured by.
    pub(super) fn of(chain: &FilterChain) -> Self {
        match chain.action {
            ChainAction::Http => Self::Http,
            ChainAction::Tcp { .. } => Self::Tcp,
        }
    }

    fn type_name(self) -> &'static str {
        match self {
            Self::Cluster => "envoy.config.cluster.v3.Cluster",
            Self::Http => listener::HTTP_MANAGER,
            Self::Tcp => listener::TCP_PROXY,
        }
    }

    /// What the gateway alone decides. These fields are not even read.
    fn forced(self) -> &'static [&'static str] {
        match self {
            Self::Cluster => &[
                "name",
                "type",
                "cluster_type",
                "eds_cluster_config",
                "hosts",
                "load_assignment",
            ],
            Self::Http => &["stat_prefix", "rds", "route_config", "scoped_routes"],
            Self::Tcp => &["stat_prefix", "cluster", "weighted_clusters"],
        }
    }
}

/// What became of every service's JSON, so that each is read once.
#[derive(Clone, Default, Eq, PartialEq)]
pub(super) struct Verdicts(BTreeMap<(Form, UserJson), Arc<Result<Taken, String>>>);

/// JSON that was taken.
#[derive(Clone, Eq, PartialEq)]
struct Taken {
    /// The message that it is.
    body: Vec<u8>,
    /// The fields that it sets.
    fields: BTreeSet<String>,
}

impl fmt::Debug for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} verdicts", self.0.len())
    }
}

impl Verdicts {
    /// What an encoder starts from.
    pub(super) fn given<M: Message + Default>(
        &self,
        form: Form,
        json: Option<&UserJson>,
    ) -> Given<M> {
        let verdict = json.and_then(|json| self.0.get(&(form, json.clone())));
        match verdict.map(AsRef::as_ref) {
            Some(Ok(taken)) => taken.given(),
            _ => Given::default(),
        }
    }

    fn judge(
        &mut self,
        previous: &Self,
        form: Form,
        json: &UserJson,
        fill: impl FnOnce(&Taken) -> Any,
    ) -> Option<String> {
        let key = (form, json.clone());
        let verdict = match previous.0.get(&key).or_else(|| self.0.get(&key)) {
            Some(known) => Arc::clone(known),
            None => Arc::new(take(form, json, fill)),
        };
        let reason = verdict.as_ref().as_ref().err().cloned();
        self.0.insert(key, verdict);
        reason
    }
}

impl Taken {
    fn given<M: Message + Default>(&self) -> Given<M> {
        Given {
            message: M::decode(self.body.as_slice()).unwrap_or_default(),
            fields: self.fields.clone(),
        }
    }
}

/// A gateway with nothing in it that cannot be taken.
pub(super) struct Settled<'a> {
    pub(super) gateway: Cow<'a, Gateway>,
    pub(super) verdicts: Verdicts,
    pub(super) problems: Vec<Problem>,
}

/// Judges all JSON of the services. What cannot be taken is left out: the data, or where that
/// protects something the whole expose.
pub(super) fn settle<'a>(gateway: &'a Gateway, previous: &Verdicts) -> Settled<'a> {
    let mut verdicts = Verdicts::default();
    let mut problems = Vec::new();
    let mut bad: BTreeSet<(Form, UserJson)> = BTreeSet::new();
    let mut refused: BTreeSet<Origin> = BTreeSet::new();
    let mut judge = |form: Form,
                     json: &UserJson,
                     keyword: &str,
                     origins: &[Origin],
                     fill: &dyn Fn(&Taken) -> Any| {
        let Some(reason) = verdicts.judge(previous, form, json, fill) else {
            return;
        };
        bad.insert((form, json.clone()));
        for origin in origins {
            problems.push(Problem {
                object: origin.object.clone(),
                section: origin.section.clone(),
                keyword: keyword.to_owned(),
                reason: format!("{reason}; {}", consequence(json.protects())),
            });
        }
        if json.protects() {
            refused.extend(origins.iter().cloned());
        }
    };
    for (name, value) in &gateway.clusters {
        if let Some(json) = &value.data {
            let origins = std::slice::from_ref(&value.origin);
            judge(Form::Cluster, json, "cluster_data", origins, &|taken| {
                let message = cluster::encode(name, value, taken.given());
                any(Form::Cluster.type_name(), &message)
            });
        }
    }
    for (name, value) in &gateway.listeners {
        for chain in &value.chains {
            if let Some(data) = &chain.data {
                let form = Form::of(chain);
                judge(
                    form,
                    &data.json,
                    "filter_config_data",
                    &data.origins,
                    &|taken| {
                        match form {
                            Form::Tcp => {
                                listener::filter(name, chain, Given::default(), taken.given())
                            }
                            _ => listener::filter(name, chain, taken.given(), Given::default()),
                        }
                        .1
                    },
                );
            }
        }
    }
    let mut gateway = Cow::Borrowed(gateway);
    if !bad.is_empty() {
        leave_out(gateway.to_mut(), &bad, &refused);
    }
    Settled {
        gateway,
        verdicts,
        problems,
    }
}

fn leave_out(gateway: &mut Gateway, bad: &BTreeSet<(Form, UserJson)>, refused: &BTreeSet<Origin>) {
    let Gateway {
        clusters,
        endpoints,
        listeners,
        routes,
        ..
    } = gateway;
    clusters.retain(|_, cluster| !refused.contains(&cluster.origin));
    endpoints.retain(|name, _| clusters.contains_key(name));
    for cluster in clusters.values_mut() {
        let known = cluster.data.clone();
        cluster.data = known.filter(|json| !bad.contains(&(Form::Cluster, json.clone())));
    }
    for listener in listeners.values_mut() {
        for chain in &mut listener.chains {
            let form = Form::of(chain);
            let known = chain.data.take();
            chain.data = known.filter(|data| !bad.contains(&(form, data.json.clone())));
            chain.origins.retain(|origin| !refused.contains(origin));
        }
        listener.chains.retain(|chain| !chain.origins.is_empty());
    }
    listeners.retain(|_, listener| !listener.chains.is_empty());
    routes.retain(|name, _| listeners.contains_key(name));
    for routes in routes.values_mut() {
        routes.virtual_hosts.retain(|host| {
            let own = |origin: &Origin| {
                let expose = format!("{}.{}.", origin.object, origin.section);
                origin.object == host.origin.object && host.name.starts_with(&expose)
            };
            !refused.iter().any(own)
        });
    }
}

fn take(form: Form, json: &UserJson, fill: impl FnOnce(&Taken) -> Any) -> Result<Taken, String> {
    let mut value = json.value();
    check_type(form, &value)?;
    if let Value::Object(members) = &mut value {
        members.remove("@type");
        members.retain(|name, _| !form.forced().contains(&snake(name).as_str()));
    }
    v2::translate(form.type_name(), &mut value);
    let members = value.as_object().into_iter().flatten();
    let fields = members
        .filter(|(_, member)| !member.is_null())
        .map(|(name, _)| snake(name))
        .collect();
    let mut message = parse(form.type_name(), &value).map_err(|error| refusal(&error))?;
    let ads = parse(
        CONFIG_SOURCE,
        &json!({"ads": {}, "resource_api_version": "V3"}),
    );
    let ads = ads.map_err(|error| refusal(&error))?;
    to_ads(&mut message, &ads, DEPTH_MAX);
    let taken = Taken {
        body: message.encode_to_vec(),
        fields,
    };
    let filled = fill(&taken);
    let violations = preflight::check(&filled.type_url, &filled.value);
    let violations = violations.map_err(|error| refusal(&error))?;
    match violations.first() {
        None => Ok(taken),
        Some(first) => Err(first.to_string()),
    }
}

/// igw_envoy itself wrote the type of v2 into what it merged.
fn check_type(form: Form, value: &Value) -> Result<(), String> {
    let Some(url) = value.get("@type") else {
        return Ok(());
    };
    let name = url.as_str().and_then(|url| url.rsplit('/').next());
    let name = name.map(|name| successor(name).unwrap_or(name));
    if name == Some(form.type_name()) {
        return Ok(());
    }
    Err(format!("@type is not {}", form.type_name()))
}

/// A field's name in camel case, as proto-JSON may have it, in the spelling of the documentation.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// Envoy asks this program for everything: a second server would be a second truth.
fn to_ads(message: &mut DynamicMessage, ads: &DynamicMessage, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    if message.descriptor().full_name() == CONFIG_SOURCE {
        message.clone_from(ads);
        return;
    }
    if message.descriptor().full_name() == ANY {
        packed_to_ads(message, ads, depth);
        return;
    }
    for (_, value) in message.fields_mut() {
        match value {
            Pb::Message(inner) => to_ads(inner, ads, depth),
            Pb::List(items) => {
                let inner = items.iter_mut().filter_map(Pb::as_message_mut);
                inner.for_each(|inner| to_ads(inner, ads, depth));
            }
            Pb::Map(entries) => {
                let inner = entries.values_mut().filter_map(Pb::as_message_mut);
                inner.for_each(|inner| to_ads(inner, ads, depth));
            }
            _ => {}
        }
    }
}

fn packed_to_ads(packed: &mut DynamicMessage, ads: &DynamicMessage, depth: usize) {
    let url = packed.get_field_by_name("type_url");
    let url = url.as_deref().and_then(Pb::as_str).unwrap_or_default();
    let body = packed.get_field_by_name("value");
    let body = body.as_deref().and_then(Pb::as_bytes).cloned();
    let inner = api().and_then(|api| api.message(url)).ok();
    let inner = inner.and_then(|inner| DynamicMessage::decode(inner, body?).ok());
    if let Some(mut inner) = inner {
        to_ads(&mut inner, ads, depth);
        packed.set_field_by_name("value", Pb::Bytes(inner.encode_to_vec().into()));
    }
}

/// What is wrong and where, without the text that is wrong: it may be a key in the wrong place.
fn refusal(error: &JsonError) -> String {
    let JsonError::Parse { path, reason, .. } = error else {
        return error.to_string();
    };
    let text = reason.find("string \"").zip(reason.rfind("\", "));
    let reason = match text {
        Some((start, end)) => {
            let before = reason.get(..start).unwrap_or_default();
            let after = reason.get(end + 1..).unwrap_or_default();
            format!("{before}a text{after}")
        }
        None => reason.clone(),
    };
    let place = match path.as_str() {
        "." => String::new(),
        path => format!("{path}: "),
    };
    format!("{place}{reason}")
        .chars()
        .take(SHOWN_CHARS)
        .collect()
}

const CONFIG_SOURCE: &str = "envoy.config.core.v3.ConfigSource";
/// More than the depth that is let in, packed messages counted twice.
const DEPTH_MAX: usize = 200;
const SHOWN_CHARS: usize = 300;
