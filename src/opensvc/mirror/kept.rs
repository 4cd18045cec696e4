//! PURE: what is kept of a daemon's status: the branches that the projection looks at. How they
//! are kept is the business of `tree`, and what they mean for `projection` to say.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess};
use serde_json::Value;

use super::leaf;
use super::tree::{Branches, Seen, Tree, TreeReader};
use crate::opensvc::json_delta::{Stanza, StanzaReader, Unapplied};
use crate::opensvc::reading::{Key, Read, Reader};

/// A daemon's status, without what nothing is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Status(Tree);

impl Default for Status {
    fn default() -> Self {
        Self(Tree::Branches(Branches::default()))
    }
}

impl Status {
    /// What is kept of it.
    pub(in crate::opensvc) fn tree(&self) -> &Tree {
        &self.0
    }

    /// The same, to find out that parts of it are the same.
    pub(in crate::opensvc) fn tree_mut(&mut self) -> &mut Tree {
        &mut self.0
    }

    /// Whether there are nodes or services in it: anything else than a status has none.
    pub(in crate::opensvc) fn is_one(&self) -> bool {
        self.0.get("monitor").is_some()
    }

    /// Whether it is of more than so many objects.
    pub(in crate::opensvc) fn is_of_more_than(&self, count: usize) -> bool {
        let services = self.0.get("monitor").and_then(|it| it.get("services"));
        let services = services.and_then(Tree::branches);
        services.is_some_and(|services| services.len() > count)
    }

    /// The tree as the daemon has it, but for what is not kept.
    pub(super) fn whole(&self) -> Value {
        self.0.whole()
    }

    /// Applies a stanza. Of one that changes nothing that is kept it is known whether it fits as
    /// far as its way is.
    pub(super) fn apply(&mut self, stanza: &mut Stanza, way: &Way) -> Result<(), Unapplied> {
        let depth = stanza.depth();
        stanza.check_depth()?;
        if !way.is_kept {
            let known = way.leaf.unwrap_or(way.steps);
            let (part, taken) = self.0.walk(stanza, known)?;
            let is_null = match part {
                Tree::Value(value) => stanza.find(value, taken, known)?.is_null(),
                part => part.is_null(),
            };
            return match is_null {
                true => Err(Unapplied::MissingParent),
                false => Ok(()),
            };
        }
        let (parent, taken) = self.0.walk(stanza, depth - 1)?;
        match parent {
            Tree::Branches(branches) => {
                let name = stanza.name(taken).ok_or(Unapplied::Malformed)?.into_owned();
                match stanza.take_value() {
                    Some(value) => {
                        branches.insert(name.into(), Tree::of(way.place, value));
                        Ok(())
                    }
                    None => branches
                        .remove(name.as_str())
                        .map(drop)
                        .ok_or(Unapplied::Absent),
                }
            }
            Tree::Entry(entry) => entry.apply(stanza, taken),
            Tree::Text(text) => {
                let mut value = leaf::unpacked(text);
                stanza.apply_below(&mut value, taken)?;
                if leaf::is_deep(&value) {
                    return Err(Unapplied::TooDeep);
                }
                *parent = Tree::of(way.leaf_place, value);
                Ok(())
            }
            Tree::Value(value) => stanza.apply_below(value, taken),
        }
    }
}

/// Where the path of a stanza leads, as far as something is kept there.
pub(super) struct Way {
    /// Whether it changes anything that is kept.
    pub(super) is_kept: bool,
    steps: usize,
    place: Place,
    /// How many steps lead to the leaf that it goes through, or ends at.
    leaf: Option<usize>,
    leaf_place: Place,
}

impl Way {
    pub(super) fn of(stanza: &Stanza) -> Self {
        let mut way = Self {
            is_kept: false,
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
        way.is_kept = way.steps == stanza.depth();
        way
    }
}

/// The branches of a status that are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
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

    /// Whether the names of what lies there are those of objects.
    pub(super) fn is_of_objects(self) -> bool {
        matches!(self, Self::Instances | Self::Configs | Self::Aggregates)
    }

    fn is_leaf(self) -> bool {
        matches!(self, Self::Instance | Self::Config)
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let seen = Seen::default();
        let tree = TreeReader::at(Place::Root, &seen).deserialize(from);
        tree.map(Self)
    }
}

impl From<Value> for Status {
    fn from(status: Value) -> Self {
        Self(Tree::of(Place::Root, status))
    }
}

/// A message of the event stream; a status in it is kept as any other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    is_object: bool,
    kind: Option<Value>,
    id: Option<Value>,
    data: Option<Data>,
}

/// What a message is about.
#[derive(Clone, Debug, PartialEq)]
enum Data {
    Status(Status),
    Stanzas(Vec<Result<Stanza, Unapplied>>),
    Other,
}

impl Message {
    /// Whether it says what it is: an error does not.
    pub(in crate::opensvc) fn has_kind(&self) -> bool {
        self.kind.is_some()
    }

    /// Whether it says that it holds a full status.
    pub(in crate::opensvc) fn is_full(&self) -> bool {
        self.kind() == Some("full")
    }

    /// The full status that it holds.
    pub(in crate::opensvc) fn into_status(self) -> Option<Status> {
        match self.data? {
            Data::Status(status) => Some(status),
            _ => None,
        }
    }

    /// What kind of a message it says to be.
    pub(super) fn kind(&self) -> Option<&str> {
        self.kind.as_ref()?.as_str()
    }

    /// The number that the patches are counted by.
    pub(super) fn id(&self) -> Option<u64> {
        self.id.as_ref()?.as_u64()
    }

    /// The list that it holds, of stanzas or what is none.
    pub(super) fn into_stanzas(self) -> Option<Vec<Result<Stanza, Unapplied>>> {
        match self.data? {
            Data::Stanzas(stanzas) => Some(stanzas),
            _ => None,
        }
    }

    /// Whether it is an object at all.
    pub(super) fn is_object(&self) -> bool {
        self.is_object
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Read(MessageReader).deserialize(from)
    }
}

impl From<Value> for Message {
    fn from(message: Value) -> Self {
        let message: Result<_, serde_json::Error> = Self::deserialize(message);
        // A value can always be read from a value.
        message.unwrap_or_default()
    }
}

struct MessageReader;

impl<'de> Reader<'de> for MessageReader {
    type Made = Message;

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Message, A::Error> {
        let mut message = Message {
            is_object: true,
            ..Message::default()
        };
        while let Some(key) = entries.next_key::<Key<'de>>()? {
            match key.0.as_ref() {
                "kind" => message.kind = Some(entries.next_value()?),
                "id" => message.id = Some(entries.next_value()?),
                "data" => message.data = Some(entries.next_value_seed(Read(DataReader))?),
                _ => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(message)
    }

    fn other(self, _: Value) -> Message {
        Message::default()
    }
}

struct DataReader;

impl<'de> Reader<'de> for DataReader {
    type Made = Data;

    fn object<A: MapAccess<'de>>(self, entries: A) -> Result<Data, A::Error> {
        let seen = Seen::default();
        let tree = TreeReader::at(Place::Root, &seen).object(entries);
        Ok(Data::Status(Status(tree?)))
    }

    fn list<A: SeqAccess<'de>>(self, mut items: A) -> Result<Data, A::Error> {
        let mut stanzas = Vec::new();
        while let Some(stanza) = items.next_element_seed(Read(StanzaReader))? {
            stanzas.push(stanza);
        }
        Ok(Data::Stanzas(stanzas))
    }

    fn other(self, _: Value) -> Data {
        Data::Other
    }
}
