//! Evaluating a raw object configuration: scopes (`keyword@node`) and references (`{name}`).
//! Needed for what an agent's drivers drop from the status; knows no keyword by name.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::ObjectPath;
use super::pack::{Entries, Pack};

/// The sections of an object's configuration file as they were typed: nothing is resolved.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Config(Pack);

impl Config {
    /// Sections of keywords, as they were typed.
    pub fn new(sections: BTreeMap<String, BTreeMap<String, String>>) -> Self {
        let sections = sections.into_iter();
        let sections =
            sections.map(|(name, keywords)| (name, Pack::of(keywords.into_iter().collect())));
        Self(Pack::of(sections.collect()))
    }

    /// Reads the daemon's JSON form (`object_config`, `evaluate=false`): sections of strings.
    ///
    /// `None` where it is no object of objects. Numbers and booleans are taken as typed; other
    /// values are left out.
    pub fn from_json(value: &Value) -> Option<Self> {
        let mut sections = Vec::new();
        for (section, keywords) in value.as_object()? {
            let keywords = keywords.as_object()?;
            let texts = keywords.iter().filter_map(|(name, value)| {
                let text = match value {
                    Value::String(text) => Cow::Borrowed(text.as_bytes()),
                    Value::Number(_) | Value::Bool(_) => value.to_string().into_bytes().into(),
                    _ => return None,
                };
                Some((name, text))
            });
            sections.push((section, Pack::of(texts.collect())));
        }
        Some(Self(Pack::of(sections)))
    }

    /// The same without some keywords, which are named without their scopes.
    #[must_use]
    pub fn without(&self, known: impl Fn(&str, &str) -> bool) -> Self {
        let sections = self.0.entries().map(|(section, keywords)| {
            let keywords = Entries::within(keywords).filter(|(name, _)| {
                let name = name.split('@').next().unwrap_or_default();
                !known(section, name)
            });
            (section, Pack::of(keywords.collect()))
        });
        Self(Pack::of(sections.collect()))
    }

    /// The keywords of a section, and what was typed; none where there is no such section.
    fn section(&self, name: &str) -> Entries<'_> {
        let section = self.0.entries().get(name);
        section.map(Entries::within).unwrap_or_default()
    }

    /// Whether a section says anything of a keyword, on whatever node.
    pub fn says(&self, section: &str, keyword: &str) -> bool {
        let mut keywords = self.section(section).beginning_with(keyword);
        keywords.any(|(name, _)| {
            let rest = name.strip_prefix(keyword);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
        })
    }

    /// The names of the sections.
    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.0.entries().map(|(name, _)| name)
    }

    fn texts(&self) -> BTreeMap<&str, BTreeMap<&str, Cow<'_, str>>> {
        let sections = self.0.entries();
        let sections = sections.map(|(name, keywords)| {
            let keywords = Entries::within(keywords);
            let keywords = keywords.map(|(name, text)| (name, String::from_utf8_lossy(text)));
            (name, keywords.collect())
        });
        sections.collect()
    }

    /// Whether there is such a section.
    pub fn has_section(&self, section: &str) -> bool {
        self.0.entries().get(section).is_some()
    }

    /// Whether a section certainly says the same on every node: no scope is in it, nor any
    /// reference, which could be to one.
    pub fn is_same_everywhere(&self, section: &str) -> bool {
        let mut keywords = self.section(section);
        keywords.all(|(name, text)| !name.contains('@') && !text.contains(&b'{'))
    }

    /// The value of `section.keyword` on `node`, references resolved as seen from `object`.
    ///
    /// The most specific scope wins: `keyword@node`, `keyword@nodes`, `keyword`. A reference
    /// that names nothing stays as typed, as the agent leaves it.
    pub fn keyword(
        &self,
        object: &ObjectPath,
        node: &str,
        section: &str,
        keyword: &str,
    ) -> Option<String> {
        let mut evaluation = Evaluation {
            config: self,
            object,
            node,
            references_left: REFERENCES_MAX,
        };
        evaluation.keyword(section, keyword, DEPTH_MAX)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.texts().fmt(f)
    }
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.texts().serialize(to)
    }
}

/// One evaluation and what it may still spend: a hostile file must not cost the gateway.
struct Evaluation<'a> {
    config: &'a Config,
    object: &'a ObjectPath,
    node: &'a str,
    references_left: usize,
}

/// How much of a keyword is said in one place; what says more comes later.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Scope {
    None,
    Nodes,
    Node,
}

impl Evaluation<'_> {
    fn keyword(&mut self, section: &str, keyword: &str, depth: usize) -> Option<String> {
        let keywords = self.config.section(section);
        let scoped = keywords.beginning_with(keyword).filter_map(|(name, text)| {
            let scope = match name.get(keyword.len()..)? {
                "" => Scope::None,
                "@nodes" => Scope::Nodes,
                scope if scope.strip_prefix('@') == Some(self.node) => Scope::Node,
                _ => return None,
            };
            Some((scope, text))
        });
        let (_, text) = scoped.max_by_key(|(scope, _)| *scope)?;
        // It was made of a text.
        let text = std::str::from_utf8(text).unwrap_or_default();
        Some(self.dereference(section, text, depth))
    }

    fn dereference(&mut self, section: &str, text: &str, depth: usize) -> String {
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            let Some(length) = rest[start..].find('}') else {
                break;
            };
            let name = &rest[start + 1..start + length];
            result.push_str(&rest[..start]);
            match self.reference(section, name, depth) {
                Some(value) if result.len() + value.len() <= VALUE_BYTES_MAX => {
                    result.push_str(&value);
                }
                _ => result.push_str(&rest[start..=start + length]),
            }
            rest = &rest[start + length + 1..];
        }
        result.push_str(rest);
        result
    }

    fn reference(&mut self, section: &str, name: &str, depth: usize) -> Option<String> {
        let depth = depth.checked_sub(1)?;
        self.references_left = self.references_left.checked_sub(1)?;
        match name {
            "name" | "svcname" => Some(self.object.name().to_owned()),
            "namespace" => Some(self.object.namespace().to_owned()),
            "kind" => Some(self.object.kind().as_str().to_owned()),
            "path" | "svcpath" => Some(self.object.to_string()),
            "nodename" => Some(self.node.to_owned()),
            "rid" => Some(section.to_owned()),
            "rindex" => section.split_once('#').map(|(_, index)| index.to_owned()),
            _ => match name.rsplit_once('.') {
                Some((other, keyword)) => self.keyword(other, keyword, depth),
                None => self
                    .keyword(section, name, depth)
                    .or_else(|| self.keyword(DEFAULT_SECTION, name, depth)),
            },
        }
    }
}

const DEFAULT_SECTION: &str = "DEFAULT";
/// A reference to itself, or a ring of them, ends here.
const DEPTH_MAX: usize = 8;
/// References in all for one keyword.
const REFERENCES_MAX: usize = 1_000;
/// References that double at each step must not fill the memory.
const VALUE_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keyword: &str, expect: Option<&str>) {
        let config = Config::from_json(&serde_json::json!({
            "DEFAULT": {"domain": "acme.org"},
            "certificate#front": {
                "secret": "{name}-front-cert", "secret@n2": "{env.cert}", "loop": "{loop}x",
                "fqdn": "{name}.{domain}", "lost": "{env.nope} {", "number": 7, "list": [1],
            },
            "env": {"cert": "other-cert"},
        }));
        let object: ObjectPath = "test/svc/web1".parse().unwrap();
        let (keyword, node) = keyword.split_once('@').unwrap_or((keyword, "n1"));
        let value = config
            .unwrap()
            .keyword(&object, node, "certificate#front", keyword);
        assert_eq!(value.as_deref(), expect);
    }

    #[test]
    fn a_reference_to_the_object_name_resolves() {
        check("secret", Some("web1-front-cert"));
    }

    #[test]
    fn a_scoped_keyword_wins_on_its_node() {
        check("secret@n2", Some("other-cert"));
    }

    #[test]
    fn a_bare_reference_looks_into_default() {
        check("fqdn", Some("web1.acme.org"));
    }

    #[test]
    fn what_has_a_scope_or_a_reference_may_not_be_the_same_everywhere() {
        for (keyword, value, same) in [
            ("port", "80", true),
            ("port@n1", "80", false),
            ("sni", "{nodename}.acme.org", false),
        ] {
            let section = serde_json::json!({ keyword: value });
            let config = serde_json::json!({"expose#0": section, "env": {"x@n1": "{env.y}"}});
            let config = Config::from_json(&config).unwrap();
            assert_eq!(config.is_same_everywhere("expose#0"), same, "{keyword}");
            assert!(config.is_same_everywhere("expose#1"));
        }
    }

    #[test]
    fn an_unknown_reference_stays_as_typed() {
        check("lost", Some("{env.nope} {"));
    }

    #[test]
    fn a_reference_to_itself_ends() {
        let config = Config::from_json(
            &serde_json::json!({"a": {"x": "{a.x}{a.x}{a.x}{a.x}{a.x}{a.x}{a.x}{a.x}{a.x}{a.x}"}}),
        );
        let object: ObjectPath = "web1".parse().unwrap();
        let value = config.unwrap().keyword(&object, "n1", "a", "x").unwrap();
        assert!(value.len() <= VALUE_BYTES_MAX * 2);
    }

    #[test]
    fn values_that_are_no_text_are_left_out() {
        check("number", Some("7"));
        check("list", None);
    }
}
