//! What a real Envoy says that it runs with is what it was sent, in the same words.

use std::time::Duration;

use osvc_igw::xds::Snapshot;
use osvc_igw::xds::diff::{Diff, Document, dump};
use tokio::time::{sleep, timeout};

use crate::support::envoy::Envoy;
use crate::support::stand::{Stand, all_answer, services};
use crate::variants::separate;

/// What an Envoy that took a snapshot goes on to tell otherwise than it was sent; `None` when it
/// tells the same. What it took may warm for a moment.
pub(crate) async fn told_otherwise(envoy: &Envoy, snapshot: &Snapshot) -> Option<String> {
    let sent = Document::of(snapshot);
    let mut last = String::new();
    let same = async {
        loop {
            let page = envoy.json("/config_dump?include_eds").await;
            let mut told = dump::document(&page).expect("a dump");
            dump::complete(&mut told, &sent);
            let diff = Diff::of(&told, &sent);
            if diff.is_empty() {
                return;
            }
            last = diff.to_string();
            sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = timeout(TELLS_IN, same).await;
    in_time.is_err().then_some(last)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_started_for_the_janitor_tells_the_same() {
    for api_type in ["DELTA_GRPC", "GRPC"] {
        let changes = separate(api_type);
        let changes: Vec<(&str, &str)> = changes
            .iter()
            .map(|(before, after)| (before.as_str(), after.as_str()))
            .collect();
        let stand = Stand::start_with(&changes).await;
        let (snapshot, listeners) = services(20, stand.backend.address());
        stand.publish(snapshot.clone());
        all_answer(&listeners).await;
        let told = told_otherwise(&stand.envoy, &snapshot).await;
        assert_eq!(told, None, "{api_type}");
    }
}

/// Long enough for clusters that are checked before they are used.
const TELLS_IN: Duration = Duration::from_secs(20);
