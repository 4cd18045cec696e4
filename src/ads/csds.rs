//! Envoy's client status discovery service: what each client has, should have and refuses. It has
//! no contents of resources, and so no secret.

use std::pin::Pin;
use std::time::Duration;

use envoy_types::pb::envoy::admin::v3::{ClientResourceStatus, UpdateFailureState};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::status::v3 as pb;
use envoy_types::pb::envoy::service::status::v3::client_config::GenericXdsConfig;
use envoy_types::pb::envoy::service::status::v3::client_status_discovery_service_server as csds;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{NodeMatcher, StringMatcher};
use envoy_types::pb::google::protobuf::Timestamp;
use futures::Stream;
use futures::stream::StreamExt;
use tonic::{Request, Response, Status as Refusal, Streaming};

use super::{Ads, Client, Shown, Status};
use crate::xds::status::{ResourceStatus, State};

type Answers = Pin<Box<dyn Stream<Item = Result<pb::ClientStatusResponse, Refusal>> + Send>>;

#[tonic::async_trait]
impl csds::ClientStatusDiscoveryService for Ads {
    type StreamClientStatusStream = Answers;

    async fn stream_client_status(
        &self,
        request: Request<Streaming<pb::ClientStatusRequest>>,
    ) -> Result<Response<Answers>, Refusal> {
        let ads = self.clone();
        let answers = request.into_inner().then(move |request| {
            let ads = ads.clone();
            async move { ads.client_status(&request?).await }
        });
        let stop = self.stop.clone().cancelled_owned();
        Ok(Response::new(answers.take_until(stop).boxed()))
    }

    async fn fetch_client_status(
        &self,
        request: Request<pb::ClientStatusRequest>,
    ) -> Result<Response<pb::ClientStatusResponse>, Refusal> {
        let answer = self.client_status(request.get_ref()).await?;
        Ok(Response::new(answer))
    }
}

impl Ads {
    async fn client_status(
        &self,
        request: &pb::ClientStatusRequest,
    ) -> Result<pb::ClientStatusResponse, Refusal> {
        let mut config = Vec::new();
        for (client, status) in self.clients.statuses(Shown::All, |_| true).await {
            if matches(&request.node_matchers, &client.node)? {
                config.push(client_config(client, status.unwrap_or_default()));
            }
        }
        Ok(pb::ClientStatusResponse { config })
    }
}

/// Whether one of the matchers takes the node; none takes all.
fn matches(matchers: &[NodeMatcher], node: &str) -> Result<bool, Refusal> {
    let mut any = matchers.is_empty();
    for matcher in matchers {
        if !matcher.node_metadatas.is_empty() {
            return Err(Refusal::unimplemented("nodes are matched by their id only"));
        }
        any |= match &matcher.node_id {
            None => true,
            Some(matcher) => matches_text(matcher, node)?,
        };
    }
    Ok(any)
}

fn matches_text(matcher: &StringMatcher, text: &str) -> Result<bool, Refusal> {
    let fold = |text: &str| match matcher.ignore_case {
        true => text.to_lowercase(),
        false => text.to_owned(),
    };
    let text = fold(text);
    Ok(match &matcher.match_pattern {
        Some(MatchPattern::Exact(wanted)) => text == fold(wanted),
        Some(MatchPattern::Prefix(wanted)) => text.starts_with(&fold(wanted)),
        Some(MatchPattern::Suffix(wanted)) => text.ends_with(&fold(wanted)),
        Some(MatchPattern::Contains(wanted)) => text.contains(&fold(wanted)),
        _ => {
            let reason = "nodes are matched by exact, prefix, suffix or contains";
            return Err(Refusal::unimplemented(reason));
        }
    })
}

fn client_config(client: Client, status: Status) -> pb::ClientConfig {
    let resources = status.resources.into_iter();
    pb::ClientConfig {
        node: Some(Node {
            id: client.node,
            user_agent_name: client.agent,
            ..Node::default()
        }),
        generic_xds_configs: resources
            .map(|resource| generic(resource, client.began))
            .collect(),
        ..pb::ClientConfig::default()
    }
}

/// `began` is when the stream began, since 1970.
fn generic(resource: ResourceStatus, began: Duration) -> GenericXdsConfig {
    let at = |since: Duration| {
        let at = began + since;
        Timestamp {
            seconds: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(at.subsec_nanos()).unwrap_or_default(),
        }
    };
    let (version_info, acked_at) = resource.acked.unzip();
    let (config_status, client_status) = match &resource.state {
        State::Synced => (pb::ConfigStatus::Synced, ClientResourceStatus::Acked),
        State::Stale => (pb::ConfigStatus::Stale, ClientResourceStatus::Requested),
        State::NotSent { .. } => (pb::ConfigStatus::NotSent, ClientResourceStatus::Requested),
        State::DoesNotExist => (
            pb::ConfigStatus::NotSent,
            ClientResourceStatus::DoesNotExist,
        ),
        State::Error { .. } => (pb::ConfigStatus::Error, ClientResourceStatus::Nacked),
    };
    let error_state = match resource.state {
        State::Error {
            version,
            message,
            at: when,
        } => Some(UpdateFailureState {
            last_update_attempt: Some(at(when)),
            details: message,
            version_info: version.map(|sent| sent.to_string()).unwrap_or_default(),
            ..UpdateFailureState::default()
        }),
        _ => None,
    };
    GenericXdsConfig {
        type_url: resource.kind.url().to_owned(),
        name: resource.name,
        version_info: version_info.unwrap_or_default(),
        last_updated: acked_at.flatten().map(at),
        config_status: config_status.into(),
        client_status: client_status.into(),
        error_state,
        ..GenericXdsConfig::default()
    }
}
