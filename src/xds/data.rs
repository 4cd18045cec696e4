//! PURE: the services' own Envoy JSON as Envoy's messages. Whether it can be taken is found out
//! before anything is encoded, so that an expose which cannot be served is left out as a whole.
//!
//! How one JSON is read is the business of `take`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster as PbCluster;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::google::protobuf::Any;
use prost::Message;

use super::encode::any;
use super::take::{Taken, take};
use super::{cluster, listener};
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
    /// Whether the service has set that field, or that field in a field (`field.inner`), be it to
    /// its default value.
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
            ChainAction::Http | ChainAction::Handshake => Self::Http,
            // A UDP chain is never given any.
            ChainAction::Tcp { .. } | ChainAction::Udp { .. } => Self::Tcp,
        }
    }

    /// The message's name.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Cluster => "envoy.config.cluster.v3.Cluster",
            Self::Http => listener::HTTP_MANAGER,
            Self::Tcp => listener::TCP_PROXY,
        }
    }

    /// Whether the bytes are such a message for an encoder: nesting has a limit there.
    pub(super) fn reads(self, body: &[u8]) -> bool {
        match self {
            Self::Cluster => PbCluster::decode(body).is_ok(),
            Self::Http => HttpConnectionManager::decode(body).is_ok(),
            Self::Tcp => TcpProxy::decode(body).is_ok(),
        }
    }

    /// What the gateway alone decides. These fields are not even read.
    pub(super) fn forced(self) -> &'static [&'static str] {
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
pub(super) struct Verdicts(Arc<BTreeMap<(Form, UserJson), Verdict>>);

type Verdict = Arc<Result<Taken, String>>;

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
        Arc::make_mut(&mut self.0).insert(key, verdict);
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
    /// Whether something was left out.
    pub(super) lacks: bool,
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
                section: origin.section.to_string(),
                keyword: keyword.to_owned(),
                reason: format!("{reason}; {}", consequence(json.protects())),
            });
        }
        if json.protects() {
            refused.extend(origins.iter().cloned());
        }
    };
    for (name, value) in gateway.clusters.iter() {
        if let Some(json) = &value.data {
            let origins = std::slice::from_ref(&value.origin);
            judge(Form::Cluster, json, "cluster_data", origins, &|taken| {
                let message = cluster::encode(name, value, taken.given());
                any(Form::Cluster.type_name(), &message)
            });
        }
    }
    for (name, value) in gateway.listeners.iter() {
        for chain in &value.chains {
            let Some(data) = &chain.data else {
                continue;
            };
            let form = Form::of(chain);
            let fill = |taken: &Taken| {
                let (http, tcp) = match form {
                    Form::Tcp => (Given::default(), taken.given()),
                    _ => (taken.given(), Given::default()),
                };
                listener::filter(name, value, chain, (http, tcp), &[]).1
            };
            judge(form, &data.json, "filter_config_data", &data.origins, &fill);
        }
    }
    let mut gateway = Cow::Borrowed(gateway);
    let lacks = !bad.is_empty();
    if lacks {
        leave_out(gateway.to_mut(), &bad, &refused);
    }
    Settled {
        gateway,
        verdicts,
        problems,
        lacks,
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
    clusters.change_all(|cluster| {
        let known = cluster.data.take();
        cluster.data = known.filter(|json| !bad.contains(&(Form::Cluster, json.clone())));
    });
    listeners.change_all(|listener| {
        for chain in &mut listener.chains {
            let form = Form::of(chain);
            let known = chain.data.take();
            chain.data = known.filter(|data| !bad.contains(&(form, data.json.clone())));
            chain.origins.retain(|origin| !refused.contains(origin));
        }
        listener.chains.retain(|chain| !chain.origins.is_empty());
    });
    listeners.retain(|_, listener| !listener.chains.is_empty());
    let chains = listeners.values().flat_map(|listener| {
        let chains = listener.chains.iter();
        let chains = chains.filter(|chain| chain.action != ChainAction::Handshake);
        chains.map(|chain| listener.route_configuration(chain))
    });
    let named: BTreeSet<String> = chains.collect();
    routes.retain(|name, _| named.contains(name));
    routes.change_all(|routes| {
        routes.virtual_hosts.retain(|host| {
            let own = |origin: &Origin| {
                let expose = format!("{}.{}.", origin.object, origin.section);
                origin.object == host.origin.object && host.name.starts_with(&expose)
            };
            !refused.iter().any(own)
        });
    });
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::json::to_json;
    use super::super::{ResourceType, Snapshot, encode};
    use super::*;
    use crate::gateway::{BackendProtocol, Cluster, LbPolicy, Limits, Protocol, UpstreamTls};
    use crate::inventory::ObjectPath;
    use crate::inventory::keywords::Keywords;
    use crate::named::Named;

    fn user_json(value: Value) -> UserJson {
        let object: ObjectPath = "web1".parse().unwrap();
        let values = crate::inventory::Values::from([("kw", value)]);
        let keywords = Keywords::new(&object, "expose#0", &values, None);
        UserJson::read(&keywords, "kw").unwrap().unwrap()
    }

    fn gateway(value: Value) -> Gateway {
        let cluster = Cluster {
            origin: Origin {
                object: "web1".parse().unwrap(),
                section: "expose#0".into(),
            },
            protocol: Protocol::Tcp,
            lb_policy: LbPolicy::RoundRobin,
            proxy_protocol: None,
            http: false,
            backend_protocol: BackendProtocol::Http1,
            limits: Limits::default(),
            outlier_consecutive_errors: None,
            connect_timeout_ms: 250,
            health_check: None,
            tls: None,
            data: Some(user_json(value)),
        };
        Gateway {
            clusters: Named::from([("web1.expose#0".to_owned(), cluster)]),
            endpoints: Named::from([("web1.expose#0".to_owned(), Vec::new())]),
            ..Gateway::default()
        }
    }

    fn served(snapshot: &Snapshot) -> Value {
        let cluster = snapshot.get(ResourceType::Cluster, "web1.expose#0");
        let body = cluster.map(|cluster| cluster.body.clone());
        body.map_or(Value::Null, |body| {
            to_json(ResourceType::Cluster.url(), &body).unwrap()
        })
    }

    fn sds(source: Value) -> Value {
        let validation = json!({"name": "ca", "sds_config": source});
        json!({"transport_socket": {"name": "tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.\
                      UpstreamTlsContext",
            "common_tls_context": {"validation_context_sds_secret_config": validation},
        }}})
    }

    #[test]
    fn a_config_source_is_pointed_at_ads_at_any_depth() {
        let grpc = json!([{"envoy_grpc": {"cluster_name": "xds_cluster"}}]);
        for source in [
            json!({"api_config_source": {"api_type": "GRPC", "grpc_services": grpc}}),
            json!({"path_config_source": {"path": "/etc/secret"}}),
        ] {
            let (snapshot, problems) = encode(&gateway(sds(source)), &Snapshot::default());
            assert_eq!(problems, []);
            let context = &served(&snapshot)["transport_socket"]["typed_config"];
            let config = &context["common_tls_context"]["validation_context_sds_secret_config"];
            let ads = json!({"ads": {}, "resource_api_version": "V3"});
            assert_eq!(config, &json!({"name": "ca", "sds_config": ads}));
        }
    }

    #[test]
    fn what_is_forced_is_not_even_read() {
        let data = json!({"@type": "type.googleapis.com/envoy.api.v2.Cluster", "name": 7,
            "type": "NONE", "edsClusterConfig": 7, "hosts": [7], "load_assignment": 7});
        let (snapshot, problems) = encode(&gateway(data), &Snapshot::default());
        assert_eq!(problems, []);
        let (plain, _) = encode(&gateway(json!({})), &Snapshot::default());
        assert_eq!(served(&snapshot), served(&plain));
        assert_eq!(served(&snapshot)["name"], "web1.expose#0");
    }

    #[test]
    fn a_field_that_is_set_to_its_default_is_set() {
        let data = json!({"ignoreHealthOnHostRemoval": false, "connect_timeout": null});
        let (snapshot, _) = encode(&gateway(data), &Snapshot::default());
        let served = served(&snapshot);
        assert_eq!(served.get("ignore_health_on_host_removal"), None);
        assert!(served.get("connect_timeout").is_some());
    }

    #[test]
    fn a_problem_stays_told_while_the_data_stays() {
        let bad = gateway(json!({"connect_timeout": "soon"}));
        let (first, problems) = encode(&bad, &Snapshot::default());
        assert_eq!(problems.len(), 1);
        let (second, again) = encode(&bad, &first);
        assert_eq!(again, problems);
        assert_eq!(second, first);
        let (_, none) = encode(&gateway(json!({"connect_timeout": "1s"})), &second);
        assert_eq!(none, []);
    }

    #[test]
    fn data_that_protects_takes_its_cluster_with_it() {
        let (snapshot, problems) = encode(
            &gateway(json!({"transport_socket": {"nmae": "tls"}})),
            &Snapshot::default(),
        );
        assert_eq!(problems.len(), 1);
        assert_eq!(served(&snapshot), Value::Null);
        assert_eq!(snapshot.count(ResourceType::Endpoint), 0);
    }

    #[test]
    fn a_key_in_the_wrong_place_is_not_in_the_problem() {
        let tls = json!({"tls_context": {"common_tls_context": {"tls_certificates": [
            {"private_key": "-----BEGIN \"PRIVATE\", KEY-----"}]}}});
        let (_, problems) = encode(&gateway(tls), &Snapshot::default());
        let reason = &problems.first().unwrap().reason;
        assert!(
            !reason.contains("BEGIN") && !reason.contains("KEY"),
            "{reason}"
        );
        assert!(
            reason.contains("private_key: invalid type: a text"),
            "{reason}"
        );
    }

    #[test]
    fn data_that_protobuf_would_not_read_again_is_refused() {
        let mut reasons = BTreeSet::new();
        for depth in 20..50 {
            let deep = (0..depth).fold(json!(1), |value, _| json!({ "a": value }));
            let metadata = json!({"metadata": {"filter_metadata": {"x": deep}}});
            let (snapshot, problems) = encode(&gateway(metadata), &Snapshot::default());
            let is_in = served(&snapshot).get("metadata").is_some();
            assert_eq!(is_in, problems.is_empty(), "{depth}: {problems:?}");
            reasons.extend(problems.into_iter().map(|problem| problem.reason));
        }
        assert!(
            reasons
                .iter()
                .any(|reason| reason.starts_with("is nested too deep"))
        );
    }

    #[test]
    fn http2_to_the_instances_does_not_cost_the_check_of_their_certificates() {
        let mut gateway = gateway(json!({"http2_protocol_options": {}}));
        gateway.clusters.change_all(|cluster| {
            cluster.http = true;
            cluster.tls = Some(Box::new(UpstreamTls {
                certificate: None,
                validation: Some("ca".to_owned()),
                verify_server_name: true,
                sni: None,
            }));
        });
        let (snapshot, problems) = encode(&gateway, &Snapshot::default());
        assert_eq!(problems, []);
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let options = &served(&snapshot)["typed_extension_protocol_options"][options];
        assert!(options["explicit_http_config"]["http2_protocol_options"].is_object());
        assert_eq!(options["upstream_http_protocol_options"]["auto_sni"], true);
    }

    #[test]
    fn another_message_is_refused() {
        let log = "type.googleapis.com/envoy.api.v2.Listener";
        let (_, problems) = encode(&gateway(json!({"@type": log})), &Snapshot::default());
        let reason = &problems.first().unwrap().reason;
        assert!(reason.starts_with("@type is not envoy.config.cluster.v3.Cluster"));
    }
}
