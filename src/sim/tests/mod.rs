//! The simulated daemon from a client's side: a plain socket, and a json_delta of this file's
//! own, so that the daemon is not checked with its own arithmetic.

mod faults;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::Sim;

const WEB: &str = "[DEFAULT]\ntopology = flex\nnodes = *\n[ip#1]\nipname = 127.0.1.1\nipdev = lo\n\
                   netmask = 8\nexpose = expose#0\n[expose#0]\ntype = envoy\nport = 80\n\
                   listener_port = 8080\n";
const PATIENCE: Duration = Duration::from_secs(5);

fn socket() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("igw-sim-{}-{number}.sock", std::process::id()))
}

async fn send(socket: &PathBuf, request: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream.write_all(b"\0").await.unwrap();
    stream
}

async fn ask(socket: &PathBuf, request: &str) -> Value {
    let mut stream = send(socket, request.as_bytes()).await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer.pop(), Some(0), "{request}");
    serde_json::from_slice(&answer).unwrap()
}

/// A subscriber that keeps a tree.
struct Watch {
    stream: UnixStream,
    tree: Value,
    last_id: u64,
}

impl Watch {
    async fn start(socket: &PathBuf, sim: &Sim) -> Self {
        let before = sim.subscribers();
        let stream = send(socket, br#"{"action":"events"}"#).await;
        while sim.subscribers() == before {
            sleep(Duration::from_millis(1)).await;
        }
        let tree = serde_json::from_str(&sim.status().to_string()).unwrap();
        Self {
            stream,
            tree,
            last_id: 0,
        }
    }

    /// The next message's bytes; none at the end of the stream.
    async fn bytes(&mut self) -> Option<Vec<u8>> {
        let mut message = Vec::new();
        loop {
            match timeout(PATIENCE, self.stream.read_u8())
                .await
                .expect("no message")
            {
                Ok(0) => return Some(message),
                Ok(byte) => message.push(byte),
                Err(_) => return None,
            }
        }
    }

    /// True where nothing comes for a while, and the stream is open.
    async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_millis(50), self.stream.read_u8())
            .await
            .is_err()
    }

    /// The next patch's stanzas, applied.
    async fn patch(&mut self) -> Vec<Value> {
        loop {
            let bytes = self.bytes().await.expect("the stream ended");
            let message: Value = serde_json::from_slice(&bytes).unwrap();
            if message["kind"] != "patch" {
                continue;
            }
            let id = message["id"].as_u64().unwrap();
            assert!(
                self.last_id == 0 || id == self.last_id + 1,
                "gap before {id}"
            );
            self.last_id = id;
            let stanzas = message["data"].as_array().unwrap().clone();
            stanzas
                .iter()
                .for_each(|stanza| apply(&mut self.tree, stanza));
            return stanzas;
        }
    }

    /// The next patch that says something of the monitor.
    async fn change(&mut self) -> Vec<Value> {
        loop {
            let mut stanzas = self.patch().await;
            stanzas.retain(|stanza| stanza[0][0] != "listener");
            if !stanzas.is_empty() {
                return stanzas;
            }
        }
    }

    /// Replays up to what `daemon_status` answers now, and compares.
    #[track_caller]
    fn check(&self, status: &Value, about: &str) {
        assert_eq!(shape(self.tree.clone()), shape(status.clone()), "{about}");
    }

    async fn catch_up(&mut self, status: &Value) {
        let accepted = |tree: &Value| tree["listener"]["stats"]["sessions"]["accepted"].as_u64();
        while accepted(&self.tree) < accepted(status) {
            self.patch().await;
        }
    }
}

/// A tree without what is not compared: the listener, instances of which nothing is known, nulls.
fn shape(mut tree: Value) -> Value {
    tree.as_object_mut().unwrap().remove("listener");
    for node in tree["monitor"]["nodes"]
        .as_object_mut()
        .unwrap()
        .values_mut()
    {
        if let Some(status) = node.pointer_mut("/services/status") {
            status
                .as_object_mut()
                .unwrap()
                .retain(|_, report| report.get("kind").is_some());
        }
    }
    without_nulls(tree)
}

fn without_nulls(tree: Value) -> Value {
    match tree {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                kept.map(|(key, value)| (key, without_nulls(value)))
                    .collect(),
            )
        }
        other => other,
    }
}

fn apply(tree: &mut Value, stanza: &Value) {
    let stanza = stanza.as_array().unwrap();
    let path = stanza[0].as_array().unwrap();
    let (last, parents) = path.split_last().unwrap();
    let mut at = tree;
    for key in parents {
        let next = match key {
            Value::String(key) => at.get_mut(key),
            key => at.get_mut(usize::try_from(key.as_u64().unwrap()).unwrap()),
        };
        // The listener's sessions may have gone before the tree was taken.
        let Some(next) = next else {
            return assert_eq!(path[0], "listener", "{path:?}");
        };
        at = next;
    }
    match (at, last, stanza.get(1)) {
        (Value::Object(map), Value::String(key), Some(value)) => {
            map.insert(key.clone(), value.clone());
        }
        (Value::Object(map), Value::String(key), None) => {
            let known = map.remove(key).is_some();
            assert!(
                known || path[0] == "listener",
                "deleted what was not there: {path:?}"
            );
        }
        (Value::Array(list), index, value) => {
            let index = usize::try_from(index.as_u64().unwrap()).unwrap();
            match value {
                Some(value) if index == list.len() => list.push(value.clone()),
                Some(value) => list[index] = value.clone(),
                None => {
                    assert_eq!(index + 1, list.len());
                    list.pop();
                }
            }
        }
        (at, ..) => panic!("{path:?} is not in {at}"),
    }
}

/// Seeded, so that a failure can be had again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}

/// One random thing that an operator or fate does; a refusal is an answer too.
fn stir(sim: &Sim, random: &mut Random) {
    let path = random.pick(&["test/svc/a", "test/svc/b", "c"]);
    let node = random.pick(&["n1", "n2"]);
    let number = random.below(5);
    let refused = match random.below(16) {
        0..=2 => sim.create(path, WEB),
        3 => sim.remove(path),
        4 => sim.set(
            path,
            &[&format!("expose#0.listener_port={}", 8000 + number)],
        ),
        5 => sim.set(
            path,
            &[
                "ip#1.expose+=expose#1",
                "expose#1.port=1",
                "expose#1.listener_port=0",
            ],
        ),
        6 => sim
            .set(path, &["ip#1.expose-=expose#1"])
            .and_then(|()| sim.unset(path, &["expose#1"])),
        7 => sim.set(path, &[&format!("ip#1.ipname=10.0.0.{number}")]),
        8 => sim.scale(path, u32::try_from(number).unwrap() * 2),
        9 => sim.set_resource_status(path, node, "ip#1", random.pick(&["up", "down", "warn"])),
        10 => sim.run(path),
        11 => sim.stop_service(path),
        12 => sim
            .create("test/sec/s", "")
            .or_else(|_| sim.set_key("test/sec/s", "k", "v")),
        13 => sim.set_address(path, "ip#1", random.pick(&["nohost", "10.0.0.9"])),
        14 if number == 0 => {
            sim.drop_node("n2");
            sim.add_node("n2");
            Ok(())
        }
        _ => {
            sim.set_node_status(node, random.pick(&["idle", "maintenance"]));
            Ok(())
        }
    };
    drop(refused);
}

#[tokio::test]
async fn replaying_the_patches_gives_the_status() {
    for seed in 1..=12 {
        let socket = socket();
        let sim = Sim::start(&socket, &["n1", "n2"]).unwrap();
        let mut watch = Watch::start(&socket, &sim).await;
        let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        for _ in 0..40 {
            if random.below(4) == 0 {
                sim.batch(|sim| (0..3).for_each(|_| stir(sim, &mut random)));
            } else {
                stir(&sim, &mut random);
            }
        }
        let status = ask(&socket, r#"{"action":"daemon_status"}"#).await;
        watch.catch_up(&status).await;
        watch.check(&status, &format!("seed {seed}"));
    }
}

#[tokio::test]
async fn requests_get_the_recorded_answers() {
    let socket = socket();
    let sim = Sim::start(&socket, &["vm"]).unwrap();
    sim.create("test/sec/cert", "").unwrap();
    sim.create("test/svc/web1", include_str!("../recorded/web1.conf"))
        .unwrap();
    for (request, expected) in [
        (
            "garbage",
            json!({"error": "invalid data format", "status": 1}),
        ),
        (
            "[1,2]",
            json!({"error": "invalid data format", "status": 1}),
        ),
        (
            r#"{"foo":1}"#,
            json!({"error": "action not specified", "status": 1}),
        ),
        (
            r#"{"action":"nosuchaction"}"#,
            json!({"status": 501, "error": "handler None nosuchaction is not supported"}),
        ),
        (
            r#"{"action":"set_key","options":{"path":"test/sec/cert","key":"k","data":"v"}}"#,
            json!({"status": 0, "info": "key k value set"}),
        ),
        (
            r#"{"action":"get_secret_key","options":{"svcpath":"test/sec/cert","key":"k"}}"#,
            json!({"status": 0, "data": "v"}),
        ),
        (
            r#"{"action":"get_key","options":{"path":"test/sec/cert","key":"nope"}}"#,
            json!({"status": 1,
                "error": "secret test/sec/cert key nope does not exist or has no value"}),
        ),
        (
            r#"{"action":"get_key","options":{"path":"test/sec/cert"}}"#,
            json!({"status": 400, "error": "required option key is not set"}),
        ),
        (
            r#"{"action":"object_keys","method":"GET","options":{"path":"test/sec/cert"}}"#,
            json!({"status": 0, "data": ["k"]}),
        ),
        (
            r#"{"action":"key","method":"DELETE","options":{"path":"test/sec/cert","key":"k"}}"#,
            json!({"status": 0, "info": "key k value unset"}),
        ),
    ] {
        assert_eq!(ask(&socket, request).await, expected, "{request}");
    }
    let config = r#"{"action":"get_service_config","options":{"path":"P","format":"json"}}"#;
    let unknown = ask(&socket, &config.replace('P', "test/svc/nope")).await;
    assert_eq!(
        (&unknown["status"], &unknown["error"]),
        (&json!("1"), &json!("'test/svc/nope'"))
    );
    let web = ask(&socket, &config.replace('P', "test/svc/web1")).await;
    assert_eq!(
        web["certificate#front"],
        json!({"secret": "web1-front-cert"})
    );
    assert_eq!(
        web["metadata"],
        json!({"name": "web1", "kind": "svc", "namespace": "test"})
    );
    assert_eq!(sim.requests("get_service_config"), 2);
    assert_eq!(ask(&socket, r#"{"action":"whoami"}"#).await["name"], "root");
}

#[tokio::test]
async fn an_instance_is_reported_as_recorded() {
    let socket = socket();
    let sim = Sim::start(&socket, &["vm"]).unwrap();
    sim.create("test/svc/web1", include_str!("../recorded/web1.conf"))
        .unwrap();
    let status = ask(&socket, r#"{"action":"daemon_status"}"#).await;
    let report = &status["monitor"]["nodes"]["vm"]["services"]["status"]["test/svc/web1"];
    let mut resources = report["resources"].clone();
    for resource in resources.as_object_mut().unwrap().values_mut() {
        resource.as_object_mut().unwrap().remove("provisioned");
    }
    let recorded: Value = serde_json::from_str(include_str!("../recorded/web1.json")).unwrap();
    assert_eq!(resources, recorded);
    for (key, value) in [
        ("kind", "svc"),
        ("topology", "flex"),
        ("avail", "up"),
        ("env", "TST"),
    ] {
        assert_eq!(report[key], value);
    }
    assert_eq!(
        (&report["flex_max"], &report["provisioned"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(status["cluster"]["nodes"], json!(["vm"]));
    let aggregate = json!({"avail": "up", "frozen": "thawed", "overall": "up",
        "placement": "optimal", "provisioned": true});
    assert_eq!(status["monitor"]["services"]["test/svc/web1"], aggregate);
}

#[tokio::test]
async fn a_new_object_is_configured_then_listed_then_evaluated() {
    let socket = socket();
    let sim = Sim::start(&socket, &["vm"]).unwrap();
    let mut watch = Watch::start(&socket, &sim).await;
    sim.create("test/svc/a", WEB).unwrap();
    let stanzas = watch.change().await;
    let instances = ["monitor", "nodes", "vm", "services"];
    assert_eq!(
        stanzas[0][0],
        json!([&instances[..], &["config", "test/svc/a"]].concat())
    );
    assert_eq!(stanzas[1][0], json!(["monitor", "services", "test/svc/a"]));
    assert_eq!(stanzas[1][1]["avail"], "unknown");
    assert_eq!(
        stanzas[2][0],
        json!([&instances[..], &["status", "test/svc/a"]].concat())
    );
    assert_eq!(stanzas[2][1]["resources"]["ip#1"]["status"], "down");
    let stanzas = watch.change().await;
    let up = json!([&instances[..], &["status", "test/svc/a", "avail"]].concat());
    assert!(stanzas.contains(&json!([up, "up"])), "{stanzas:?}");
}

#[tokio::test]
async fn a_key_changes_the_configuration_and_nothing_that_names_it() {
    let socket = socket();
    let sim = Sim::start(&socket, &["vm"]).unwrap();
    sim.create("test/sec/s", "").unwrap();
    let mut watch = Watch::start(&socket, &sim).await;
    for _ in 0..2 {
        sim.set_key("test/sec/s", "k", "the same").unwrap();
        let stanzas = watch.change().await;
        let keys: Vec<&Value> = stanzas.iter().map(|stanza| &stanza[0][6]).collect();
        assert_eq!(keys, ["csum", "updated"]);
        assert_eq!(stanzas[0][0][4], "config");
        let stanzas = watch.change().await;
        assert_eq!(stanzas.len(), 1, "{stanzas:?}");
        assert_eq!(
            (&stanzas[0][0][4], &stanzas[0][0][6]),
            (&json!("status"), &json!("updated"))
        );
    }
}

#[tokio::test]
async fn slaves_that_go_are_stopping_then_down_then_deleted() {
    let socket = socket();
    let sim = Sim::start(&socket, &["n1"]).unwrap();
    sim.address_slaves("test/svc/a", |number, _| format!("127.0.2.{}", number + 1));
    sim.create("test/svc/a", WEB).unwrap();
    sim.scale("test/svc/a", 3).unwrap();
    let report = |path: &str| {
        let status = sim.status();
        status["monitor"]["nodes"]["n1"]["services"]["status"][path].clone()
    };
    assert_eq!(
        report("test/svc/a")["scaler_slaves"],
        json!(["0.a", "1.a", "2.a"])
    );
    assert_eq!(report("test/svc/a")["resources"], json!({}));
    let ip = |path| report(path)["resources"]["ip#1"].clone();
    assert_eq!(ip("test/svc/2.a")["info"]["ipaddr"], "127.0.2.3");
    assert_eq!(ip("test/svc/2.a")["status"], "up");
    assert_eq!(report("test/svc/2.a")["scaler_slave"], true);
    // What is set on the scaler does not reach its slaves.
    sim.set("test/svc/a", &["expose#0.port=81"]).unwrap();
    assert_eq!(
        report("test/svc/2.a")["resources"]["expose#0"]["info"]["port"],
        80
    );

    assert_eq!(
        sim.begin_scale("test/svc/a", 1),
        Ok(vec!["test/svc/2.a".into(), "test/svc/1.a".into()])
    );
    assert_eq!(report("test/svc/2.a")["monitor"]["status"], "stopping");
    assert_eq!(ip("test/svc/2.a")["status"], "up");
    let mut watch = Watch::start(&socket, &sim).await;
    sim.finish_scale("test/svc/a").unwrap();
    let stanzas = watch.change().await;
    let down = |stanza: &Value| stanza[0][7] == "ip#1" && stanza[1] == "down";
    assert!(stanzas.iter().any(down), "{stanzas:?}");
    // An instance without content stays for a moment, and only the events show it.
    assert_eq!(report("test/svc/2.a"), json!({"resources": {}}));
    let status = ask(&socket, r#"{"action":"daemon_status"}"#).await;
    watch.catch_up(&status).await;
    watch.check(&status, "scaled down");
    assert_eq!(status["monitor"]["services"].get("test/svc/2.a"), None);
    let shown = &status["monitor"]["nodes"]["n1"]["services"]["status"];
    assert_eq!(shown.get("test/svc/2.a"), None);
}
