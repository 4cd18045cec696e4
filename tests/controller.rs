//! The controller's loop against a daemon that is only a list of events: what no real one can be
//! made to do at will.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{self, BoxFuture, FutureExt};
use futures::stream::{self, BoxStream, StreamExt};
use osvc_igw::controller::{Controller, View};
use osvc_igw::gateway::Policy;
use osvc_igw::inventory::Account;
use osvc_igw::inventory::{
    Config, Event, Instance, NodeStatus, Object, ObjectPath, Report, Resource, Sensitive, Table,
    Write,
};
use osvc_igw::opensvc::{Daemon, Error};
use osvc_igw::xds::ResourceType;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Tells its events at once, and then nothing more; every configuration is empty.
struct Burst(Vec<Event>);

impl Daemon for Burst {
    fn watch(&self) -> BoxStream<'static, Result<Event, Error>> {
        let events = self.0.clone().into_iter().map(Ok);
        stream::iter(events).chain(stream::pending()).boxed()
    }

    fn read_key(
        &self,
        _: &ObjectPath,
        _: &str,
    ) -> BoxFuture<'static, Result<Option<Sensitive>, Error>> {
        future::ready(Ok(None)).boxed()
    }

    fn read_config(&self, _: &ObjectPath) -> BoxFuture<'static, Result<Option<Config>, Error>> {
        future::ready(Ok(Some(Config::default()))).boxed()
    }

    fn write_key(
        &self,
        _: &ObjectPath,
        _: &str,
        _: &Sensitive,
    ) -> BoxFuture<'static, Result<(), Error>> {
        future::ready(Ok(())).boxed()
    }

    fn account(&self) -> BoxFuture<'static, Result<Account, Error>> {
        future::ready(Ok(Account::default())).boxed()
    }

    fn create(&self, _: &ObjectPath) -> BoxFuture<'static, Result<(), Error>> {
        future::ready(Ok(())).boxed()
    }

    fn write(&self, _: &Write) -> BoxFuture<'static, Result<(), Error>> {
        future::ready(Ok(())).boxed()
    }
}

fn service(number: usize, exposed: bool) -> Event {
    let resource = |driver: &str, status: &str, info: Value| {
        Arc::new(Resource {
            driver: driver.to_owned().into(),
            status: status.to_owned().into(),
            keywords: serde_json::from_value(info).expect("an object"),
        })
    };
    let mut instance = Instance::default();
    if exposed {
        let ip = json!({"ipaddr": "10.0.0.1", "expose": ["expose#0"]});
        let expose = json!({"port": 80, "listener_port": 1_000 + number % 60_000});
        let resources = instance.resources_mut();
        resources.insert("ip#1", resource("ip", "up", ip));
        resources.insert("expose#0", resource("expose.envoy", "n/a", expose));
    }
    Event::Put(Arc::new(Object {
        path: format!("test/svc/s{number}").parse().expect("a path"),
        revision: "1".into(),
        slave: false,
        instances: Table::from([("n1".to_owned(), instance)]),
    }))
}

async fn clusters(services: impl Iterator<Item = Event>, expect: usize) {
    let nodes = BTreeMap::from([("n1".to_owned(), NodeStatus::Settled)]);
    let report = Report {
        nodes,
        ..Report::default()
    };
    let events = [Event::Reset(report)].into_iter().chain(services).collect();
    let (snapshots, _published) = watch::channel(None);
    let (views, mut seen) = watch::channel(View::default());
    let stop = CancellationToken::new();
    let daemon = Arc::new(Burst(events));
    let controller = Controller::new(daemon, Policy::default(), snapshots, views, stop.clone());
    let running = tokio::spawn(controller.run());
    let served = |view: &View| view.resources.get(&ResourceType::Cluster) == Some(&expect);
    let all = timeout(Duration::from_secs(60), seen.wait_for(served)).await;
    assert!(all.is_ok_and(|seen| seen.is_ok()), "not all are served");
    stop.cancel();
    running.await.expect("a controller that ends");
}

#[tokio::test]
async fn no_event_of_a_long_burst_is_lost() {
    // The controller takes 10,000 at once; around that, every one counts.
    let exposed = |number: usize| (9_990..10_010).contains(&number) || number == 20_100;
    let services = (0..=20_100).map(|number| service(number, exposed(number)));
    clusters(services, 21).await;
}

#[tokio::test]
async fn the_reads_of_many_services_are_compiled_together() {
    clusters((0..3_000).map(|number| service(number, true)), 3_000).await;
}
