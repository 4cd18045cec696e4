//! The screen, whole: a quiet gateway and one that has everything wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use prost_types::Timestamp;

use super::screen;
use crate::pb;

const NOW: Duration = Duration::from_secs(1_800_000_000);

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp {
        seconds: 1_800_000_000 + seconds,
        nanos: 0,
    })
}

fn origin() -> pb::Origin {
    pb::Origin {
        object: "test/svc/web".to_owned(),
        section: "expose#0".to_owned(),
    }
}

fn quiet() -> pb::Status {
    pb::Status {
        gateway: "envoy".to_owned(),
        version: "1.2.3".to_owned(),
        ready: true,
        daemon: Some(pb::Daemon {
            connected: true,
            syncs: 2,
            account: Some("gw".to_owned()),
            place: "n1:1215".to_owned(),
            last_event: at(-3),
            ..pb::Daemon::default()
        }),
        resources: BTreeMap::from([("cds".to_owned(), 3), ("lds".to_owned(), 1)]),
        clients: vec![pb::Client {
            node: "n1".to_owned(),
            agent: "envoy/1.40.0".to_owned(),
            synced: true,
            ..pb::Client::default()
        }],
        certificates: vec![pb::Certificate {
            object: "test/sec/web".to_owned(),
            not_after: at(90 * 86_400),
            flaw: None,
        }],
        listeners: vec![pb::Listener {
            name: "0.0.0.0:80/tcp".to_owned(),
            origins: vec![origin(); 5],
        }],
        ..pb::Status::default()
    }
}

#[test]
fn a_quiet_gateway_is_a_short_screen() {
    assert_eq!(
        screen(&quiet(), NOW),
        "gateway  envoy: ready (osvc-igw 1.2.3)\n\
         daemon   followed at n1:1215 as gw (2 full statuses, 0 corrections, last event 3 s ago)\n\
         serves   cds 3, lds 1\n\
         \n\
         envoys (1)\n\
         \x20 n1 (envoy/1.40.0): has everything\n\
         \n\
         certificates (1)\n\
         \x20 test/sec/web: good for 90 days\n\
         \n\
         listeners (1)\n\
         \x20 0.0.0.0:80/tcp  [test/svc/web expose#0, test/svc/web expose#0, \
         test/svc/web expose#0, 2 more]\n"
    );
}

fn resource(name: &str, state: pb::ResourceState, since: i64, reason: &str) -> pb::Resource {
    let mut resource = pb::Resource {
        r#type: "rds".to_owned(),
        name: name.to_owned(),
        since: at(since),
        reason: reason.to_owned(),
        origins: vec![origin()],
        ..pb::Resource::default()
    };
    resource.set_state(state);
    resource
}

fn troubled() -> pb::Status {
    let mut status = quiet();
    status.ready = false;
    status.stale = true;
    status.daemon = Some(pb::Daemon {
        failure: Some("connection refused".to_owned()),
        lacks: vec!["the account gw has no grant guest:test".to_owned()],
        ..pb::Daemon::default()
    });
    status.problems = vec![pb::Problem {
        object: "test/svc/web".to_owned(),
        section: "expose#0".to_owned(),
        keyword: "port".to_owned(),
        reason: "no \u{1b}[2Jport\nat all".to_owned(),
    }];
    status.clients[0].synced = false;
    status.clients[0].unsynced = 2;
    status.clients[0].resources = vec![
        resource(
            "a",
            pb::ResourceState::NotSent,
            -4,
            "the cluster x cannot take traffic yet",
        ),
        resource("b", pb::ResourceState::Error, -600, "Invalid path"),
    ];
    status.held = vec![pb::HeldInstance {
        object: "test/svc/web".to_owned(),
        node: "n2".to_owned(),
        reason: "nothing is heard of the node".to_owned(),
        until: at(30),
        ..pb::HeldInstance::default()
    }];
    status.writes = vec![pb::WaitingWrite {
        write: Some(pb::Write {
            change: "keyword".to_owned(),
            object: "test/svc/web".to_owned(),
            section: "expose#0".to_owned(),
            keyword: "listener_port".to_owned(),
            value: "1025".to_owned(),
            ..pb::Write::default()
        }),
        taken: false,
        failure: Some("the configuration is locked".to_owned()),
    }];
    status.certificates[0].not_after = at(-1);
    status.certificates[0].flaw = Some("has no key private_key".to_owned());
    status.listeners.clear();
    status
}

#[test]
fn what_is_wrong_is_said_with_since_when_and_whose_it_is() {
    assert_eq!(
        screen(&troubled(), NOW),
        "gateway  envoy: serves what an earlier process saved (osvc-igw 1.2.3)\n\
         daemon   not followed: connection refused (0 full statuses, 0 corrections)\n\
         \x20        the account gw has no grant guest:test\n\
         serves   cds 3, lds 1\n\
         \n\
         problems (1)\n\
         \x20 test/svc/web expose#0.port: no \\u{1b}[2Jport at all\n\
         \n\
         envoys (1)\n\
         \x20 n1 (envoy/1.40.0): lacks 2\n\
         \x20   rds a waits for 4 s: the cluster x cannot take traffic yet  \
         [test/svc/web expose#0]\n\
         \x20   rds b refused for 10 min: Invalid path  [test/svc/web expose#0]\n\
         \n\
         held instances (1)\n\
         \x20 test/svc/web on n2: nothing is heard of the node, 30 s more\n\
         \n\
         writes (1)\n\
         \x20 test/svc/web expose#0.listener_port=1025: failed: the configuration is locked\n\
         \n\
         certificates (1)\n\
         \x20 test/sec/web: has expired; the object has no key private_key\n"
    );
}
