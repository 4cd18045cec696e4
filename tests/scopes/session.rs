//! What one client is told of scopes, and when: a listener comes behind what it routes by, and the
//! scopes of one that went stay until its connections have ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use osvc_igw::xds::scope::{BUCKETS, name};
use osvc_igw::xds::session::{Request, Response, Session};
use osvc_igw::xds::{ResourceType, Snapshot};

use super::site::{gateway, host, listen, name as listener, serve};
use super::{Gateway, encoded};

/// The client's side of a stream, which takes everything.
struct Talk {
    session: Session,
    now: Duration,
}

impl Talk {
    fn new(snapshot: Snapshot) -> Self {
        Self {
            session: Session::new(Arc::new(snapshot), 1),
            now: Duration::ZERO,
        }
    }

    fn ask(&mut self, kind: ResourceType, nonce: &str, subscribe: Vec<String>) {
        let request = Request {
            kind,
            nonce: nonce.to_owned(),
            error: None,
            subscribe,
            unsubscribe: Vec::new(),
            initial: BTreeMap::new(),
        };
        self.session.handle_request(self.now, request);
    }

    /// What is sent, and taken at once.
    fn taken(&mut self) -> Vec<Response> {
        let mut all = Vec::new();
        while let Some(response) = self.session.poll_response(self.now) {
            self.ask(response.kind, &response.nonce, Vec::new());
            all.push(response);
        }
        all
    }

    fn publish(&mut self, gateway: &Gateway) {
        self.session.handle_snapshot(Arc::new(encoded(gateway, 2)));
    }

    /// The time at which something may be sent again.
    fn wait(&mut self) {
        self.now = self.session.poll_timeout(self.now).unwrap();
    }
}

/// How many resources of which type.
fn told(responses: &[Response]) -> Vec<(ResourceType, usize, usize)> {
    let all = responses.iter();
    all.map(|one| (one.kind, one.resources.len(), one.removed.len()))
        .collect()
}

fn scoped(port: u16) -> Gateway {
    let mut here = gateway(port);
    serve(&mut here, port, hosts());
    here
}

fn hosts() -> impl Iterator<Item = osvc_igw::gateway::VirtualHost> {
    (0..3).map(|at| host(at, &[&format!("h{at}.test")]))
}

/// The names of the routes that an Envoy asks for when it has the scopes.
fn routes(port: u16) -> Vec<String> {
    let listener = listener(port);
    (0..BUCKETS).map(|bucket| name(&listener, bucket)).collect()
}

/// A client that has a listener with scopes.
fn with_one() -> (Talk, Gateway) {
    let here = scoped(80);
    let mut talk = Talk::new(encoded(&here, 2));
    talk.ask(ResourceType::Listener, "", Vec::new());
    assert_eq!(told(&talk.taken()), [(ResourceType::Listener, 1, 0)]);
    talk.ask(ResourceType::Scope, "", Vec::new());
    let all = usize::from(BUCKETS);
    assert_eq!(
        told(&talk.taken()),
        [(ResourceType::Scope, all, 0)],
        "all in one response"
    );
    talk.ask(ResourceType::Route, "", routes(80));
    let routes: usize = talk.taken().iter().map(|one| one.resources.len()).sum();
    assert_eq!(routes, all);
    assert!(talk.session.synced().is_some());
    (talk, here)
}

#[test]
fn a_listener_comes_behind_the_scopes_and_routes_of_its_own() {
    let (mut talk, mut here) = with_one();
    listen(&mut here, 81);
    serve(&mut here, 81, hosts());
    talk.publish(&here);
    let all = usize::from(BUCKETS);
    assert_eq!(told(&talk.taken()), [(ResourceType::Scope, all, 0)]);
    talk.ask(ResourceType::Route, "", routes(81));
    let sent = told(&talk.taken());
    let behind = sent
        .iter()
        .position(|(kind, ..)| *kind == ResourceType::Listener);
    let routes = sent.iter().take(behind.unwrap());
    assert_eq!(
        routes.map(|(_, count, _)| count).sum::<usize>(),
        all,
        "{sent:?}"
    );
    // Where it is the first of its Envoy, it has not seen those that came before it.
    let last = sent.last().unwrap();
    assert_eq!(*last, (ResourceType::Scope, 2 * all, 0));
    assert!(talk.session.synced().is_some());
}

/// Envoy does not say that it has forgotten its scopes.
#[test]
fn a_listener_does_not_wait_for_routes_that_nobody_asks_for() {
    let (mut talk, mut here) = with_one();
    listen(&mut here, 81);
    serve(&mut here, 81, hosts());
    talk.publish(&here);
    let all = usize::from(BUCKETS);
    assert_eq!(told(&talk.taken()), [(ResourceType::Scope, all, 0)]);
    talk.wait();
    assert!(talk.now < Duration::from_secs(1), "{:?}", talk.now);
    let sent = told(&talk.taken());
    assert_eq!(
        sent,
        [
            (ResourceType::Listener, 1, 0),
            (ResourceType::Scope, 2 * all, 0)
        ]
    );
}

/// The first one of an Envoy waits for its scopes, and every other one does not.
#[test]
fn of_two_listeners_one_opens_the_way() {
    let mut here = scoped(80);
    listen(&mut here, 81);
    serve(&mut here, 81, hosts());
    let mut talk = Talk::new(encoded(&here, 2));
    talk.ask(ResourceType::Listener, "", Vec::new());
    assert_eq!(told(&talk.taken()), [(ResourceType::Listener, 1, 0)]);
    talk.ask(ResourceType::Scope, "", Vec::new());
    let all = usize::from(BUCKETS);
    assert_eq!(told(&talk.taken()), [(ResourceType::Scope, 2 * all, 0)]);
    talk.ask(ResourceType::Route, "", [routes(80), routes(81)].concat());
    let sent = told(&talk.taken());
    let (last, before) = sent.split_last().unwrap();
    assert_eq!(*last, (ResourceType::Scope, 2 * all, 0));
    let (last, before) = before.split_last().unwrap();
    assert_eq!(*last, (ResourceType::Listener, 1, 0));
    assert_eq!(
        before.iter().map(|(_, count, _)| count).sum::<usize>(),
        2 * all
    );
}

#[test]
fn scopes_stay_until_the_connections_of_their_listener_have_ended() {
    let (mut talk, _) = with_one();
    let mut whole = gateway(80);
    serve(&mut whole, 80, hosts().take(1));
    talk.publish(&whole);
    assert_eq!(told(&talk.taken()), [(ResourceType::Listener, 1, 0)]);
    talk.wait();
    assert!(talk.now > Duration::from_secs(600), "{:?}", talk.now);
    assert_eq!(
        told(&talk.taken()),
        [(ResourceType::Scope, 0, BUCKETS.into())]
    );
    assert_eq!(talk.session.poll_timeout(talk.now), None);
}

#[test]
fn scopes_that_come_back_stay() {
    let (mut talk, here) = with_one();
    let mut whole = gateway(80);
    serve(&mut whole, 80, hosts().take(1));
    talk.publish(&whole);
    talk.taken();
    talk.now += Duration::from_secs(500);
    talk.publish(&here);
    talk.taken();
    talk.now += Duration::from_secs(500);
    assert_eq!(told(&talk.taken()), []);
    assert!(talk.session.synced().is_some());
}

#[test]
fn a_change_of_one_host_is_one_response() {
    let (mut talk, mut here) = with_one();
    serve(&mut here, 80, hosts().chain([host(9, &["more.test"])]));
    talk.publish(&here);
    assert_eq!(told(&talk.taken()), [(ResourceType::Route, 1, 0)]);
}
