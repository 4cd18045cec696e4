//! The client of the raw socket reads what only other nodes have, of a daemon that does what a test
//! tells it to.

use osvc_igw::inventory::ObjectPath;
use osvc_igw::opensvc::Daemon;
use serde_json::json;

use crate::fake::{Fake, Reply};

#[tokio::test]
async fn what_the_asked_node_does_not_have_is_read_of_one_that_has_it() {
    let daemon = Fake::start(|action| match action {
        "get_key elsewhere" => {
            Reply::json(&json!({"nodes": {"n2": {"status": 0, "data": "x"}}, "status": 0}))
        }
        "get_service_config elsewhere" => {
            let config = json!({"expose#0": {"allow_from": "10.0.0.0/8"}});
            Reply::json(&json!({"nodes": {"n2": config}, "status": 0}))
        }
        _ => Reply::json(&json!({"status": 1, "error": "'test/svc/web1'", "traceback": ""})),
    });
    let object: ObjectPath = "test/svc/web1".parse().unwrap();
    let config = daemon.raw().read_config(&object).await.unwrap().unwrap();
    let networks = config.keyword(&object, "n2", "expose#0", "allow_from");
    assert_eq!(networks.as_deref(), Some("10.0.0.0/8"));
    let key = daemon.raw().read_key(&object, "k").await.unwrap().unwrap();
    assert_eq!(key.expose(), "x");
}

#[tokio::test]
async fn what_no_node_has_is_not_there() {
    let daemon = Fake::start(|action| match action.ends_with("elsewhere") {
        true => Reply::json(&json!({"error": "unknown service", "status": 1})),
        false => Reply::json(&json!({"status": 1, "error": "'test/svc/web1'", "traceback": ""})),
    });
    let object: ObjectPath = "test/svc/web1".parse().unwrap();
    assert_eq!(daemon.raw().read_config(&object).await.unwrap(), None);
    assert_eq!(daemon.raw().read_key(&object, "k").await.unwrap(), None);
}
