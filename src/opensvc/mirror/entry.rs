//! PURE: what a node says of an object as it is kept: its resources as the inventory has them, so
//! that both hold them once, and the rest as its JSON text.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess};
use serde_json::{Map, Value};

use super::kept::Place;
use super::leaf;
use super::resource::{self, ResourceReader, Told};
use super::tree::ValueReader;
use crate::inventory::{Name, Resource, Table};
use crate::opensvc::json_delta::{Stanza, Unapplied};
use crate::opensvc::projection::Standing;
use crate::opensvc::reading::{Key, Read, Reader};

/// The resources of an instance, by resource id.
pub(in crate::opensvc) type Resources = Arc<Table<Arc<Resource>>>;

/// What a node says of an object.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::opensvc) struct Entry {
    rest: Arc<Rest>,
    resources: Option<All>,
}

/// All of it but the resources, where these are an object. That is the same for most objects.
#[derive(Debug, PartialEq)]
pub(super) struct Rest {
    text: Box<str>,
    standing: Standing,
}

/// All resources.
#[derive(Clone, Debug, Default, PartialEq)]
struct All {
    /// Those that something is made of.
    made: Resources,
    /// The texts of those of which more was told, or nothing is made.
    texts: Table<Box<str>>,
}

impl Entry {
    /// As much as is kept of a value.
    pub(super) fn of(value: Value) -> Self {
        let entry = Read(EntryReader).deserialize(value);
        // A value can always be read from a value.
        entry.unwrap_or_else(|_: serde_json::Error| EntryReader.other(Value::Null))
    }

    /// What the node says, but for what is not kept.
    pub(super) fn whole(&self) -> Value {
        let mut rest = leaf::unpacked(&self.rest.text);
        if let (Value::Object(rest), Some(resources)) = (&mut rest, &self.resources) {
            rest.insert("resources".to_owned(), Value::Object(resources.whole()));
        }
        rest
    }

    /// Whether it is null.
    pub(super) fn is_null(&self) -> bool {
        self.rest.text.as_ref() == "null"
    }

    /// What all of it but the resources means.
    pub(in crate::opensvc) fn standing(&self) -> &Standing {
        &self.rest.standing
    }

    /// The resources of which something is made; `None` where they are no object.
    pub(in crate::opensvc) fn resources(&self) -> Option<&Resources> {
        self.resources.as_ref().map(|resources| &resources.made)
    }

    /// Takes all but the resources from what was read before, if it is the same.
    pub(super) fn share_rest(&mut self, known: &mut BTreeMap<Box<str>, Arc<Rest>>) {
        if let Some(known) = known.get(&self.rest.text) {
            self.rest = Arc::clone(known);
            return;
        }
        known.insert(self.rest.text.clone(), Arc::clone(&self.rest));
    }

    /// Takes the resources from other instances that are the same there.
    pub(in crate::opensvc) fn share<'a>(&mut self, others: impl Iterator<Item = &'a Resources>) {
        if let Some(All { made, .. }) = &mut self.resources {
            share(made, others);
        }
    }

    /// Applies a stanza below its first steps, which lead here.
    pub(super) fn apply(&mut self, stanza: &mut Stanza, steps: usize) -> Result<(), Unapplied> {
        if let Some(resources) = &mut self.resources
            && stanza.name(steps).as_deref() == Some("resources")
            && let Some(rid) = stanza.name(steps + 1)
        {
            let rid = rid.into_owned();
            return resources.apply(stanza, steps + 2, rid);
        }
        let mut value = self.whole();
        stanza.apply_below(&mut value, steps)?;
        // Only what lies less deep than a text may is found again in one.
        if leaf::is_deep(&value) {
            return Err(Unapplied::TooDeep);
        }
        *self = Self::of(value);
        Ok(())
    }
}

impl Rest {
    fn of(value: &Value) -> Arc<Self> {
        Arc::new(Self {
            text: value.to_string().into(),
            standing: Standing::of(value),
        })
    }
}

impl All {
    fn whole(&self) -> Map<String, Value> {
        let made = self.made.iter();
        let made = made.map(|(rid, one)| (rid.to_owned(), resource::whole(one)));
        let texts = self.texts.iter();
        let texts = texts.map(|(rid, text)| (rid.to_owned(), leaf::unpacked(text)));
        made.chain(texts).collect()
    }

    fn get(&self, rid: &str) -> Option<Value> {
        let text = self.texts.get(rid).map(|text| leaf::unpacked(text));
        text.or_else(|| self.made.get(rid).map(|made| resource::whole(made)))
    }

    /// Applies a stanza to a resource, which its first steps lead to.
    fn apply(&mut self, stanza: &mut Stanza, steps: usize, rid: String) -> Result<(), Unapplied> {
        if self.set_part(stanza, steps, &rid).is_some() {
            return Ok(());
        }
        let set = match stanza.depth() == steps {
            true => stanza.take_value(),
            false => {
                let mut value = self.get(&rid).ok_or(Unapplied::MissingParent)?;
                stanza.apply_below(&mut value, steps)?;
                Some(value)
            }
        };
        match set {
            Some(value) if leaf::is_deep(&value) => Err(Unapplied::TooDeep),
            Some(value) => {
                self.put(rid.into(), Told::of(value));
                Ok(())
            }
            None => self.remove(&rid),
        }
    }

    /// Sets the status or a keyword of a resource of which all that was told is in what is made of
    /// it, and will be: that is most of what happens, and no tree is made for it. `None` where it
    /// is anything else that the stanza does.
    fn set_part(&mut self, stanza: &mut Stanza, steps: usize, rid: &str) -> Option<()> {
        if !self.made.contains_key(rid) || self.texts.contains_key(rid) {
            return None;
        }
        let is_status = stanza.depth() == steps + 1 && stanza.name(steps)? == "status";
        let has_name = stanza.depth() == steps + 2 && stanza.name(steps + 1).is_some();
        let is_keyword = has_name && stanza.name(steps)? == "info";
        let told = match stanza.value()? {
            Value::String(_) => is_status || is_keyword,
            Value::Number(_) | Value::Bool(_) => is_keyword,
            _ => false,
        };
        if !told {
            return None;
        }
        let value = stanza.take_value()?;
        let made = Arc::make_mut(&mut self.made).get_mut(rid)?;
        let one = Arc::make_mut(made);
        match value {
            Value::String(status) if is_status => one.status = status.into(),
            value => one.keywords.insert(&stanza.name(steps + 1)?, value),
        }
        Some(())
    }

    fn put(&mut self, rid: Name, told: Told) {
        let made = Arc::make_mut(&mut self.made);
        match told.made {
            Some(one) => drop(made.insert(rid.clone(), Arc::new(one))),
            None => drop(made.remove(&rid)),
        }
        match told.text {
            Some(text) => drop(self.texts.insert(rid, text)),
            None => drop(self.texts.remove(&rid)),
        }
    }

    fn remove(&mut self, rid: &str) -> Result<(), Unapplied> {
        let text = self.texts.remove(rid);
        let made = Arc::make_mut(&mut self.made).remove(rid);
        match text.is_some() || made.is_some() {
            true => Ok(()),
            false => Err(Unapplied::Absent),
        }
    }
}

fn share<'a>(own: &mut Resources, others: impl Iterator<Item = &'a Resources>) {
    let others: Vec<&Resources> = others.filter(|other| !Arc::ptr_eq(own, other)).collect();
    if let Some(same) = others.iter().find(|other| **other == own) {
        *own = Arc::clone(same);
        return;
    }
    let same = |rid: &str, one: &Arc<Resource>| {
        let mut others = others.iter().filter_map(|other| other.get(rid));
        let same = others.find(|other| *other == one)?;
        (!Arc::ptr_eq(same, one)).then(|| Arc::clone(same))
    };
    let known: Vec<_> = own.iter().map(|(rid, one)| same(rid, one)).collect();
    if known.iter().all(Option::is_none) {
        return;
    }
    let own = Arc::make_mut(own).values_mut();
    for (own, known) in own.zip(known) {
        if let Some(known) = known {
            *own = known;
        }
    }
}

/// Reads what a node says of an object as it is kept.
pub(super) struct EntryReader;

impl<'de> Reader<'de> for EntryReader {
    type Made = Entry;

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Entry, A::Error> {
        let mut rest = Map::new();
        let mut resources = None;
        while let Some(key) = entries.next_key::<Key<'de>>()? {
            let value = match Place::Instance.child(&key.0) {
                None => {
                    entries.next_value::<IgnoredAny>()?;
                    continue;
                }
                Some(Place::Resources) => match entries.next_value_seed(Read(AllReader))? {
                    Ok(all) => {
                        resources = Some(all);
                        continue;
                    }
                    Err(value) => value,
                },
                Some(place) => entries.next_value_seed(ValueReader(place))?,
            };
            rest.insert(key.0.into_owned(), value);
        }
        Ok(Entry {
            rest: Rest::of(&Value::Object(rest)),
            resources,
        })
    }

    fn other(self, value: Value) -> Entry {
        Entry {
            rest: Rest::of(&value),
            resources: None,
        }
    }
}

struct AllReader;

impl<'de> Reader<'de> for AllReader {
    type Made = Result<All, Value>;

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Made, A::Error> {
        let (mut made, mut texts) = (Vec::new(), Vec::new());
        while let Some(key) = entries.next_key::<Key<'de>>()? {
            let rid = Name::from(key.0.as_ref());
            let told = entries.next_value_seed(Read(ResourceReader))?;
            if let Some(text) = told.text {
                texts.push((rid.clone(), text));
            }
            if let Some(one) = told.made {
                made.push((rid, Arc::new(one)));
            }
        }
        Ok(Ok(All {
            made: Arc::new(made.into_iter().collect()),
            texts: texts.into_iter().collect(),
        }))
    }

    fn other(self, value: Value) -> Self::Made {
        Err(value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn instance() -> Value {
        json!({
            "updated": 1, "avail": "up", "monitor": {"status": "idle", "placement": ""},
            "resources": {
                "ip#1": {"status": "up", "type": "ip", "log": ["x"], "info": {"any": [1]}},
                "ip#2": {"status": "up", "type": "ip", "info": {"any": null, "other": 1}},
                "ip#3": {"status": "up", "info": {}},
                "ip#4": {"type": "ip", "label": ""},
                "x": 7,
            },
        })
    }

    #[test]
    fn of_an_instance_is_kept_what_something_is_made_of() {
        let entry = Entry::of(instance());
        let kept = json!({
            "avail": "up", "monitor": {"status": "idle"},
            "resources": {
                "ip#1": {"status": "up", "type": "ip", "info": {"any": [1]}},
                "ip#2": {"status": "up", "type": "ip", "info": {"any": null, "other": 1}},
                "ip#3": {"status": "up", "info": {}},
                "ip#4": {"type": "ip"},
                "x": 7,
            },
        });
        assert_eq!(entry.whole(), kept);
        let made = entry.resources().unwrap();
        assert_eq!(made.keys().collect::<Vec<_>>(), ["ip#1", "ip#2", "ip#4"]);
        assert_eq!(Entry::of(entry.whole()), entry);
    }

    #[test]
    fn wrong_types_cost_only_themselves() {
        let entry = Entry::of(json!({
            "kind": ["svc"], "avail": "up", "scale": {"a": 1}, "scaler_slave": 1, "monitor": "idle",
            "resources": {
                "ip#1": "up",
                "ip#2": {"type": "ip", "status": 7, "info": {}},
                "ip#3": {"type": "ip", "status": "up", "info": []},
                "ip#4": {"type": ["ip"], "status": "up", "info": {}},
                "ip#5": {"type": "ip", "status": "up", "info": {}},
            },
        }));
        let rest = json!({
            "kind": ["svc"], "avail": "up", "scale": {"a": 1}, "scaler_slave": 1, "monitor": "idle",
        });
        assert_eq!(leaf::unpacked(&entry.rest.text), rest);
        let made = entry.resources().unwrap();
        assert_eq!(made.keys().collect::<Vec<_>>(), ["ip#5"]);
        for value in [json!("up"), json!(null)] {
            let entry = Entry::of(value.clone());
            assert!(entry.resources().is_none());
            assert_eq!(entry.whole(), value);
        }
        let entry = Entry::of(json!({"resources": []}));
        assert_eq!(entry.whole(), json!({"resources": []}));
    }

    #[test]
    fn a_stanza_changes_what_it_would_of_the_whole() {
        for (path, value) in [
            (json!(["resources", "ip#1", "info", "any"]), Some(json!(7))),
            (json!(["resources", "ip#1", "info", "any"]), None),
            (json!(["resources", "ip#2", "info", "any"]), Some(json!(1))),
            (
                json!(["resources", "ip#1", "info", "any"]),
                Some(json!(null)),
            ),
            (
                json!(["resources", "ip#1", "info", "new"]),
                Some(json!("a")),
            ),
            (json!(["resources", "ip#1", "info", 7]), Some(json!(true))),
            (json!(["resources", "ip#1", "info", [7]]), Some(json!(true))),
            (json!(["resources", "ip#1", "info"]), Some(json!("a"))),
            (json!(["resources", "ip#1", "status"]), Some(json!("down"))),
            (json!(["resources", "ip#1", "status"]), Some(json!(7))),
            (json!(["resources", "ip#1", "status"]), None),
            (
                json!(["resources", "ip#1", "status", "a"]),
                Some(json!("a")),
            ),
            (json!(["resources", "ip#2", "status"]), Some(json!("down"))),
            (json!(["resources", "ip#3", "status"]), Some(json!("down"))),
            (json!(["resources", "ip#1", "type"]), Some(json!("disk"))),
            (json!(["resources", "ip#3", "type"]), Some(json!("ip"))),
            (json!(["resources", "ip#1"]), Some(json!({"type": "ip"}))),
            (json!(["resources", "ip#1"]), Some(json!(null))),
            (json!(["resources", "ip#1"]), None),
            (json!(["resources", "x"]), None),
            (json!(["resources", 9]), Some(json!({}))),
            (json!(["resources", "y"]), None),
            (json!(["resources", "y", "info"]), Some(json!({}))),
            (json!(["resources", "x", "info"]), Some(json!({}))),
            (json!(["resources", "ip#1", "info", "no", "way"]), None),
            (json!(["resources"]), Some(json!({"a": {"type": "ip"}}))),
            (json!(["resources"]), Some(json!(7))),
            (json!(["resources"]), None),
            (json!(["monitor", "status"]), Some(json!("stopping"))),
            (json!(["avail"]), None),
        ] {
            let stanza = match value {
                Some(value) => json!([path, value]),
                None => json!([path]),
            };
            let mut entry = Entry::of(instance());
            let mut whole = entry.whole();
            let mut one = Stanza::from_json(stanza.clone()).unwrap();
            let mut other = one.clone();
            assert_eq!(
                entry.apply(&mut one, 0),
                other.apply(&mut whole),
                "{stanza}"
            );
            assert_eq!(entry.whole(), whole, "{stanza}");
            assert_eq!(entry, Entry::of(whole), "{stanza}");
        }
    }

    #[test]
    fn what_two_instances_have_in_common_is_there_once() {
        let one = Entry::of(instance());
        let mut same = Entry::of(instance());
        same.share([one.resources().unwrap()].into_iter());
        assert!(Arc::ptr_eq(
            one.resources().unwrap(),
            same.resources().unwrap()
        ));
        let mut value = instance();
        value["resources"]["ip#2"]["status"] = json!("down");
        let mut other = Entry::of(value.clone());
        other.share([one.resources().unwrap()].into_iter());
        let of = |entry: &Entry, rid| Arc::clone(entry.resources().unwrap().get(rid).unwrap());
        assert!(Arc::ptr_eq(&of(&one, "ip#1"), &of(&other, "ip#1")));
        assert_eq!(other, Entry::of(value));
    }
}
