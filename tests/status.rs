//! What the service tells of its clients, over the wire, with a real Envoy as the client.

use std::collections::BTreeMap;
use std::time::Duration;

use envoy_types::pb::envoy::admin::v3::ClientResourceStatus as Client;
use envoy_types::pb::envoy::service::status::v3::client_config::GenericXdsConfig;
use envoy_types::pb::envoy::service::status::v3::client_status_discovery_service_client as csds;
use envoy_types::pb::envoy::service::status::v3::{ClientStatusRequest, ConfigStatus as Config};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{NodeMatcher, StringMatcher};
use osvc_igw::xds::ResourceType;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};

use crate::refusals::{bad_cluster, spoil_routes};
use crate::support::stand::{LATE, Stand, all_answer, services};

async fn channel(stand: &Stand) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", stand.address));
    endpoint
        .expect("an address")
        .connect()
        .await
        .expect("a connection")
}

fn asks_for(pattern: MatchPattern) -> ClientStatusRequest {
    let node_id = StringMatcher {
        match_pattern: Some(pattern),
        ..StringMatcher::default()
    };
    ClientStatusRequest {
        node_matchers: vec![NodeMatcher {
            node_id: Some(node_id),
            ..NodeMatcher::default()
        }],
        ..ClientStatusRequest::default()
    }
}

type All = BTreeMap<(ResourceType, String), GenericXdsConfig>;

async fn told(stand: &Stand) -> All {
    let mut client = csds::ClientStatusDiscoveryServiceClient::new(channel(stand).await);
    let request = ClientStatusRequest::default();
    let answer = client
        .fetch_client_status(request)
        .await
        .expect("an answer");
    let mut config = answer.into_inner().config;
    assert_eq!(config.len(), 1, "{config:?}");
    let config = config.remove(0);
    assert_eq!(config.node.expect("a node").id, "stand");
    let all = config.generic_xds_configs.into_iter().map(|one| {
        let kind = ResourceType::from_url(&one.type_url).expect("a type that is served");
        ((kind, one.name.clone()), one)
    });
    all.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_resource_is_told_of_as_the_client_has_it() {
    let stand = Stand::start().await;
    let (good, ports) = services(10, stand.backend.address());
    let mut snapshot = good.clone();
    bad_cluster(&mut snapshot);
    stand.publish(snapshot);
    all_answer(&ports).await;
    stand.refuses(&["cds bad"]).await;

    let all = told(&stand).await;
    for kind in [
        ResourceType::Cluster,
        ResourceType::Endpoint,
        ResourceType::Listener,
    ] {
        for resource in good.all(kind) {
            let told = &all[&(kind, resource.name.to_string())];
            assert_eq!(told.config_status, i32::from(Config::Synced), "{told:?}");
            assert_eq!(told.client_status, i32::from(Client::Acked), "{told:?}");
            assert!(!told.version_info.is_empty() && told.xds_config.is_none());
            assert!(
                told.last_updated
                    .is_some_and(|at| at.seconds > 1_700_000_000)
            );
        }
    }
    let bad = &all[&(ResourceType::Cluster, "bad".to_owned())];
    assert_eq!(bad.config_status, i32::from(Config::Error), "{bad:?}");
    assert_eq!(bad.client_status, i32::from(Client::Nacked), "{bad:?}");
    let error = bad.error_state.as_ref().expect("why");
    assert!(error.details.contains("Invalid duration"), "{error:?}");
    assert!(error.last_update_attempt.is_some(), "{error:?}");
    assert!(
        !error.version_info.is_empty() && bad.version_info.is_empty(),
        "{bad:?}"
    );

    stand.publish(good);
    let cured = async {
        while told(&stand)
            .await
            .contains_key(&(ResourceType::Cluster, "bad".to_owned()))
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LATE, cured).await.expect("the refused one is gone");
}

// Who is asked at three in the morning wants to know what still serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_change_is_told_beside_the_version_that_serves_on() {
    let stand = Stand::start().await;
    let (good, ports) = services(10, stand.backend.address());
    stand.publish(good.clone());
    all_answer(&ports).await;
    let routes = (ResourceType::Route, format!("127.0.0.1:{}/tcp", ports[9]));
    let serves = told(&stand).await[&routes].version_info.clone();
    let mut changed = good;
    spoil_routes(&routes.1, &mut changed);
    stand.publish(changed);
    stand.refuses(&[&format!("rds {}", routes.1)]).await;
    let after = told(&stand).await.remove(&routes).expect("the routes");
    assert_eq!(after.config_status, i32::from(Config::Error), "{after:?}");
    assert_eq!(after.version_info, serves);
    assert!(
        after
            .error_state
            .is_some_and(|error| error.version_info != serves)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_found_by_their_node() {
    let stand = Stand::start().await;
    let (good, ports) = services(1, stand.backend.address());
    stand.publish(good);
    all_answer(&ports).await;
    let mut client = csds::ClientStatusDiscoveryServiceClient::new(channel(&stand).await);
    for (pattern, found) in [
        (MatchPattern::Exact("stand".to_owned()), 1),
        (MatchPattern::Exact("other".to_owned()), 0),
        (MatchPattern::Prefix("st".to_owned()), 1),
        (MatchPattern::Suffix("nd".to_owned()), 1),
        (MatchPattern::Contains("tan".to_owned()), 1),
        (MatchPattern::Contains("x".to_owned()), 0),
    ] {
        let shown = format!("{pattern:?}");
        let requests = tokio_stream::iter([asks_for(pattern)]);
        let answers = client
            .stream_client_status(requests)
            .await
            .expect("a stream");
        let answer = answers.into_inner().message().await.expect("an answer");
        let config = answer.expect("one for each request").config;
        assert_eq!(config.len(), found, "{shown}");
    }
}
