//! The Helm chart: rendered and linted by Helm itself, judged by the schemas of Kubernetes, and
//! its options by the program that gets them.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use osvc_igw::config::{options_table, parse};
use serde_json::{Value, json};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What Helm makes of the chart: what its linter says, and the manifests.
struct Rendered {
    lint: String,
    error: Option<String>,
    manifests: Vec<Value>,
}

impl Rendered {
    fn of(values: &Value) -> Self {
        let packages = root().join("target/helm");
        assert!(
            packages.join("helm_python").is_dir(),
            "this test needs Helm: run tests/run.sh, which sets it up"
        );
        let own = root().join("target/venv/bin/python3");
        let python = if own.exists() {
            own
        } else {
            PathBuf::from("python3")
        };
        let mut child = Command::new(python)
            .arg(root().join("tests/chart/render.py"))
            .arg(root().join("charts/osvc-igw"))
            .arg(KUBERNETES)
            .env("PYTHONPATH", packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin
            .write_all(values.to_string().as_bytes())
            .expect("a reader");
        drop(stdin);
        let output = child.wait_with_output().expect("an end");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let mut result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        Self {
            lint: result["lint"].to_string(),
            error: result["error"].as_str().map(str::to_owned),
            manifests: match result["manifests"].take() {
                Value::Array(manifests) => manifests,
                _ => Vec::new(),
            },
        }
    }

    fn all(&self, kind: &str) -> Vec<&Value> {
        let manifests = self.manifests.iter().map(|it| &it["manifest"]);
        manifests.filter(|it| it["kind"] == kind).collect()
    }

    fn pod(&self) -> &Value {
        &self.all("Deployment")[0]["spec"]["template"]["spec"]
    }
}

/// The values that have no default.
fn values(more: Value) -> Value {
    let mut values = json!({"daemon": {
        "servers": ["https://n1:1215", "https://n2:1215"], "secretName": "igw-login"}});
    let (Value::Object(all), Value::Object(more)) = (&mut values, more) else {
        panic!("values are an object");
    };
    all.extend(more);
    values
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[test]
fn what_helm_makes_of_it_is_what_kubernetes_takes() {
    let more = json!({
        "serviceMonitor": {"enabled": true, "labels": {"release": "prometheus"}},
        "service": {"type": "NodePort", "externalTrafficPolicy": "Cluster", "ports": [
            {"name": "https", "port": 443, "nodePort": 30443},
            {"name": "dns", "port": 53, "protocol": "UDP"}]},
        "options": {"OSVC_IGW_HOLD_DOWN": "2m", "OSVC_IGW_XFF_TRUSTED_HOPS": 1},
        "nodeSelector": {"edge": "true"},
        "tolerations": [{"key": "edge", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "podAnnotations": {"a": "b"},
        "imagePullSecrets": [{"name": "registry"}],
    });
    for values in [values(json!({})), values(more)] {
        let rendered = Rendered::of(&values);
        assert_eq!(rendered.error, None);
        // The linter asks for an icon, which is of the lowest severity that it has.
        assert!(
            !rendered.lint.contains("'severity': 2"),
            "{}",
            rendered.lint
        );
        assert!(rendered.lint.contains("'errors': []"), "{}", rendered.lint);
        let kinds = rendered.manifests.iter().map(|it| &it["manifest"]["kind"]);
        let kinds: BTreeSet<&str> = kinds.filter_map(Value::as_str).collect();
        for kind in [
            "ConfigMap",
            "Deployment",
            "NetworkPolicy",
            "PodDisruptionBudget",
            "Service",
        ] {
            assert!(kinds.contains(kind), "{kind} in {kinds:?}");
        }
        for found in &rendered.manifests {
            let foreign = found["manifest"]["apiVersion"] == "monitoring.coreos.com/v1";
            let wanted = if foreign { "no schema" } else { "valid" };
            assert_eq!(found["judged"], wanted, "{found:#}");
        }
    }
}

#[test]
fn values_that_mean_nothing_are_refused_by_the_schema() {
    for (wrong, words) in [
        (json!({}), "servers"),
        (
            json!({"daemon": {"servers": [], "secretName": "x"}}),
            "minItems",
        ),
        (
            json!({"daemon": {"servers": ["n1"], "secretName": "x"}}),
            "does not match pattern",
        ),
        (
            json!({"daemon": {"servers": ["https://n1"], "secretName": ""}}),
            "secretName",
        ),
        (values(json!({"replicas": 3})), "replicas"),
        (
            values(json!({"service": {"type": "None", "ports": []}})),
            "type",
        ),
        (values(json!({"options": {"HOLD_DOWN": "1m"}})), "HOLD_DOWN"),
        (values(json!({"replicaCount": 0})), "replicaCount"),
    ] {
        let error = Rendered::of(&wrong).error.unwrap_or_default();
        assert!(error.contains(words), "{wrong}: {error}");
    }
}

#[test]
fn the_program_takes_its_arguments_and_every_variable_of_its_environment() {
    let more = json!({"options": {"OSVC_IGW_HOLD_DOWN": "2m"}});
    let rendered = Rendered::of(&values(more));
    let table = options_table();
    let mut line = vec!["osvc-igw".to_owned(), "run".to_owned()];
    let data = rendered.all("ConfigMap")[0]["data"]
        .as_object()
        .expect("data");
    for (name, value) in data {
        let row = table
            .lines()
            .find(|row| row.contains(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("no option has {name}"));
        let words = row.split('`').find(|word| word.starts_with("--"));
        line.push(words.expect("a long option").to_owned());
        line.push(value.as_str().expect("a text").to_owned());
    }
    let parsed = parse(line);
    assert!(parsed.is_ok(), "{parsed:?}");
    for container in array(&rendered.pod()["initContainers"]) {
        let words = array(&container["args"]).iter().filter_map(Value::as_str);
        let parsed = parse(["osvc-igw"].into_iter().chain(words));
        assert!(parsed.is_ok(), "{parsed:?}");
    }
}

#[test]
fn no_container_may_more_than_it_needs() {
    let rendered = Rendered::of(&values(json!({})));
    let pod = rendered.pod();
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    let containers = array(&pod["initContainers"])
        .iter()
        .chain(array(&pod["containers"]));
    for container in containers {
        let may = &container["securityContext"];
        assert_eq!(
            may["capabilities"],
            json!({"drop": ["ALL"]}),
            "{container:#}"
        );
        assert_eq!(may["allowPrivilegeEscalation"], false);
        assert_eq!(may["readOnlyRootFilesystem"], true);
    }
    let secret = &pod["volumes"][0]["secret"];
    assert_eq!(secret["secretName"], "igw-login");
}

#[test]
fn services_and_policies_name_ports_that_are_there() {
    let rendered = Rendered::of(&values(json!({})));
    let ports = array(&rendered.pod()["containers"]).iter();
    let ports = ports.flat_map(|container| array(&container["ports"]));
    let ports: BTreeSet<(String, u64)> = ports
        .map(|port| {
            let number = port["containerPort"].as_u64().expect("a number");
            (port["name"].as_str().expect("a name").to_owned(), number)
        })
        .collect();
    let mut targets = 0;
    for service in rendered.all("Service") {
        for port in array(&service["spec"]["ports"]) {
            targets += 1;
            let target = port["targetPort"].as_str().expect("a name");
            assert!(ports.iter().any(|(name, _)| name == target), "{target}");
        }
        let labels = &rendered.all("Deployment")[0]["spec"]["template"]["metadata"]["labels"];
        for (name, value) in service["spec"]["selector"].as_object().expect("a selector") {
            assert_eq!(&labels[name], value, "{name}");
        }
    }
    assert_eq!(targets, 3);
    let open = array(&rendered.all("NetworkPolicy")[0]["spec"]["ingress"]).iter();
    let open = open.flat_map(|rule| array(&rule["ports"]));
    let open: BTreeSet<u64> = open.filter_map(|port| port["port"].as_u64()).collect();
    let there: BTreeSet<u64> = ports.iter().map(|(_, port)| *port).collect();
    assert_eq!(open, there);
}

#[test]
fn what_is_switched_off_is_not_there() {
    let rendered = Rendered::of(&values(json!({
        "podDisruptionBudget": {"enabled": false},
        "networkPolicy": {"enabled": false},
        "service": {"type": "ClusterIP", "ports": [{"name": "http", "port": 80}]},
    })));
    for kind in ["PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor"] {
        assert!(rendered.all(kind).is_empty(), "{kind}");
    }
    assert_eq!(
        rendered.all("Service")[0]["spec"]["externalTrafficPolicy"],
        Value::Null
    );
}

/// The version stands in Cargo.toml; whatever repeats it agrees.
#[test]
fn there_is_one_version() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = fs::read_to_string(root().join("charts/osvc-igw/Chart.yaml")).expect("a chart");
    for key in ["version", "appVersion"] {
        let line = format!("{key}: {version}");
        assert!(chart.lines().any(|it| it == line), "Chart.yaml: {line}");
    }
    let image = "ghcr.io/opensvc/osvc-igw:";
    let mut images = 0;
    let folder = fs::read_dir(root().join("examples/opensvc")).expect("a folder");
    let files = folder.map(|entry| entry.expect("an entry").path());
    for file in files.chain([root().join("charts/osvc-igw/values.yaml")]) {
        let text = fs::read_to_string(&file).expect("a text");
        for (_, rest) in text
            .match_indices(image)
            .map(|(at, _)| text.split_at(at + image.len()))
        {
            let tag = rest.split_whitespace().next();
            assert_eq!(tag, Some(version), "{}", file.display());
            images += 1;
        }
    }
    assert_eq!(images, 5);
}

/// Whose schemas the manifests are judged by.
const KUBERNETES: &str = "1.31.0";
