//! PURE: a resource of an instance as it is kept: as what the inventory has of it, and as the text
//! that was told only where that says more.
//!
//! Wrong types cost the resource, never more.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess};
use serde_json::{Value, json};

use crate::inventory::{Name, Resource, Values};
use crate::opensvc::reading::{Key, Read, Reader};

/// What was told of a resource.
pub(super) struct Told {
    /// What is made of it; `None` where nothing can be.
    pub(super) made: Option<Resource>,
    /// The JSON text of it, where [`whole`] of what is made of it is something else.
    pub(super) text: Option<Box<str>>,
}

/// What the daemon told, where a resource was made of all of it.
pub(super) fn whole(resource: &Resource) -> Value {
    let Resource {
        driver,
        status,
        keywords,
    } = resource;
    json!({"info": keywords, "status": status, "type": driver})
}

/// Reads a resource as it is kept.
pub(super) struct ResourceReader;

/// What is kept of a resource.
#[derive(Default)]
struct Parts<'de> {
    info: Option<Info<'de>>,
    status: Option<Value>,
    driver: Option<Value>,
}

enum Info<'de> {
    Keywords(Vec<(Cow<'de, str>, Value)>),
    Other(Value),
}

impl Told {
    /// As much as is kept of a value.
    pub(super) fn of(value: Value) -> Self {
        let told = Read(ResourceReader).deserialize(value);
        // A value can always be read from a value.
        told.unwrap_or_else(|_: serde_json::Error| ResourceReader.other(Value::Null))
    }
}

impl Parts<'_> {
    /// Whether what is made of them says all that they do.
    fn are_plain(&self) -> bool {
        let Self {
            info: Some(Info::Keywords(keywords)),
            status: Some(Value::String(_)),
            driver: Some(Value::String(_)),
        } = self
        else {
            return false;
        };
        !keywords.iter().any(|(_, value)| value.is_null())
    }

    fn text(&self) -> Box<str> {
        let info = self.info.as_ref().map(|info| match info {
            Info::Keywords(keywords) => {
                let keywords = keywords.iter();
                let keywords = keywords.map(|(name, value)| (name.to_string(), value.clone()));
                Value::Object(keywords.collect())
            }
            Info::Other(value) => value.clone(),
        });
        let parts = [
            ("info", info),
            ("status", self.status.clone()),
            ("type", self.driver.clone()),
        ];
        let parts = parts.into_iter();
        let parts = parts.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(parts.collect()).to_string().into()
    }

    fn made(self) -> Option<Resource> {
        let keywords = match self.info {
            None | Some(Info::Other(Value::Null)) => Values::default(),
            // The stream cannot tell null from absent, so neither is told apart here.
            Some(Info::Keywords(keywords)) => {
                let keywords = keywords.into_iter();
                keywords.filter(|(_, value)| !value.is_null()).collect()
            }
            Some(Info::Other(_)) => return None,
        };
        let status = match self.status {
            None | Some(Value::Null) => Name::default(),
            Some(Value::String(status)) => status.into(),
            Some(_) => return None,
        };
        let Some(Value::String(driver)) = self.driver else {
            return None;
        };
        Some(Resource {
            driver: driver.into(),
            status,
            keywords,
        })
    }
}

impl<'de> Reader<'de> for ResourceReader {
    type Made = Told;

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Told, A::Error> {
        let mut parts = Parts::default();
        while let Some(key) = entries.next_key::<Key<'de>>()? {
            match key.0.as_ref() {
                "info" => parts.info = Some(entries.next_value_seed(Read(InfoReader))?),
                "status" => parts.status = Some(entries.next_value()?),
                "type" => parts.driver = Some(entries.next_value()?),
                _ => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        let text = (!parts.are_plain()).then(|| parts.text());
        Ok(Told {
            made: parts.made(),
            text,
        })
    }

    fn other(self, value: Value) -> Told {
        Told {
            made: None,
            text: Some(value.to_string().into()),
        }
    }
}

struct InfoReader;

impl<'de> Reader<'de> for InfoReader {
    type Made = Info<'de>;

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Info<'de>, A::Error> {
        let mut keywords = Vec::new();
        while let Some(key) = entries.next_key::<Key<'de>>()? {
            keywords.push((key.0, entries.next_value()?));
        }
        Ok(Info::Keywords(keywords))
    }

    fn other(self, value: Value) -> Info<'de> {
        Info::Other(value)
    }
}
