//! PURE: what is kept of a daemon's status, and how: the branches that the projection looks at,
//! and what a node says of an object as its JSON text, which takes less room than a tree of it.
//!
//! What the branches mean is for `projection` to say.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::leaf;
use crate::opensvc::json_delta::{Stanza, Unapplied};

/// A daemon's status, without what nothing is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Status(Value);

impl Default for Status {
    fn default() -> Self {
        Self(Value::Object(Map::new()))
    }
}

impl Status {
    /// The tree, with texts for its leaves.
    pub(in crate::opensvc) fn tree(&self) -> &Value {
        &self.0
    }

    /// Whether there are nodes or services in it: anything else than a status has none.
    pub(in crate::opensvc) fn is_one(&self) -> bool {
        self.0.get("monitor").is_some()
    }

    /// The tree as the daemon has it, but for what is not kept.
    pub(super) fn whole(&self) -> Value {
        whole(&self.0, Place::Root)
    }

    /// Whether a stanza changes anything that is kept.
    pub(super) fn keeps(stanza: &Stanza) -> bool {
        Way::of(stanza).steps == stanza.depth()
    }

    /// Applies a stanza. Of one that changes nothing that is kept it is known whether it fits as
    /// far as its way is.
    pub(super) fn apply(&mut self, stanza: &mut Stanza) -> Result<(), Unapplied> {
        let way = Way::of(stanza);
        if way.steps < stanza.depth() {
            let known = way.leaf.unwrap_or(way.steps);
            return match stanza.find(&mut self.0, known)? {
                Value::Null => Err(Unapplied::MissingParent),
                _ => Ok(()),
            };
        }
        let Some(leaf) = way.leaf.filter(|leaf| *leaf < stanza.depth()) else {
            stanza.replace(|value| Kept(way.place).of(value));
            return stanza.apply(&mut self.0);
        };
        let packed = stanza.find(&mut self.0, leaf)?;
        let mut value = unpacked(packed);
        stanza.apply_below(&mut value, leaf)?;
        // Only what lies less deep than a text may is found again in one.
        if is_deep(&value, LEAF_DEPTH_MAX) {
            return Err(Unapplied::TooDeep);
        }
        *packed = Kept(way.leaf_place).of(value);
        Ok(())
    }
}

/// Where the path of a stanza leads, as far as something is kept there.
struct Way {
    steps: usize,
    place: Place,
    /// How many steps lead to the leaf that it goes through, or ends at.
    leaf: Option<usize>,
    leaf_place: Place,
}

impl Way {
    fn of(stanza: &Stanza) -> Self {
        let mut way = Self {
            steps: 0,
            place: Place::Root,
            leaf: None,
            leaf_place: Place::Whole,
        };
        while way.steps < stanza.depth() {
            let place = match stanza.name(way.steps) {
                Some(key) => way.place.child(&key),
                // What is no name is for the stanza to refuse.
                None => Some(Place::Whole),
            };
            let Some(place) = place else {
                break;
            };
            (way.steps, way.place) = (way.steps + 1, place);
            if place.is_leaf() {
                (way.leaf, way.leaf_place) = (Some(way.steps), place);
            }
        }
        way
    }
}

/// What a leaf of the tree says; null where it says nothing that can be read.
fn unpacked(leaf: &Value) -> Value {
    let text = leaf.as_str().unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

fn whole(value: &Value, place: Place) -> Value {
    match value {
        leaf if place.is_leaf() => unpacked(leaf),
        Value::Object(map) => {
            let map = map.iter().map(|(key, value)| {
                let place = place.child(key).unwrap_or(Place::Whole);
                (key.clone(), whole(value, place))
            });
            Value::Object(map.collect())
        }
        value => value.clone(),
    }
}

fn is_deep(value: &Value, left: usize) -> bool {
    let Some(left) = left.checked_sub(1) else {
        return true;
    };
    match value {
        Value::Object(map) => map.values().any(|value| is_deep(value, left)),
        Value::Array(list) => list.iter().any(|value| is_deep(value, left)),
        _ => false,
    }
}

/// The branches of a status that are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// A message of the event stream.
    Message,
    Root,
    Monitor,
    Nodes,
    Node,
    Services,
    Instances,
    /// An object on a node: a leaf.
    Instance,
    /// What the daemon does with a node or an instance.
    Doing,
    Resources,
    Resource,
    Configs,
    /// A configuration on a node: a leaf.
    Config,
    Aggregates,
    Aggregate,
    /// All that is below is kept.
    Whole,
}

impl Place {
    /// What is kept below a key; `None` where nothing is.
    pub(super) fn child(self, key: &str) -> Option<Self> {
        Some(match (self, key) {
            (Self::Message, "kind" | "id") => Self::Whole,
            (Self::Message, "data") => Self::Root,
            (Self::Root, "monitor") => Self::Monitor,
            (Self::Root, "cluster") => Self::Whole,
            (Self::Monitor, "nodes") => Self::Nodes,
            (Self::Monitor, "services") => Self::Aggregates,
            (Self::Nodes, _) => Self::Node,
            (Self::Node, "services") => Self::Services,
            (Self::Node | Self::Instance, "monitor") => Self::Doing,
            (Self::Node, "labels") => Self::Whole,
            (Self::Doing, "status") => Self::Whole,
            (Self::Services, "status") => Self::Instances,
            (Self::Services, "config") => Self::Configs,
            (Self::Instances, _) => Self::Instance,
            (Self::Instance, "resources") => Self::Resources,
            (Self::Instance, "avail" | "kind" | "scale" | "scaler_slave" | "topology") => {
                Self::Whole
            }
            (Self::Resources, _) => Self::Resource,
            (Self::Resource, "info" | "status" | "type") => Self::Whole,
            (Self::Configs, _) => Self::Config,
            (Self::Config, "csum") => Self::Whole,
            (Self::Aggregates, _) => Self::Aggregate,
            (Self::Aggregate, "scaler_slave") => Self::Whole,
            (Self::Whole, _) => Self::Whole,
            _ => return None,
        })
    }

    fn is_leaf(self) -> bool {
        matches!(self, Self::Instance | Self::Config)
    }
}

/// Reads what is kept of the value at a place, whatever its type, and passes over the rest.
struct Kept(Place);

impl Kept {
    fn of(self, value: Value) -> Value {
        // A value can always be read from a value.
        self.deserialize(value).unwrap_or_default()
    }
}

impl<'de> DeserializeSeed<'de> for Kept {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        match self.0 {
            Place::Whole => Value::deserialize(from),
            place if place.is_leaf() => {
                let mut text = String::with_capacity(LEAF_BYTES);
                leaf::Writer(place, &mut text).deserialize(from)?;
                Ok(Value::String(text.into_boxed_str().into_string()))
            }
            _ => from.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Kept {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            match self.0.child(&key) {
                Some(place) => {
                    let value = entries.next_value_seed(Self(place))?;
                    map.insert(key, value);
                }
                None => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Kept(Place::Root).deserialize(from).map(Self)
    }
}

impl From<Value> for Status {
    fn from(status: Value) -> Self {
        Self(Kept(Place::Root).of(status))
    }
}

/// A message of the event stream; a status in it is kept as any other.
#[derive(Clone, Debug, PartialEq)]
pub struct Message(Value);

impl Message {
    /// Whether it says what it is: an error does not.
    pub(in crate::opensvc) fn has_kind(&self) -> bool {
        self.0.get("kind").is_some()
    }

    /// Whether it says that it holds a full status.
    pub(in crate::opensvc) fn is_full(&self) -> bool {
        self.0.get("kind").and_then(Value::as_str) == Some("full")
    }

    /// The full status that it holds.
    pub(in crate::opensvc) fn into_status(self) -> Option<Status> {
        let Value::Object(mut message) = self.0 else {
            return None;
        };
        let data = message.remove("data").filter(Value::is_object);
        data.map(Status)
    }

    pub(super) fn into_json(self) -> Value {
        self.0
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Kept(Place::Message).deserialize(from).map(Self)
    }
}

impl From<Value> for Message {
    fn from(message: Value) -> Self {
        Self(Kept(Place::Message).of(message))
    }
}

/// As much as a leaf has mostly.
const LEAF_BYTES: usize = 1_024;
/// Less deep than what a JSON text is read back of.
const LEAF_DEPTH_MAX: usize = 100;
