//! Where two JSON values differ: a path and the two values for each place. Lists are compared by
//! what is in them, not by where it stands: one item more is one difference.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

/// One place that is not the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Field {
    /// Where, in the field names of Envoy's documentation: `filters[0].typed_config.idle_timeout`.
    pub path: String,
    /// What was there; `None` for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// What is there now; `None` for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

/// The places where the values differ, in the order of the fields' names.
pub(super) fn compare(old: &Value, new: &Value) -> Vec<Field> {
    let mut found = Vec::new();
    value("", Some(old), Some(new), &mut found);
    found
}

fn value(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Field>) {
    match (old, new) {
        (Some(old), Some(new)) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                value(&member(path, name), old.get(name), new.get(name), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => list(path, old, new, found),
        (old, new) => found.push(Field {
            path: path.to_owned(),
            old: old.cloned(),
            new: new.cloned(),
        }),
    }
}

fn list(path: &str, old: &[Value], new: &[Value], found: &mut Vec<Field>) {
    if let (Some(theirs), Some(ours)) = (keyed(old), keyed(new)) {
        let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
        let before = found.len();
        for name in names {
            let at = |items: &BTreeMap<String, usize>, list: &'_ [Value]| {
                items.get(name).and_then(|at| list.get(*at)).cloned()
            };
            let (theirs, ours) = (at(&theirs, old), at(&ours, new));
            value(&item(path, name), theirs.as_ref(), ours.as_ref(), found);
        }
        let names = |list: &[Value], other: &BTreeMap<String, usize>| {
            let names = list.iter().filter_map(key);
            let names = names.filter(|name| other.contains_key(name));
            names.map(Value::String).collect::<Vec<_>>()
        };
        let (theirs, ours) = (names(old, &ours), names(new, &theirs));
        // Where nothing else differs, the order must.
        if theirs != ours || found.len() == before {
            found.push(Field {
                path: format!("{path} (order)"),
                old: Some(Value::Array(theirs)),
                new: Some(Value::Array(ours)),
            });
        }
        return;
    }
    aligned(path, old, new, found);
}

/// The items of a list by the name each of them has; `None` where that names no item alone.
fn keyed(list: &[Value]) -> Option<BTreeMap<String, usize>> {
    let mut keys = BTreeMap::new();
    for (at, value) in list.iter().enumerate() {
        if keys.insert(key(value)?, at).is_some() {
            return None;
        }
    }
    Some(keys)
}

fn key(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(members) => members.get("name")?.as_str().map(str::to_owned),
        _ => None,
    }
}

/// Items without names: what is equal in both is passed over, what is left between is compared
/// one by one.
fn aligned(path: &str, old: &[Value], new: &[Value], found: &mut Vec<Field>) {
    let (mut theirs, mut ours) = (0, 0);
    let mut anchors = common(old, new);
    anchors.push((old.len(), new.len()));
    for (old_end, new_end) in anchors {
        while theirs < old_end || ours < new_end {
            let before = (theirs < old_end).then(|| &old[theirs]);
            let after = (ours < new_end).then(|| &new[ours]);
            let at = if after.is_some() { ours } else { theirs };
            value(&format!("{path}[{at}]"), before, after, found);
            theirs += usize::from(before.is_some());
            ours += usize::from(after.is_some());
        }
        (theirs, ours) = (old_end + 1, new_end + 1);
    }
}

/// The places of a longest common subsequence. What the ends have in common is found cheaply;
/// of lists that differ in very much more than that, place is compared with place.
fn common(old: &[Value], new: &[Value]) -> Vec<(usize, usize)> {
    let same = |(a, b): &(&Value, &Value)| a == b;
    let head = old.iter().zip(new).take_while(same).count();
    let (old, new) = (&old[head..], &new[head..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(same);
    let tail = tail.count();
    let (rows, columns) = (old.len() - tail, new.len() - tail);
    let mut places: Vec<_> = (0..head).map(|at| (at, at)).collect();
    if rows.saturating_mul(columns) <= CELLS_MAX {
        // lengths[i][j]: how much of the lists from i and from j on is common.
        let mut lengths = vec![vec![0_usize; columns + 1]; rows + 1];
        for i in (0..rows).rev() {
            for j in (0..columns).rev() {
                lengths[i][j] = match old[i] == new[j] {
                    true => lengths[i + 1][j + 1] + 1,
                    false => lengths[i + 1][j].max(lengths[i][j + 1]),
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < rows && j < columns {
            if old[i] == new[j] {
                places.push((head + i, head + j));
                (i, j) = (i + 1, j + 1);
            } else if lengths[i + 1][j] >= lengths[i][j + 1] {
                i += 1;
            } else {
                j += 1;
            }
        }
    }
    let ends = (0..tail).map(|at| (head + rows + at, head + columns + at));
    places.extend(ends);
    places
}

fn member(path: &str, name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '@');
    match (path.is_empty(), name.chars().all(plain) && !name.is_empty()) {
        (true, true) => name.to_owned(),
        (false, true) => format!("{path}.{name}"),
        (_, false) => item(path, name),
    }
}

fn item(path: &str, name: &str) -> String {
    format!("{path}[{}]", Value::from(name))
}

/// A list of thousand routes beside another one.
const CELLS_MAX: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(old: &Value, new: &Value, expect: &[&str]) {
        let found = compare(old, new);
        let shown = found.iter().map(|field| {
            let text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
            let (old, new) = (text(&field.old), text(&field.new));
            let none = || "-".to_owned();
            format!(
                "{} {} {}",
                field.path,
                old.unwrap_or_else(none),
                new.unwrap_or_else(none)
            )
        });
        assert_eq!(shown.collect::<Vec<_>>(), expect);
    }

    #[test]
    fn a_place_is_named_by_its_fields() {
        check(
            &json!({"a": {"b": [{"c": 1}]}, "m": {"x.y": 1}}),
            &json!({"a": {"b": [{"c": 2}]}, "m": {"x.y": 2}, "n": true}),
            &["a.b[0].c 1 2", "m[\"x.y\"] 1 2", "n - true"],
        );
    }

    #[test]
    fn items_with_names_are_compared_by_them() {
        check(
            &json!({"r": [{"name": "a", "v": 1}, {"name": "b", "v": 1}]}),
            &json!({"r": [{"name": "0"}, {"name": "a", "v": 2}, {"name": "b", "v": 1}]}),
            &[r#"r["0"] - {"name":"0"}"#, r#"r["a"].v 1 2"#],
        );
    }

    #[test]
    fn an_order_is_a_difference() {
        check(
            &json!({"r": [{"name": "a"}, {"name": "b"}]}),
            &json!({"r": [{"name": "b"}, {"name": "a"}]}),
            &[r#"r (order) ["a","b"] ["b","a"]"#],
        );
    }

    #[test]
    fn words_come_and_go_one_by_one() {
        check(
            &json!({"domains": ["a", "b"]}),
            &json!({"domains": ["b", "c"]}),
            &[r#"domains["a"] "a" -"#, r#"domains["c"] - "c""#],
        );
    }

    #[test]
    fn items_without_names_are_aligned() {
        check(
            &json!({"l": [{"a": 1}, {"a": 2}, {"a": 3}]}),
            &json!({"l": [{"a": 0}, {"a": 1}, {"a": 2}, {"a": 4}]}),
            &[r#"l[0] - {"a":0}"#, "l[3].a 3 4"],
        );
        check(
            &json!({"l": [1, 2, 3]}),
            &json!({"l": [1, 3]}),
            &["l[1] 2 -"],
        );
    }

    #[test]
    fn very_long_lists_are_compared_place_by_place() {
        let list = |from: usize| (from..from + 1_100).map(|n| json!({"n": n})).collect();
        let (old, new): (Vec<Value>, Vec<Value>) = (list(0), list(1));
        assert_eq!(compare(&json!(old), &json!(new)).len(), 1_100);
    }
}
