//! What differs between two sets of resources: resource by resource, place by place, the object
//! that it comes from, and what the change does to traffic. Never holds a secret.
//!
//! How it is told is in `text` and `markdown`; what Envoy does with a change is in `impact`.

mod attribute;
pub mod document;
pub mod dump;
mod fields;
mod impact;
mod markdown;
mod parts;
mod text;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::gateway::Origin;
use crate::inventory::ObjectPath;
pub use crate::xds::changes::Action;
use crate::xds::changes::Changes;
use crate::xds::{ResourceType, Snapshot};

use attribute::Attribution;
pub use document::{Document, Entry};
pub use fields::Field;
use fields::compare;
pub use impact::{Impact, Level};
use parts::{Parts, noun, parts};
pub use text::Style;

/// What differs. Serializes as the message `Diff` of `proto/osvc_igw/v1/diff.proto`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Diff {
    /// Every change, in the order in which they are pushed.
    pub changes: Vec<Change>,
    /// The node ids of the Envoys that it is told of; empty where it is of none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
}

/// One resource that came, went or changed, or one part of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The resource's type: `cds`, `eds`, `sds`, `lds`, `rds`.
    #[serde(rename = "type", serialize_with = "word")]
    pub kind: ResourceType,
    /// The resource's name.
    pub name: String,
    /// The part of it that changed alone: a chain, a virtual host, an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// What happened to it.
    pub action: Action,
    /// Where it differs. Of what came or went it is one field without a path: all of it.
    pub fields: Vec<Field>,
    /// What it does to traffic.
    pub impact: Impact,
    /// What it comes from, the one that is to be asked first.
    pub origins: Vec<Origin>,
}

/// A part of a resource that Envoy changes for itself.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Part {
    /// `filter_chain`, `virtual_host` or `endpoint`.
    pub noun: &'static str,
    /// Its name in the resource; of an endpoint its address and port.
    pub name: String,
}

impl Diff {
    /// From one snapshot to the next. It costs what changed, not what there is.
    pub fn between(old: &Snapshot, new: &Snapshot) -> Self {
        Self::told(&Changes::between(old, new).news())
    }

    /// What is other in each of these resources.
    pub fn told(changes: &Changes) -> Self {
        let (mut before, mut after) = (Document::default(), Document::default());
        for change in changes.iter() {
            for (document, resource) in [(&mut before, &change.before), (&mut after, &change.after)]
            {
                if let Some(resource) = resource {
                    let entry = Entry::of(change.kind, resource);
                    document.insert(change.kind, &resource.name, entry);
                }
            }
        }
        Self::of(&before, &after)
    }

    /// From what one side has to what the other has.
    pub fn of(old: &Document, new: &Document) -> Self {
        let mut changes = Vec::new();
        let kinds = ResourceType::ALL.into_iter();
        for kind in kinds.filter(|kind| kind.is_news()) {
            let of_kind = |(of, name, _): (ResourceType, &str, &Entry)| {
                (of == kind).then(|| (name.to_owned(), ()))
            };
            let names = old.all().filter_map(of_kind);
            let names: BTreeMap<String, ()> = names.chain(new.all().filter_map(of_kind)).collect();
            for name in names.into_keys() {
                let (before, after) = (old.get(kind, &name), new.get(kind, &name));
                changes.extend(resource(kind, &name, before, after));
            }
        }
        Self {
            changes,
            nodes: Vec::new(),
        }
    }

    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Only what concerns an object.
    #[must_use]
    pub fn only(mut self, object: &ObjectPath) -> Self {
        let concerns = |change: &Change| {
            let mut origins = change.origins.iter();
            origins.any(|origin| origin.object == *object)
        };
        self.changes.retain(concerns);
        self
    }

    /// The changes by the object that they come from first; those that come from none are last.
    pub fn by_object(&self) -> Vec<(Option<&ObjectPath>, Vec<&Change>)> {
        let mut groups: BTreeMap<(bool, Option<&ObjectPath>), Vec<&Change>> = BTreeMap::new();
        for change in &self.changes {
            let object = change.object();
            groups
                .entry((object.is_none(), object))
                .or_default()
                .push(change);
        }
        let groups = groups.into_iter();
        groups
            .map(|((_, object), changes)| (object, changes))
            .collect()
    }

    /// How many things came, changed and went.
    pub fn counts(&self) -> [usize; 3] {
        Action::counts(self.changes.iter().map(|change| change.action))
    }

    /// The worst that any change does to traffic.
    pub fn worst(&self) -> Level {
        let levels = self.changes.iter().map(|change| change.impact.level);
        levels.max().unwrap_or(Level::Nothing)
    }

    /// The document: the same as the message `Diff` in JSON.
    pub fn to_json(&self) -> Value {
        // Plain data with texts for keys always has a JSON form.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// For people, grouped by object.
    pub fn text(&self, style: Style) -> String {
        text::whole(self, style)
    }

    /// For a pull request.
    pub fn markdown(&self) -> String {
        markdown::whole(self)
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Style::Plain))
    }
}

impl Change {
    /// The object that it comes from first.
    pub fn object(&self) -> Option<&ObjectPath> {
        self.origins.first().map(|origin| &origin.object)
    }

    /// The change alone, over as many lines as it has fields and two.
    pub fn text(&self, style: Style) -> String {
        text::change(self, style)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(Style::Plain).trim_end())
    }
}

/// All changes of one resource.
fn resource(
    kind: ResourceType,
    name: &str,
    old: Option<&Entry>,
    new: Option<&Entry>,
) -> Vec<Change> {
    let before = old.map(|entry| parts(kind, &entry.body));
    let after = new.map(|entry| parts(kind, &entry.body));
    let attribution = Attribution::new(name, old, new);
    let (action, fields) = match (&before, &after) {
        (Some(before), Some(after)) => {
            let hidden = is_hidden(old, new);
            return changed(kind, name, before, after, hidden, &attribution);
        }
        (None, _) => (Action::Added, all(None, new)),
        (_, None) => (Action::Removed, all(old, None)),
    };
    vec![Change {
        kind,
        name: name.to_owned(),
        part: None,
        action,
        fields,
        impact: impact::of_resource(kind, action, before.as_ref(), after.as_ref()),
        origins: attribution.whole(),
    }]
}

/// The changes of a resource that is in both.
fn changed(
    kind: ResourceType,
    name: &str,
    old: &Parts,
    new: &Parts,
    hidden: bool,
    attribution: &Attribution<'_>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut parts: Vec<Change> = Vec::new();
    let names: BTreeMap<&String, ()> = old
        .parts
        .keys()
        .chain(new.parts.keys())
        .map(|name| (name, ()))
        .collect();
    for part in names.into_keys() {
        let (before, after) = (old.parts.get(part), new.parts.get(part));
        let (action, fields) = match (before, after) {
            (Some(before), Some(after)) => {
                let hidden = hidden && before.to_string().contains(REDACTED);
                (Action::Changed, fields_of(before, after, hidden))
            }
            (None, after) => (Action::Added, vec![whole(None, after)]),
            (before, None) => (Action::Removed, vec![whole(before, None)]),
        };
        if fields.is_empty() {
            continue;
        }
        parts.push(Change {
            kind,
            name: name.to_owned(),
            part: noun(kind).map(|noun| Part {
                noun,
                name: part.clone(),
            }),
            action,
            fields,
            impact: impact::of_part(kind, before, after, new),
            origins: attribution.part(part, before.or(after)),
        });
    }
    // Of a secret nothing is told but what may be.
    let in_head = kind == ResourceType::Secret || old.head.to_string().contains(REDACTED);
    let fields = fields_of(&old.head, &new.head, hidden && in_head);
    if !fields.is_empty() {
        changes.push(Change {
            kind,
            name: name.to_owned(),
            part: None,
            action: Action::Changed,
            fields,
            impact: impact::of_resource(kind, Action::Changed, Some(old), Some(new)),
            origins: attribution.head(&parts),
        });
    }
    changes.extend(parts);
    changes
}

/// Where two values differ; where all that differs is hidden, that it does.
fn fields_of(old: &Value, new: &Value, hidden: bool) -> Vec<Field> {
    let fields = compare(old, new);
    if fields.is_empty() && hidden {
        let value = || Some(Value::from(REDACTED));
        return vec![Field {
            path: "(a secret in it)".to_owned(),
            old: value(),
            new: value(),
        }];
    }
    fields
}

/// Whether the versions tell of a difference that nothing that may be shown tells of.
fn is_hidden(old: Option<&Entry>, new: Option<&Entry>) -> bool {
    let (Some(old), Some(new)) = (old, new) else {
        return false;
    };
    let differ = old.version.is_some() && new.version.is_some() && old.version != new.version;
    differ && old.body == new.body
}

fn all(old: Option<&Entry>, new: Option<&Entry>) -> Vec<Field> {
    vec![whole(old.map(|old| &old.body), new.map(|new| &new.body))]
}

fn whole(old: Option<&Value>, new: Option<&Value>) -> Field {
    Field {
        path: String::new(),
        old: old.cloned(),
        new: new.cloned(),
    }
}

fn word<S: serde::Serializer>(kind: &ResourceType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.word())
}

/// The word that stands for what may not be shown.
const REDACTED: &str = "[redacted]";
