//! PURE: the json_delta subset that the agent's daemon emits, applied to a JSON tree.
//!
//! A patch is a list of stanzas, `[path, value]` to set and `[path]` to delete. Whether a stanza
//! that does not fit may be forgiven is for the mirror to decide, never decided here.

mod reading;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::DeserializeSeed;
use serde_json::{Number, Value};

use super::reading::Read;
pub(super) use reading::StanzaReader;

/// One change of a tree: a value to set at a path, or a path to delete.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stanza {
    /// The names in the path, one behind the other: most of a patch are paths.
    names: String,
    steps: Vec<Place>,
    value: Option<Value>,
}

/// An element of a path, as it is kept.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    /// A name, which is there.
    Name(Range<usize>),
    Index(Number),
    /// What leads nowhere.
    Other,
}

/// An element of a path.
enum Step<'a> {
    Name(&'a str),
    Index(&'a Number),
    Other,
}

/// Why a stanza did not apply; the tree is as it was before the stanza.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unapplied {
    /// The stanza is not `[path, value]` or `[path]`, or the path is empty.
    #[error("the stanza is malformed")]
    Malformed,
    /// The path is longer than any that the daemon has reason to send.
    #[error("the path is too deep")]
    TooDeep,
    /// Something on the way to the target does not exist (null counts as not existing).
    #[error("the parent is missing")]
    MissingParent,
    /// Something on the way to the target is a scalar, or a list that is given a name.
    #[error("the path leads through a value that cannot hold it")]
    WrongParent,
    /// The key or index to delete does not exist.
    #[error("there is nothing to delete")]
    Absent,
    /// The index to set lies beyond the end of the list.
    #[error("the index lies beyond the end of the list")]
    BeyondEnd,
}

impl Unapplied {
    /// Whether a stanza older than the tree would fail so: the tree holds the change already.
    pub fn may_be_stale(self) -> bool {
        match self {
            Self::Malformed | Self::TooDeep => false,
            Self::MissingParent | Self::WrongParent | Self::Absent | Self::BeyondEnd => true,
        }
    }
}

impl Stanza {
    /// Reads one element of a patch's `data`.
    ///
    /// # Errors
    /// Where it is no path and value.
    pub fn from_json(stanza: Value) -> Result<Self, Unapplied> {
        let stanza: Result<_, serde_json::Error> = Read(StanzaReader).deserialize(stanza);
        // A value can always be read from a value.
        stanza.unwrap_or(Err(Unapplied::Malformed))
    }

    /// The path's element at `depth` as the name of a key.
    pub fn name(&self, depth: usize) -> Option<Cow<'_, str>> {
        self.step(depth)?.key().ok()
    }

    fn step(&self, depth: usize) -> Option<Step<'_>> {
        Some(match self.steps.get(depth)? {
            Place::Name(at) => Step::Name(self.names.get(at.clone()).unwrap_or_default()),
            Place::Index(index) => Step::Index(index),
            Place::Other => Step::Other,
        })
    }

    fn steps(&self, depths: Range<usize>) -> impl Iterator<Item = Step<'_>> {
        depths.filter_map(|depth| self.step(depth))
    }

    /// How many elements the path has; at least one.
    pub fn depth(&self) -> usize {
        self.steps.len()
    }

    /// The value that it sets; `None` where it deletes, or it was taken.
    pub(super) fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }

    /// The value that it sets; `None` where it deletes. It can be taken once.
    pub(super) fn take_value(&mut self) -> Option<Value> {
        self.value.take()
    }

    /// Whether the path is one that the daemon has reason to send.
    pub(super) fn check_depth(&self) -> Result<(), Unapplied> {
        match self.depth() > DEPTH_MAX {
            true => Err(Unapplied::TooDeep),
            false => Ok(()),
        }
    }

    /// Changes the tree, or says why it cannot and leaves it as it was.
    ///
    /// An index equal to a list's length appends. No index is ever allocated for. The value moves
    /// into the tree: a stanza is for applying once.
    pub fn apply(&mut self, tree: &mut Value) -> Result<(), Unapplied> {
        self.apply_below(tree, 0)
    }

    /// What lies at the first `depth` steps of the path, of which `taken` lead to the tree.
    pub(super) fn find<'a>(
        &self,
        tree: &'a mut Value,
        taken: usize,
        depth: usize,
    ) -> Result<&'a mut Value, Unapplied> {
        if depth > self.depth() {
            return Err(Unapplied::Malformed);
        }
        self.steps(taken..depth).try_fold(tree, child)
    }

    /// Like [`apply`](Self::apply), on what lies at the first steps of the path.
    pub(super) fn apply_below(&mut self, tree: &mut Value, depth: usize) -> Result<(), Unapplied> {
        self.check_depth()?;
        let last = self.depth().checked_sub(1).filter(|last| depth <= *last);
        let last = last.ok_or(Unapplied::Malformed)?;
        let parent = self.steps(depth..last).try_fold(tree, child)?;
        let value = self.value.take();
        let target = self.step(last).ok_or(Unapplied::Malformed)?;
        match (parent, value) {
            (Value::Object(map), Some(value)) => {
                map.insert(target.key()?.into_owned(), value);
                Ok(())
            }
            (Value::Object(map), None) => match map.remove(&*target.key()?) {
                Some(_) => Ok(()),
                None => Err(Unapplied::Absent),
            },
            (Value::Array(list), Some(value)) => set_index(list, target, value),
            (Value::Array(list), None) => delete_index(list, target),
            (Value::Null, _) => Err(Unapplied::MissingParent),
            _ => Err(Unapplied::WrongParent),
        }
    }
}

/// Shows the path alone, never the value.
impl fmt::Display for Stanza {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.steps(0..self.depth()).enumerate() {
            if position > 0 {
                f.write_str("/")?;
            }
            match step {
                Step::Name(name) => write!(f, "{}", name.escape_debug())?,
                Step::Index(index) => write!(f, "{index}")?,
                Step::Other => f.write_str("?")?,
            }
        }
        Ok(())
    }
}

/// Applies a patch's stanzas in order, past those that do not apply; returns these by position.
pub fn apply(tree: &mut Value, stanzas: Vec<Value>) -> Vec<(usize, Unapplied)> {
    let results = stanzas
        .into_iter()
        .map(|stanza| Stanza::from_json(stanza)?.apply(tree));
    results
        .enumerate()
        .filter_map(|(position, result)| Some((position, result.err()?)))
        .collect()
}

fn child<'a>(parent: &'a mut Value, step: Step<'_>) -> Result<&'a mut Value, Unapplied> {
    let child = match parent {
        Value::Object(map) => map.get_mut(&*step.key()?),
        Value::Array(list) => list.get_mut(step.index()?),
        Value::Null => None,
        _ => return Err(Unapplied::WrongParent),
    };
    child.ok_or(Unapplied::MissingParent)
}

fn set_index(list: &mut Vec<Value>, target: Step<'_>, value: Value) -> Result<(), Unapplied> {
    let index = target.index()?;
    let length = list.len();
    match list.get_mut(index) {
        Some(item) => *item = value,
        None if index == length => list.push(value),
        None => return Err(Unapplied::BeyondEnd),
    }
    Ok(())
}

fn delete_index(list: &mut Vec<Value>, target: Step<'_>) -> Result<(), Unapplied> {
    let index = target.index()?;
    if index >= list.len() {
        return Err(Unapplied::Absent);
    }
    list.remove(index);
    Ok(())
}

impl<'a> Step<'a> {
    /// A key of an object. The daemon's dicts may have integer keys, which JSON spells as strings
    /// in a whole tree but not in a path.
    fn key(&self) -> Result<Cow<'a, str>, Unapplied> {
        match self {
            Self::Name(name) => Ok((*name).into()),
            Self::Index(number) if number.is_i64() || number.is_u64() => {
                Ok(number.to_string().into())
            }
            _ => Err(Unapplied::Malformed),
        }
    }

    fn index(&self) -> Result<usize, Unapplied> {
        match self {
            Self::Index(number) if number.is_i64() || number.is_u64() => {
                let index = number.as_u64().and_then(|index| index.try_into().ok());
                index.ok_or(Unapplied::BeyondEnd)
            }
            Self::Name(_) => Err(Unapplied::WrongParent),
            _ => Err(Unapplied::Malformed),
        }
    }
}

/// The longest path taken: with the depth limit of the JSON parser it bounds the tree's depth, and
/// so the recursion of dropping, cloning and comparing it. The daemon's own paths have about 11.
const DEPTH_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(tree: Value, patch: Value, expected: Value, unapplied: &[(usize, Unapplied)]) {
        let mut patched = tree;
        let Value::Array(stanzas) = patch else {
            panic!("a patch is a list");
        };
        assert_eq!(apply(&mut patched, stanzas), unapplied);
        assert_eq!(patched, expected);
    }

    #[test]
    fn keys_are_created_replaced_and_deleted() {
        check(
            json!({"a": {"b": 1}, "c": 2}),
            json!([[["a", "x/svc/y"], [1]], [["a", "b"], "two"], [["c"]]]),
            json!({"a": {"b": "two", "x/svc/y": [1]}}),
            &[],
        );
    }

    #[test]
    fn a_shrinking_list_is_changed_then_cut_from_its_end() {
        check(
            json!({"d": ["x", "y", "z"]}),
            json!([[["d", 0], "z"], [["d", 2]], [["d", 1]]]),
            json!({"d": ["z"]}),
            &[],
        );
    }

    #[test]
    fn the_index_after_the_last_appends() {
        check(
            json!({"d": []}),
            json!([[["d", 0], "x"], [["d", 1], {"k": 1}], [["d", 1, "k"], 2]]),
            json!({"d": ["x", {"k": 2}]}),
            &[],
        );
    }

    #[test]
    fn a_value_becoming_null_is_set_and_then_deleted() {
        check(
            json!({"info": {"ipaddr": "10.0.0.1"}}),
            json!([[["info", "ipaddr"], null], [["info", "ipaddr"]]]),
            json!({"info": {}}),
            &[],
        );
    }

    #[test]
    fn what_does_not_apply_is_told_and_the_rest_applies() {
        check(
            json!({"s": "text", "n": null, "l": [1], "o": {}}),
            json!([
                [["o", "gone"]],
                [["o", "gone", "k"], 1],
                [["s", "k"], 1],
                [["s", "k"]],
                [["n", "k"], 1],
                [["l", 2], 1],
                [["l", 1]],
                [["l", "name"], 1],
                [["o", "k"], 1]
            ]),
            json!({"s": "text", "n": null, "l": [1], "o": {"k": 1}}),
            &[
                (0, Unapplied::Absent),
                (1, Unapplied::MissingParent),
                (2, Unapplied::WrongParent),
                (3, Unapplied::WrongParent),
                (4, Unapplied::MissingParent),
                (5, Unapplied::BeyondEnd),
                (6, Unapplied::Absent),
                (7, Unapplied::WrongParent),
            ],
        );
    }

    #[test]
    fn an_integer_key_of_an_object_is_its_spelling() {
        check(
            json!({"d": {"7": "old"}}),
            json!([[["d", 7], "new"]]),
            json!({"d": {"7": "new"}}),
            &[],
        );
    }

    #[test]
    fn huge_and_negative_indexes_are_refused() {
        check(
            json!([1]),
            json!([
                [[u64::MAX], 1],
                [[i64::MIN], 1],
                [[1e300], 1],
                [[u64::MAX]],
                [[-1]]
            ]),
            json!([1]),
            &[
                (0, Unapplied::BeyondEnd),
                (1, Unapplied::BeyondEnd),
                (2, Unapplied::Malformed),
                (3, Unapplied::Absent),
                (4, Unapplied::BeyondEnd),
            ],
        );
    }

    #[test]
    fn malformed_stanzas_are_refused() {
        let patch = json!([
            1,
            [],
            [1],
            ["a"],
            [[], 1],
            [["a"], 1, "insert"],
            [[null], 1],
            [[[]]]
        ]);
        let malformed: Vec<_> = (0..8).map(|n| (n, Unapplied::Malformed)).collect();
        check(json!({}), patch, json!({}), &malformed);
    }

    #[test]
    fn paths_cannot_deepen_a_tree_without_end() {
        let mut tree = json!({});
        let mut path = Vec::new();
        for depth in 1..=1000 {
            path.push(Value::from("k"));
            let unapplied = apply(&mut tree, vec![json!([path, {}])]);
            assert_eq!(unapplied.is_empty(), depth <= DEPTH_MAX, "{depth}");
        }
    }
}
