//! The json_delta subset that the agent journals with: two trees in, a list of stanzas out.
//! `[path, value]` sets, `[path]` deletes; lists go by index. Nothing is applied here.

use serde_json::{Map, Value, json};

/// The stanzas that lead from one tree to the other, in the agent's order.
pub(super) fn diff(old: &Value, new: &Value) -> Vec<Value> {
    diff_at(Vec::new(), old, new)
}

/// The same of two values at a place in the tree.
pub(super) fn diff_at(mut path: Vec<Value>, old: &Value, new: &Value) -> Vec<Value> {
    let mut stanzas = Vec::new();
    walk(old, new, &mut path, &mut stanzas);
    stanzas
}

fn walk(old: &Value, new: &Value, path: &mut Vec<Value>, stanzas: &mut Vec<Value>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => objects(old, new, path, stanzas),
        (Value::Array(old), Value::Array(new)) => lists(old, new, path, stanzas),
        _ if old == new => {}
        // A value that becomes null is set to null and then deleted: the agent does so.
        (_, Value::Null) => {
            stanzas.push(json!([path, null]));
            stanzas.push(json!([path]));
        }
        _ => stanzas.push(json!([path, new])),
    }
}

fn objects(
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    path: &mut Vec<Value>,
    stanzas: &mut Vec<Value>,
) {
    for (key, value) in new {
        path.push(key.as_str().into());
        match old.get(key) {
            Some(before) => walk(before, value, path, stanzas),
            None => stanzas.push(json!([path, value])),
        }
        path.pop();
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        path.push(key.as_str().into());
        stanzas.push(json!([path]));
        path.pop();
    }
}

fn lists(old: &[Value], new: &[Value], path: &mut Vec<Value>, stanzas: &mut Vec<Value>) {
    for (index, value) in new.iter().enumerate() {
        path.push(index.into());
        match old.get(index) {
            Some(before) => walk(before, value, path, stanzas),
            None => stanzas.push(json!([path, value])),
        }
        path.pop();
    }
    for index in (new.len()..old.len()).rev() {
        path.push(index.into());
        stanzas.push(json!([path]));
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_shrinks_is_changed_by_index_and_deleted_from_its_end() {
        let stanzas = diff(&json!({"d": ["x", "y", "z"]}), &json!({"d": ["z"]}));
        assert_eq!(
            stanzas,
            [json!([["d", 0], "z"]), json!([["d", 2]]), json!([["d", 1]])]
        );
        let stanzas = diff(&json!({"d": ["x"]}), &json!({"d": ["x", "y"]}));
        assert_eq!(stanzas, [json!([["d", 1], "y"])]);
    }

    #[test]
    fn new_subtrees_are_set_whole_and_lost_ones_deleted() {
        let stanzas = diff(&json!({"a": {"x": 1}}), &json!({"b": {"y": {"z": 1}}}));
        assert_eq!(stanzas, [json!([["b"], {"y": {"z": 1}}]), json!([["a"]])]);
        assert!(
            diff(
                &json!({"a": [1, {"b": null}]}),
                &json!({"a": [1, {"b": null}]})
            )
            .is_empty()
        );
    }

    #[test]
    fn a_value_that_becomes_null_is_set_and_then_deleted() {
        let stanzas = diff(&json!({"a": 1}), &json!({"a": null}));
        assert_eq!(stanzas, [json!([["a"], null]), json!([["a"]])]);
    }
}
