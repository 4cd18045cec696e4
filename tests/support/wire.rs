//! A delta client on the wire that asks for everything, takes everything, and remembers what it
//! has from stream to stream.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client as ads;
use osvc_igw::xds::ResourceType;
use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// What the client has, by type and name.
pub(crate) type Held = BTreeMap<(ResourceType, String), String>;

/// Runs a stream until it ends: `seen` is called with what the client has after each response, and
/// with how many resources came in it; it says whether to go on.
pub(crate) async fn run(
    channel: Channel,
    node: &str,
    held: &mut Held,
    mut seen: impl FnMut(&Held, usize) -> bool,
) {
    let (requests, outgoing) = channel_of_requests(node, held).await;
    let mut client =
        ads::AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(64 << 20);
    let outgoing = ReceiverStream::new(outgoing);
    let answer = client.delta_aggregated_resources(outgoing).await;
    let mut responses = answer.expect("a stream").into_inner();
    while let Ok(Some(response)) = responses.message().await {
        let kind = ResourceType::from_url(&response.type_url).expect("a type that was asked for");
        let count = response.resources.len() + response.removed_resources.len();
        for resource in response.resources {
            held.insert((kind, resource.name), resource.version);
        }
        for name in response.removed_resources {
            held.remove(&(kind, name));
        }
        let ack = DeltaDiscoveryRequest {
            type_url: response.type_url,
            response_nonce: response.nonce,
            ..DeltaDiscoveryRequest::default()
        };
        if requests.send(ack).await.is_err() || !seen(held, count) {
            return;
        }
    }
}

async fn channel_of_requests(
    node: &str,
    held: &Held,
) -> (
    Sender<DeltaDiscoveryRequest>,
    tokio::sync::mpsc::Receiver<DeltaDiscoveryRequest>,
) {
    let (requests, outgoing) = channel(16);
    for kind in ResourceType::ALL {
        let all = held.iter().filter(|((one, _), _)| *one == kind);
        let initial = all.map(|((_, name), version)| (name.clone(), version.clone()));
        let request = DeltaDiscoveryRequest {
            node: Some(Node {
                id: node.to_owned(),
                ..Node::default()
            }),
            type_url: kind.url().to_owned(),
            resource_names_subscribe: vec!["*".to_owned()],
            initial_resource_versions: initial.collect(),
            ..DeltaDiscoveryRequest::default()
        };
        requests.send(request).await.expect("room for five");
    }
    (requests, outgoing)
}
