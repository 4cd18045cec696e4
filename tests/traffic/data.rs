//! Envoy JSON that services bring along: it is in force in Envoy, and a bad one costs itself.

use std::net::SocketAddr;
use std::time::Duration;

use osvc_igw::demo::ports;
use osvc_igw::sim::backend::Backend;
use osvc_igw::xds::ResourceType;
use osvc_igw::xds::preflight::check;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::golden::Case;
use crate::random::Random;
use crate::support::rig::Rig;

/// A service with one instance, and where it is reached.
struct Service {
    port: u16,
    _backend: Backend,
}

impl Service {
    async fn start(rig: &Rig, name: &str, vhosts: bool, data: &[(&str, Value)]) -> Self {
        let backend = Backend::start(([127, 0, 0, 1], 0).into(), name, None).await;
        let backend = backend.expect("a backend");
        let port = ports::free().expect("a free port");
        let mut config = format!(
            "[ip#1]\nipname = 127.0.0.1\nipdev = lo\nnetmask = 8\nexpose = expose#0\n\n\
             [vhost#0]\ndomains = *\n\n\
             [expose#0]\ntype = envoy\nport = {}\nlistener_addr = 127.0.0.1\n\
             listener_port = {port}\n",
            backend.address().port()
        );
        if vhosts {
            config.push_str("vhosts = vhost#0\n");
        }
        for (keyword, json) in data {
            let text = json
                .as_str()
                .map_or_else(|| json.to_string(), str::to_owned);
            config.push_str(&format!("{keyword} = {text}\n"));
        }
        let path = format!("test/svc/{name}");
        rig.stage.sim.create(&path, &config).expect("a service");
        Self {
            port,
            _backend: backend,
        }
    }

    async fn answer(&self) -> Option<u16> {
        let client = Client::builder().no_proxy().build().expect("a client");
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let answer = client.get(format!("http://{address}/")).send().await;
        answer.ok().map(|answer| answer.status().as_u16())
    }

    async fn answered(&self) {
        let answered = async {
            while self.answer().await != Some(200) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let answered = timeout(PATIENCE, answered).await;
        assert!(answered.is_ok(), "port {} does not answer", self.port);
    }
}

/// The problems of a service, once there are some.
async fn problem(rig: &Rig, name: &str) -> Value {
    let told = async {
        loop {
            let status = rig.controller.status().await;
            let problems = status["problems"].as_array().cloned().unwrap_or_default();
            let own = |problem: &&Value| problem["object"] == format!("test/svc/{name}");
            if let Some(problem) = problems.iter().find(own) {
                return problem.clone();
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("a problem")
}

/// Envoy's own view of a cluster.
async fn cluster(rig: &Rig, name: &str) -> Value {
    let name = format!("test/svc/{name}.expose#0");
    let dump = rig
        .envoy
        .json("/config_dump?resource=dynamic_active_clusters")
        .await;
    let clusters = dump["configs"].as_array().cloned().unwrap_or_default();
    let mut clusters = clusters.iter().map(|entry| &entry["cluster"]);
    let found = clusters.find(|cluster| cluster["name"] == *name);
    found.cloned().unwrap_or_default()
}

/// Envoy's own view of the filter of the one chain at a port.
async fn filter(rig: &Rig, port: u16) -> Value {
    let dump = rig
        .envoy
        .json("/config_dump?resource=dynamic_listeners")
        .await;
    let listeners = dump["configs"].as_array().cloned().unwrap_or_default();
    let mut listeners = listeners
        .iter()
        .map(|entry| &entry["active_state"]["listener"]);
    let at = |listener: &&Value| listener["address"]["socket_address"]["port_value"] == port;
    let found = listeners.find(at).cloned().unwrap_or_default();
    found["filter_chains"][0]["filters"][0]["typed_config"].clone()
}

async fn assert_nothing_refused(rig: &Rig) {
    for stat in ["cluster_manager.cds", "listener_manager.lds"] {
        let refused = rig.envoy.stat(&format!("{stat}.update_rejected")).await;
        assert_eq!(refused, Some(0), "{stat}\n{}", rig.envoy.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_services_tune_is_in_force() {
    let rig = Rig::bare(&[]).await;
    let tuning = json!({
        "connect_timeout": "2.5s",
        "name": "not mine to say",
        "circuit_breakers": {"thresholds": [{"max_connections": 77}]},
        "outlier_detection": {"consecutive_5xx": 9},
    });
    let log = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog";
    let log = json!([{"name": "out", "typed_config": {"@type": log}}]);
    let proxy = json!({"idle_timeout": "77s", "cluster": "not mine to say", "access_log": log});
    let data = [("cluster_data", tuning), ("filter_config_data", proxy)];
    let l4 = Service::start(&rig, "l4", false, &data).await;
    let manager = json!({
        "use_remote_address": false,
        "common_http_protocol_options": {"idle_timeout": "88s"},
        "access_log": log,
        "http_filters": [{"name": "cors", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"}}],
    });
    let l7 = Service::start(&rig, "l7", true, &[("filter_config_data", manager)]).await;
    l4.answered().await;
    l7.answered().await;
    let seen = cluster(&rig, "l4").await;
    assert_eq!(seen["connect_timeout"], "2.500s");
    assert_eq!(
        seen["circuit_breakers"]["thresholds"][0]["max_connections"],
        77
    );
    assert_eq!(seen["outlier_detection"]["consecutive_5xx"], 9);
    assert_eq!(
        seen["ignore_health_on_host_removal"], true,
        "a default of ours"
    );
    let seen = filter(&rig, l4.port).await;
    assert_eq!(seen["idle_timeout"], "77s");
    assert_eq!(seen["cluster"], "test/svc/l4.expose#0");
    let seen = filter(&rig, l7.port).await;
    assert_eq!(seen["use_remote_address"], false);
    assert_eq!(seen["common_http_protocol_options"]["idle_timeout"], "88s");
    assert_eq!(seen["http_filters"][0]["name"], "cors");
    let filters = seen["http_filters"].as_array().expect("filters");
    let last = filters.last().expect("a router");
    assert_eq!(last["name"], "envoy.filters.http.router");
    assert_nothing_refused(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_users_of_the_v2_api_wrote_is_in_force() {
    let rig = Rig::bare(&[]).await;
    let old_cluster = json!({
        "@type": "type.googleapis.com/envoy.api.v2.Cluster",
        "connect_timeout": "3s",
        "lb_policy": "ROUND ROBIN",
        "drain_connections_on_host_removal": false,
        "http_protocol_options": {"accept_http_10": true},
        "health_checks": [{"timeout": "5s", "interval": "30s", "unhealthy_threshold": 3,
            "healthy_threshold": 1, "tcp_health_check": {}}],
        "hosts": [{"socket_address": {"address": "127.0.0.9", "port_value": 9}}],
    });
    let old_filter = json!({
        "codec_type": "auto",
        "idle_timeout": "44s",
        "tracing": {"operation_name": "ingress"},
        "access_log": [{"name": "envoy.file_access_log", "config": {"path": "/dev/null"}}],
        "http_filters": [{"name": "envoy.cors"}, {"name": "envoy.router", "config": {}}],
    });
    let data = [
        ("cluster_data", old_cluster),
        ("filter_config_data", old_filter),
    ];
    let old = Service::start(&rig, "old", true, &data).await;
    let config = json!({"idle_timeout": "33s",
        "access_log": [{"name": "envoy.file_access_log", "config": {"path": "/dev/null"}}]});
    let l4 = Service::start(&rig, "old-l4", false, &[("filter_config_data", config)]).await;
    old.answered().await;
    l4.answered().await;
    let seen = cluster(&rig, "old").await;
    assert_eq!(seen["connect_timeout"], "3s");
    assert_eq!(seen["type"], "EDS");
    assert_eq!(seen["health_checks"][0]["unhealthy_threshold"], 3);
    assert!(
        seen.get("ignore_health_on_host_removal").is_none(),
        "{seen}"
    );
    let seen = filter(&rig, old.port).await;
    assert_eq!(seen["common_http_protocol_options"]["idle_timeout"], "44s");
    assert_eq!(seen["access_log"][0]["typed_config"]["path"], "/dev/null");
    assert_eq!(seen["http_filters"][0]["name"], "envoy.filters.http.cors");
    assert_eq!(filter(&rig, l4.port).await["idle_timeout"], "33s");
    assert_nothing_refused(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_data_costs_itself_and_what_it_would_have_protected() {
    let rig = Rig::bare(&[]).await;
    let tuning = json!({"connect_timeout": "2s", "outlier_detection": {"consecutive_5xxx": 1}});
    let tuned = Service::start(&rig, "tuned", true, &[("cluster_data", tuning)]).await;
    let negative = json!({"connect_timeout": "-2s"});
    let negative = Service::start(&rig, "negative", false, &[("cluster_data", negative)]).await;
    let text = json!("{\"idle_timeout\": \"3s\"");
    let broken = Service::start(&rig, "broken", false, &[("filter_config_data", text)]).await;
    let rbac = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";
    let rules = json!({"http_filters": [{"name": "rbac", "typed_config": {
        "@type": rbac, "ruless": {"action": "DENY"}}}]});
    let closed = Service::start(&rig, "closed", true, &[("filter_config_data", rules)]).await;
    let good = Service::start(&rig, "good", true, &[]).await;
    for service in [&good, &tuned, &negative, &broken] {
        service.answered().await;
    }
    for (name, keyword, told) in [
        (
            "tuned",
            "cluster_data",
            "outlier_detection: unrecognized field",
        ),
        (
            "negative",
            "cluster_data",
            "connect_timeout may not be negative",
        ),
        ("broken", "filter_config_data", "at line 1 column"),
        (
            "closed",
            "filter_config_data",
            "http_filters[0].typed_config: unrecognized",
        ),
    ] {
        let problem = problem(&rig, name).await;
        let reason = problem["reason"].as_str().unwrap_or_default();
        assert_eq!(problem["keyword"], keyword);
        assert!(reason.contains(told), "{reason}");
        let left_out = reason.ends_with("is served without this data");
        assert_eq!(left_out, name != "closed", "{reason}");
    }
    assert_eq!(closed.answer().await, None);
    assert_eq!(cluster(&rig, "tuned").await["connect_timeout"], "0.250s");
    assert_nothing_refused(&rig).await;
}

/// Whatever somebody writes there: nothing panics, and what is sent keeps Envoy's rules.
#[test]
fn mutated_data_never_panics_and_never_breaks_a_rule() {
    let cases = [
        "cluster-data",
        "cluster-data-of-the-v2-api",
        "filter-config-data-http",
        "filter-config-data-tcp",
        "filter-config-data-of-the-v2-api",
    ];
    let mut taken = 0;
    for (seed, name) in cases.iter().cycle().take(1_000).enumerate() {
        let mut random = Random(seed as u64);
        let mut case = Case::load(name);
        let info = "/monitor/nodes/n1/services/status/test~1svc~1web1/resources/expose#0/info";
        let info = case.status.pointer_mut(info).expect("an expose");
        let keyword = name.split("-of").next().unwrap_or(name);
        let keyword = match keyword {
            "cluster-data" => "cluster_data",
            _ => "filter_config_data",
        };
        random.mutate(&mut info[keyword]);
        let outcome = case.run();
        taken += usize::from(outcome.compiled.problems.is_empty());
        for kind in ResourceType::ALL {
            for resource in outcome.snapshot.all(kind) {
                let found = check(kind.url(), &resource.body).expect("a message");
                assert!(found.is_empty(), "seed {seed}: {found:?}");
            }
        }
    }
    assert!(taken > 50 && taken < 950, "{taken} of 1000 were taken");
}

/// Long enough for a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(20);
