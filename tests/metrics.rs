//! The names of the metrics by the rules of `promtool check metrics`, over a strict reading of the
//! OpenMetrics text; and that dashboards and alerts name what is served.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use osvc_igw::metrics::{Certificate, Metrics, Standing};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::support::rig::Rig;
use crate::support::stand::LATE;

/// A metric, as the text has it.
#[derive(Clone, Debug, Default)]
struct Family {
    help: String,
    kind: String,
    unit: String,
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Reads a page (OpenMetrics 1.0, "Text format").
fn parse(page: &str) -> Result<BTreeMap<String, Family>, String> {
    let body = page.strip_suffix("# EOF\n").ok_or("no end")?;
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in body.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            let sample = sample(line)?;
            let family = families.get_mut(&current).ok_or("a sample of nothing")?;
            let suffix = sample.name.strip_prefix(&current);
            let suffix = suffix.ok_or_else(|| format!("{line}: not of {current}"))?;
            let suffixes: &[&str] = match family.kind.as_str() {
                "counter" => &["_total", "_created"],
                "histogram" => &["_bucket", "_sum", "_count", "_created"],
                "gauge" => &[""],
                other => return Err(format!("{current} is a {other}")),
            };
            if !suffixes.contains(&suffix) {
                return Err(format!("{line}: no sample of a {}", family.kind));
            }
            family.samples.push(sample);
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        let mut word = || words.next().ok_or_else(|| format!("{line}: too short"));
        let (what, name, text) = (word()?, word()?, word()?);
        if name != current && families.contains_key(name) {
            return Err(format!("{name} is told in two places"));
        }
        current = name.to_owned();
        let family = families.entry(current.clone()).or_default();
        let field = match what {
            "HELP" => &mut family.help,
            "TYPE" => &mut family.kind,
            "UNIT" => &mut family.unit,
            _ => return Err(format!("{line}: no such comment")),
        };
        if !field.is_empty() || !family.samples.is_empty() {
            return Err(format!("{line}: repeated, or behind its samples"));
        }
        text.clone_into(field);
    }
    Ok(families)
}

fn sample(line: &str) -> Result<Sample, String> {
    let bad = || format!("{line}: no sample");
    let end = line.find(['{', ' ']).ok_or_else(bad)?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, value) = rest.split_once("=\"").ok_or_else(bad)?;
            let mut text = String::new();
            let mut characters = value.char_indices();
            let end = loop {
                match characters.next().ok_or_else(bad)? {
                    (at, '"') => break at,
                    (_, '\\') => match characters.next().ok_or_else(bad)?.1 {
                        'n' => text.push('\n'),
                        other @ ('"' | '\\') => text.push(other),
                        _ => return Err(bad()),
                    },
                    (_, '\n') => return Err(bad()),
                    (_, other) => text.push(other),
                }
            };
            labels.push((label.to_owned(), text));
            rest = &value[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').ok_or_else(bad)?;
    Ok(Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().map_err(|_| bad())?,
    })
}

/// What `promtool check metrics` would say (prometheus/util/promlint), and what Prometheus' own
/// page on naming asks for.
fn lint(families: &BTreeMap<String, Family>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, family) in families {
        let mut say = |text: &str| found.push(format!("{name}: {text}"));
        if family.help.len() < 10 {
            say("no help text");
        }
        if family.kind.is_empty() {
            say("no type");
        }
        if !name.starts_with("osvc_igw_") {
            say("the prefix of another program");
        }
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !name.chars().all(lower) || name.contains("__") || name.ends_with('_') {
            say("not in snake_case");
        }
        let words: Vec<&str> = name.split('_').collect();
        for word in &words {
            if ["gauge", "counter", "histogram", "summary", "metric"].contains(word) {
                say("the type in the name");
            }
            if OTHER_UNITS.contains(word) {
                say("no base unit");
            }
            if ABBREVIATIONS.contains(word) {
                say("an abbreviated unit");
            }
        }
        if family.kind != "counter" && name.ends_with("_total") {
            say("a total that is no counter");
        }
        if family.kind == "counter" && name.ends_with("_total") {
            say("the suffix twice");
        }
        let reserved = ["_bucket", "_count", "_sum", "_info_info"];
        if reserved.iter().any(|suffix| name.ends_with(suffix)) {
            say("a reserved suffix");
        }
        let unit = words.iter().rev().find(|word| BASE_UNITS.contains(word));
        if unit.is_some_and(|unit| family.unit != **unit || words.last() != Some(unit)) {
            say("a unit that is not its last word, or that is not told");
        }
        found.extend(lint_samples(name, family));
    }
    found
}

fn lint_samples(name: &str, family: &Family) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut below: Option<f64> = None;
    for sample in &family.samples {
        if !seen.insert((sample.name.clone(), sample.labels.clone())) {
            found.push(format!("{name}: one sample twice"));
        }
        for (label, _) in &sample.labels {
            let lower = |c: char| c.is_ascii_lowercase() || c == '_';
            if !label.chars().all(lower) || label.starts_with('_') {
                found.push(format!("{name}: the label {label}"));
            }
            if label == "le" && !sample.name.ends_with("_bucket") {
                found.push(format!("{name}: the label le of a histogram"));
            }
        }
        if sample.name.ends_with("_bucket") {
            if below.is_some_and(|below| below > sample.value) {
                found.push(format!("{name}: buckets that do not add up"));
            }
            let last = sample.labels.iter().any(|(_, value)| value == "+Inf");
            below = (!last).then_some(sample.value);
        }
    }
    found
}

/// A page with something of everything.
fn full() -> String {
    let metrics = Metrics::default();
    metrics.compiled(Duration::from_millis(2));
    metrics.pushed(Duration::from_millis(2));
    metrics.acknowledged("cds", Duration::from_secs(2));
    let hostile = "a \"name\"\\ with a\nline break <img src=x>";
    let standing = Standing {
        problems: vec!["expose#0".to_owned()],
        resources: BTreeMap::from([("cds", 3)]),
        refused: vec![["edge", "cds", hostile, "test/svc/web", "expose#0"].map(str::to_owned)],
        certificates: BTreeMap::from([(
            "test/sec/web".to_owned(),
            Certificate {
                not_after: Some(2_000_000_000),
                flawed: true,
            },
        )]),
        ..Standing::default()
    };
    metrics.page(&standing).expect("a page")
}

#[test]
fn the_names_are_as_promtool_wants_them() {
    let families = parse(&full()).expect("OpenMetrics");
    assert!(families.len() > 20, "{}", families.len());
    assert_eq!(lint(&families), Vec::<String>::new());
}

#[test]
fn a_hostile_name_is_a_label_like_any_other() {
    let families = parse(&full()).expect("OpenMetrics");
    let labels = &families["osvc_igw_xds_refused"].samples[0].labels;
    let name = labels.iter().find(|(label, _)| label == "name");
    assert!(name.is_some_and(|(_, name)| name.contains("with a\nline break")));
}

#[test]
fn the_lint_can_fail() {
    for (bad, why) in [
        ("osvc_igw_x_ms", "an abbreviated unit"),
        ("osvc_igw_x_milliseconds", "no base unit"),
        ("osvc_igw_x_gauge", "the type in the name"),
        ("osvc_igw_x_total", "a total that is no counter"),
        ("osvc_igw_x_count", "a reserved suffix"),
        ("osvc_igw_x_seconds", "a unit that"),
        ("osvc_igw_xY", "not in snake_case"),
        ("other_x", "the prefix"),
    ] {
        let page = format!("# HELP {bad} What it is about.\n# TYPE {bad} gauge\n{bad} 1\n# EOF\n");
        let found = lint(&parse(&page).expect("OpenMetrics"));
        assert!(
            found.iter().any(|text| text.contains(why)),
            "{bad}: {found:?}"
        );
    }
    let twice = "# HELP osvc_igw_x What.\n# TYPE osvc_igw_x gauge\nosvc_igw_x 1\n";
    for bad in [
        format!("{twice}# TYPE osvc_igw_x gauge\n# EOF\n"),
        "osvc_igw_x 1\n# EOF\n".to_owned(),
        "# TYPE osvc_igw_x counter\nosvc_igw_x 1\n# EOF\n".to_owned(),
        twice.to_owned(),
    ] {
        assert!(parse(&bad).is_err(), "{bad}");
    }
}

/// The series that an expression names.
fn named(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.starts_with("osvc_igw_"));
    ours.map(str::to_owned).collect()
}

fn served() -> BTreeSet<String> {
    let families = parse(&full()).expect("OpenMetrics");
    let samples = families.values().flat_map(|family| &family.samples);
    samples.map(|sample| sample.name.clone()).collect()
}

fn example(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join("examples/monitoring").join(name)).expect("an example")
}

#[test]
fn the_alerts_are_rules_over_what_is_served() {
    let text = example("alerts.yaml");
    let document: Value = serde_norway::from_str(&text).expect("YAML");
    let served = served();
    let mut names = BTreeSet::new();
    let groups = document["groups"].as_array().expect("groups");
    for rule in groups
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules"))
    {
        let alert = rule["alert"].as_str().expect("a name");
        assert!(names.insert(alert.to_owned()), "{alert} twice");
        let named = named(rule["expr"].as_str().expect("an expression"));
        assert!(!named.is_empty(), "{alert} is about nothing");
        let unknown: Vec<_> = named.difference(&served).collect();
        assert!(unknown.is_empty(), "{alert}: {unknown:?}");
        let severity = rule["labels"]["severity"].as_str();
        assert!(severity.is_some_and(|it| ["critical", "warning"].contains(&it)));
        for text in ["summary", "description"] {
            assert!(
                rule["annotations"][text].as_str().is_some(),
                "{alert}: {text}"
            );
        }
    }
    assert!(names.len() > 10, "{names:?}");
}

#[test]
fn the_dashboard_shows_what_is_served() {
    let dashboard: Value = serde_json::from_str(&example("dashboard.json")).expect("JSON");
    let served = served();
    let (mut ids, mut shown) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64()), "{title}: an id twice");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let named = named(target["expr"].as_str().expect("an expression"));
            let unknown: Vec<_> = named.difference(&served).collect();
            assert!(
                !named.is_empty() && unknown.is_empty(),
                "{title}: {unknown:?}"
            );
            shown.extend(named);
        }
    }
    let hidden: Vec<_> = served
        .difference(&shown)
        .filter(|name| !is_beside(name))
        .collect();
    assert!(hidden.is_empty(), "no panel shows {hidden:?}");
}

/// What stands in a panel under another name, or what no panel needs.
fn is_beside(name: &str) -> bool {
    let parts = ["_sum", "_count"];
    let rest = [
        "_ready",
        "_stale",
        "_start_timestamp_seconds",
        "_certificate_flawed",
    ];
    parts.iter().chain(&rest).any(|end| name.ends_with(end))
}

#[test]
fn every_metric_stands_in_the_table() {
    let page = example("README.md");
    for name in parse(&full()).expect("OpenMetrics").keys() {
        assert!(page.contains(&format!("`{name}")), "{name}");
    }
}

/// The page as Prometheus asks for it.
async fn scraped(rig: &Rig) -> String {
    let client = reqwest::Client::builder().no_proxy().build();
    let page = client
        .expect("a client")
        .get(format!("http://{}/metrics", rig.options.admin));
    let page = page.header(
        "accept",
        "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
    );
    let page = page.send().await.expect("an answer");
    page.text().await.expect("a page")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_of_an_event_is_measured_to_the_acknowledgement() {
    let rig = Rig::start().await;
    let measured = async {
        loop {
            let page = scraped(&rig).await;
            let families = parse(&page).expect("OpenMetrics");
            assert_eq!(lint(&families), Vec::<String>::new());
            let value = |family: &str, sample: &str, label: &str| {
                let samples = families.get(family).into_iter().flat_map(|it| &it.samples);
                let mut samples = samples.filter(|one| one.name.ends_with(sample));
                let found = samples.find(|one| {
                    label.is_empty() || one.labels.iter().any(|(_, value)| value == label)
                });
                found.map_or(0.0, |one| one.value)
            };
            let eds = value("osvc_igw_push_to_ack_seconds", "_count", "eds");
            let pushed = value("osvc_igw_event_to_push_seconds", "_count", "");
            let acks = value("osvc_igw_xds_acks", "_total", "lds");
            let behind = value("osvc_igw_xds_streams_unsynced", "", "");
            let front = "test/sec/web1-front-cert";
            let expiry = value("osvc_igw_certificate_expiry_timestamp_seconds", "", front);
            let heard = value("osvc_igw_daemon_last_event_timestamp_seconds", "", "");
            let all = [eds, pushed, acks, expiry, heard];
            if all.iter().all(|value| *value > 0.0) && behind == 0.0 {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LATE, measured)
        .await
        .expect("everything is measured");
}

const BASE_UNITS: &[&str] = &["bytes", "celsius", "grams", "joules", "meters", "seconds"];
const OTHER_UNITS: &[&str] = &[
    "days",
    "hours",
    "kilobytes",
    "megabytes",
    "microseconds",
    "milliseconds",
    "minutes",
    "nanoseconds",
    "percent",
    "weeks",
];
const ABBREVIATIONS: &[&str] = &[
    "b", "d", "gb", "h", "kb", "m", "mb", "ms", "ns", "s", "sec", "secs", "us",
];
