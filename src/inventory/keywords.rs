//! Typed reading of keyword maps. The agent's types are loose (a "string" may arrive as a
//! number, a boolean or null), so every reader takes what is meant and says what it cannot take.
//! What a driver drops from the status is looked up in the raw configuration.
//! No section is known by name here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::{Config, ObjectPath, Problem, Sensitive};

/// The keywords of one section of one instance, and where they come from.
#[derive(Clone, Copy, Debug)]
pub struct Keywords<'a> {
    object: &'a ObjectPath,
    section: &'a str,
    values: &'a BTreeMap<String, Value>,
    raw: Option<Raw<'a>>,
}

/// An object's raw configuration, and as whom and where it is evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// The configuration as it was typed.
    pub config: &'a Config,
    /// The object whose file it is: of a scaler, the slave.
    pub object: &'a ObjectPath,
    /// The node whose scopes apply.
    pub node: &'a str,
}

impl<'a> Keywords<'a> {
    /// Wraps the keywords of `section`, as the status has them and else as `raw` has them.
    /// Problems are told of `object`.
    pub fn new(
        object: &'a ObjectPath,
        section: &'a str,
        values: &'a BTreeMap<String, Value>,
        raw: Option<Raw<'a>>,
    ) -> Self {
        Self {
            object,
            section,
            values,
            raw,
        }
    }

    /// The keywords of a section that the status has nothing of.
    pub fn untold(object: &'a ObjectPath, section: &'a str, raw: Raw<'a>) -> Self {
        static NOTHING: BTreeMap<String, Value> = BTreeMap::new();
        Self::new(object, section, &NOTHING, Some(raw))
    }

    /// A [`Problem`] of this section's `keyword`.
    pub fn problem(&self, keyword: &str, reason: impl fmt::Display) -> Problem {
        Problem {
            object: self.object.clone(),
            section: self.section.to_owned(),
            keyword: keyword.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// The value; `None` where absent or null, which the agent does not tell apart.
    pub fn value(&self, keyword: &str) -> Option<Cow<'a, Value>> {
        let told = self.values.get(keyword).filter(|value| !value.is_null());
        if let Some(value) = told {
            return Some(Cow::Borrowed(value));
        }
        let Raw {
            config,
            object,
            node,
        } = self.raw?;
        let text = config.keyword(object, node, self.section, keyword)?;
        Some(Cow::Owned(Value::String(text)))
    }

    /// A text. Numbers and booleans are taken as the text that was typed.
    ///
    /// # Errors
    /// A [`Problem`] for a list or an object.
    pub fn text(&self, keyword: &str) -> Result<Option<String>, Problem> {
        match self.value(keyword).as_deref() {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
            Some(value) => Err(self.problem(keyword, expected("a text", value))),
        }
    }

    /// A text that may be a secret. No problem of it quotes the value; an empty one is none.
    ///
    /// # Errors
    /// A [`Problem`] for a list or an object.
    pub fn sensitive(&self, keyword: &str) -> Result<Option<Sensitive>, Problem> {
        let text = self.text(keyword);
        let text =
            text.map_err(|_| self.problem(keyword, "expected a text, found another type"))?;
        Ok(text.filter(|text| !text.is_empty()).map(Sensitive::new))
    }

    /// A list of words; a text is split on white space.
    ///
    /// # Errors
    /// A [`Problem`] for an object, or for a list with anything but texts and numbers in it.
    pub fn words(&self, keyword: &str) -> Result<Vec<String>, Problem> {
        let word = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(self.problem(keyword, expected("a list of words", value))),
        };
        match self.value(keyword).as_deref() {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values.iter().map(word).collect(),
            Some(Value::String(text)) => Ok(text.split_whitespace().map(str::to_owned).collect()),
            Some(value) => Ok(vec![word(value)?]),
        }
    }

    /// A port number, 0 to 65535. A text that holds one is taken too.
    ///
    /// # Errors
    /// A [`Problem`] for anything else.
    pub fn port(&self, keyword: &str) -> Result<Option<u16>, Problem> {
        let Some(value) = self.value(keyword) else {
            return Ok(None);
        };
        let port = match &*value {
            Value::Number(number) => number.as_u64().and_then(|port| u16::try_from(port).ok()),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match port {
            Some(port) => Ok(Some(port)),
            None => Err(self.problem(keyword, expected("a port from 0 to 65535", &value))),
        }
    }

    /// A boolean, as JSON or as the words that OpenSVC takes for one.
    ///
    /// # Errors
    /// A [`Problem`] for anything else.
    pub fn boolean(&self, keyword: &str) -> Result<Option<bool>, Problem> {
        let Some(value) = self.value(keyword) else {
            return Ok(None);
        };
        let word = match &*value {
            Value::Bool(boolean) => return Ok(Some(*boolean)),
            Value::String(text) => text.to_ascii_lowercase(),
            value => value.to_string(),
        };
        match word.as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Ok(Some(true)),
            "false" | "f" | "no" | "n" | "off" | "0" => Ok(Some(false)),
            _ => Err(self.problem(keyword, expected("a boolean", &value))),
        }
    }
}

fn expected(what: &str, value: &Value) -> String {
    let found = match value {
        Value::String(text) => shown(text),
        _ => {
            let text = value.to_string();
            let (beginning, dots) = cut(&text);
            format!("{}{dots}", beginning.replace(char::is_control, " "))
        }
    };
    format!("expected {what}, found {found}")
}

/// What somebody typed, as a problem repeats it: quoted, on one line and not too long.
pub fn shown(text: &str) -> String {
    let (beginning, dots) = cut(text);
    format!("{beginning:?}{dots}")
}

fn cut(text: &str) -> (&str, &'static str) {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => (&text[..end], "..."),
        None => (text, ""),
    }
}

/// How much of a bad value a problem repeats.
const SHOWN_CHARS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: fmt::Debug>(
        value: Value,
        read: impl Fn(&Keywords<'_>) -> Result<T, Problem>,
        expect: &str,
    ) {
        let object: ObjectPath = "test/svc/web1".parse().unwrap();
        let values = BTreeMap::from([("kw".to_owned(), value)]);
        let keywords = Keywords::new(&object, "expose#0", &values, None);
        let shown = match read(&keywords) {
            Ok(value) => format!("{value:?}"),
            Err(problem) => problem.to_string(),
        };
        assert_eq!(shown, expect);
    }

    #[test]
    fn what_the_status_lacks_is_read_from_the_raw_configuration() {
        let object: ObjectPath = "test/svc/web1".parse().unwrap();
        let config = serde_json::json!({"expose#0": {"port": "http", "sni@n1": "{name}.org"}});
        let config = Config::from_json(&config).unwrap();
        let raw = Some(Raw {
            config: &config,
            object: &object,
            node: "n1",
        });
        let values = BTreeMap::from([("port".to_owned(), Value::Null)]);
        let keywords = Keywords::new(&object, "expose#0", &values, raw);
        assert_eq!(keywords.words("sni").unwrap(), ["web1.org"]);
        let problem = keywords.port("port").unwrap_err().to_string();
        assert!(
            problem.ends_with("expected a port from 0 to 65535, found \"http\""),
            "{problem}"
        );
    }

    #[test]
    fn a_text_may_arrive_as_a_number_or_a_boolean() {
        check(Value::from(0), |k| k.text("kw"), "Some(\"0\")");
        check(Value::from(false), |k| k.text("kw"), "Some(\"false\")");
    }

    #[test]
    fn null_is_absent() {
        check(Value::Null, |k| k.port("kw"), "None");
    }

    #[test]
    fn a_port_out_of_range_names_object_section_and_keyword() {
        check(
            Value::from(99_999),
            |k| k.port("kw"),
            "test/svc/web1 expose#0.kw: expected a port from 0 to 65535, found 99999",
        );
    }

    #[test]
    fn a_long_bad_value_is_cut() {
        let read = |keywords: &Keywords<'_>| {
            let problem = keywords.text("kw").err();
            Ok(problem.map(|problem| problem.reason.chars().count() < 100))
        };
        check(Value::from(vec!["é".repeat(500)]), read, "Some(true)");
    }

    #[test]
    fn what_was_typed_is_shown_on_one_line() {
        assert_eq!(shown("a\n\u{202e}"), r#""a\n\u{202e}""#);
        let list = serde_json::json!(["\u{85}"]);
        check(
            list,
            |k| k.text("kw"),
            "test/svc/web1 expose#0.kw: expected a text, found [\" \"]",
        );
    }

    #[test]
    fn words_come_as_a_list_or_as_a_text() {
        check(
            serde_json::json!(["a", 1]),
            |k| k.words("kw"),
            "[\"a\", \"1\"]",
        );
        check(
            serde_json::json!("a  b"),
            |k| k.words("kw"),
            "[\"a\", \"b\"]",
        );
    }

    #[test]
    fn booleans_take_the_words_of_opensvc() {
        check(serde_json::json!("True"), |k| k.boolean("kw"), "Some(true)");
        check(serde_json::json!(0), |k| k.boolean("kw"), "Some(false)");
    }
}
