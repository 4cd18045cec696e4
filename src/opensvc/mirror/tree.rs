//! PURE: a status as it is kept: its branches by name, and what lies at their ends as it takes the
//! least room. What the branches mean is for `projection` to say.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess};
use serde_json::Value;

use super::entry::{Entry, EntryReader, Resources, Rest};
use super::kept::Place;
use super::leaf;
use crate::opensvc::json_delta::{Stanza, Unapplied};
use crate::opensvc::reading::{Key, Read, Reader};

/// A part of a status.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::opensvc) enum Tree {
    /// What of it is kept is known by its names.
    Branches(Branches),
    /// What a node says of an object.
    Entry(Entry),
    /// A small value, as its JSON text.
    Text(Arc<str>),
    /// Anything else.
    Value(Value),
}

/// Parts by name; the names of objects are there once.
pub(in crate::opensvc) type Branches = BTreeMap<Arc<str>, Tree>;

impl Tree {
    /// What lies below a name.
    pub(in crate::opensvc) fn get(&self, name: &str) -> Option<&Self> {
        self.branches()?.get(name)
    }

    /// The parts by name, where these are known.
    pub(in crate::opensvc) fn branches(&self) -> Option<&Branches> {
        match self {
            Self::Branches(branches) => Some(branches),
            _ => None,
        }
    }

    /// The parts by name, where these are known.
    pub(in crate::opensvc) fn branches_mut(&mut self) -> Option<&mut Branches> {
        match self {
            Self::Branches(branches) => Some(branches),
            _ => None,
        }
    }

    /// A value that is kept whole.
    pub(in crate::opensvc) fn value(&self) -> Option<&Value> {
        match self {
            Self::Value(value) => Some(value),
            _ => None,
        }
    }

    /// The text of a small value.
    pub(in crate::opensvc) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What a node says of an object.
    pub(in crate::opensvc) fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Entry(entry) => Some(entry),
            _ => None,
        }
    }

    /// What a node says of an object, to be changed.
    pub(in crate::opensvc) fn entry_mut(&mut self) -> Option<&mut Entry> {
        match self {
            Self::Entry(entry) => Some(entry),
            _ => None,
        }
    }

    /// As much as is kept of a value at a place.
    pub(super) fn of(place: Place, value: Value) -> Self {
        let seen = Seen::default();
        let read: Result<_, serde_json::Error> = TreeReader::at(place, &seen).deserialize(value);
        // A value can always be read from a value.
        read.unwrap_or(Self::Value(Value::Null))
    }

    /// The part as the daemon has it, but for what is not kept.
    pub(super) fn whole(&self) -> Value {
        match self {
            Self::Branches(branches) => {
                let branches = branches.iter();
                let branches = branches.map(|(name, part)| (name.to_string(), part.whole()));
                Value::Object(branches.collect())
            }
            Self::Entry(entry) => entry.whole(),
            Self::Text(text) => leaf::unpacked(text),
            Self::Value(value) => value.clone(),
        }
    }

    /// Whether the part is there and null.
    pub(in crate::opensvc) fn is_null(&self) -> bool {
        match self {
            Self::Branches(_) => false,
            Self::Entry(entry) => entry.is_null(),
            Self::Text(text) => text.as_ref() == "null",
            Self::Value(value) => value.is_null(),
        }
    }

    /// Where the first steps of a stanza's path lead, as far as these go by names that are known,
    /// and how many were taken.
    pub(super) fn walk(
        &mut self,
        stanza: &Stanza,
        steps: usize,
    ) -> Result<(&mut Self, usize), Unapplied> {
        let mut part = self;
        for step in 0..steps {
            match part {
                Self::Branches(branches) => {
                    let name = stanza.name(step).ok_or(Unapplied::Malformed)?;
                    let found = branches.get_mut(name.as_ref());
                    part = found.ok_or(Unapplied::MissingParent)?;
                }
                part => return Ok((part, step)),
            }
        }
        Ok((part, steps))
    }
}

/// What was read before, so that it is there once.
#[derive(Default)]
pub(super) struct Seen {
    /// The names of objects, and the resources of their instances.
    objects: RefCell<BTreeMap<Arc<str>, Vec<Resources>>>,
    rests: RefCell<BTreeMap<Box<str>, Arc<Rest>>>,
    texts: RefCell<BTreeSet<Arc<str>>>,
}

impl Seen {
    fn name(&self, name: &str, is_object: bool) -> Arc<str> {
        if !is_object {
            return name.into();
        }
        let mut all = self.objects.borrow_mut();
        if let Some((known, _)) = all.get_key_value(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        all.insert(Arc::clone(&name), Vec::new());
        name
    }

    fn text(&self, text: &str) -> Arc<str> {
        let mut all = self.texts.borrow_mut();
        if let Some(known) = all.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        all.insert(Arc::clone(&text));
        text
    }

    fn share(&self, name: &str, entry: &mut Entry) {
        entry.share_rest(&mut self.rests.borrow_mut());
        if let Some(known) = self.objects.borrow_mut().get_mut(name) {
            entry.share(known.iter());
            if let Some(own) = entry.resources()
                && !known.iter().any(|known| Arc::ptr_eq(known, own))
            {
                known.push(Arc::clone(own));
            }
        }
    }
}

/// Reads what is kept of the value at a place, whatever its type, and passes over the rest.
pub(super) struct TreeReader<'a> {
    place: Place,
    /// The name that it has there.
    name: &'a str,
    seen: &'a Seen,
}

impl<'a> TreeReader<'a> {
    pub(super) fn at(place: Place, seen: &'a Seen) -> Self {
        let name = "";
        Self { place, name, seen }
    }
}

impl<'de> DeserializeSeed<'de> for TreeReader<'_> {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Tree, D::Error> {
        match self.place {
            Place::Whole => serde::Deserialize::deserialize(from).map(Tree::Value),
            Place::Instance => {
                let mut entry = Read(EntryReader).deserialize(from)?;
                self.seen.share(self.name, &mut entry);
                Ok(Tree::Entry(entry))
            }
            Place::Config => {
                let value = ValueReader(self.place).deserialize(from)?;
                Ok(Tree::Text(self.seen.text(&value.to_string())))
            }
            _ => Read(self).deserialize(from),
        }
    }
}

/// Reads what is kept of the value at a place as a value.
pub(super) struct ValueReader(pub(super) Place);

impl<'de> DeserializeSeed<'de> for ValueReader {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        match self.0 {
            Place::Whole => serde::Deserialize::deserialize(from),
            place => {
                let tree = Read(TreeReader::at(place, &Seen::default())).deserialize(from)?;
                Ok(tree.whole())
            }
        }
    }
}

impl<'de> Reader<'de> for TreeReader<'_> {
    type Made = Tree;

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut branches = Vec::new();
        while let Some(key) = entries.next_key::<Key<'de>>()? {
            let Some(place) = self.place.child(&key.0) else {
                entries.next_value::<IgnoredAny>()?;
                continue;
            };
            let name = self.seen.name(&key.0, self.place.is_of_objects());
            let child = TreeReader {
                place,
                name: &name,
                ..self
            };
            let value = entries.next_value_seed(child)?;
            branches.push((name, value));
        }
        Ok(Tree::Branches(branches.into_iter().collect()))
    }

    fn other(self, value: Value) -> Tree {
        Tree::Value(value)
    }
}
