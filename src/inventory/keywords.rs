//! Typed reading of keyword maps. The agent's types are loose (a "string" may arrive as a
//! number, a boolean or null), so every reader takes what is meant and says what it cannot take.
//! What a driver drops from the status is looked up in the raw configuration.
//! No section is known by name here.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use super::{Config, ObjectPath, Problem, Sensitive, Values};

/// The keywords of one section of one instance, and where they come from.
#[derive(Clone, Copy, Debug)]
pub struct Keywords<'a> {
    object: &'a ObjectPath,
    section: &'a str,
    values: &'a Values,
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
        values: &'a Values,
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
        Self::new(object, section, Values::none(), Some(raw))
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
    pub fn value(&self, keyword: &str) -> Option<Value> {
        let told = self.values.get(keyword).filter(|value| !value.is_null());
        if told.is_some() {
            return told;
        }
        let Raw {
            config,
            object,
            node,
        } = self.raw?;
        let text = config.keyword(object, node, self.section, keyword)?;
        Some(Value::String(text))
    }

    /// A text. Numbers and booleans are taken as the text that was typed.
    ///
    /// # Errors
    /// A [`Problem`] for a list or an object.
    pub fn text(&self, keyword: &str) -> Result<Option<String>, Problem> {
        Ok(self.told_text(keyword)?.map(Cow::into_owned))
    }

    /// The same, not copied where the status has it.
    ///
    /// # Errors
    /// As [`Keywords::text`].
    pub fn told_text(&self, keyword: &str) -> Result<Option<Cow<'a, str>>, Problem> {
        if let Some(text) = self.values.text(keyword) {
            return Ok(Some(text.into()));
        }
        match self.value(keyword) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.into())),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string().into())),
            Some(value) => Err(self.problem(keyword, expected("a text", &value))),
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
        let word = |value: Value| match value {
            Value::String(text) => Ok(text),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(self.problem(keyword, expected("a list of words", &value))),
        };
        match self.value(keyword) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values.into_iter().map(word).collect(),
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
        let port = match &value {
            Value::Number(number) => number.as_u64().and_then(|port| u16::try_from(port).ok()),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match port {
            Some(port) => Ok(Some(port)),
            None => Err(self.problem(keyword, expected("a port from 0 to 65535", &value))),
        }
    }

    /// A duration in milliseconds: seconds as a number (`5`, `0.25`), or with a unit (`250ms`,
    /// `5s`, `1m`, `1h`).
    ///
    /// # Errors
    /// A [`Problem`] for anything else, and for more than a week.
    pub fn milliseconds(&self, keyword: &str) -> Result<Option<u32>, Problem> {
        let Some(value) = self.value(keyword) else {
            return Ok(None);
        };
        let text = match &value {
            Value::String(text) => text.trim().to_owned(),
            value => value.to_string(),
        };
        let milliseconds = milliseconds(&text).filter(|ms| *ms <= MILLISECONDS_MAX);
        match milliseconds {
            Some(milliseconds) => Ok(Some(milliseconds)),
            None => {
                let what = "a duration such as 5, 0.5, 5s or 250ms";
                Err(self.problem(keyword, expected(what, &value)))
            }
        }
    }

    /// A number from 1 to 4294967295. A text that holds one is taken too.
    ///
    /// # Errors
    /// A [`Problem`] for anything else.
    pub fn count(&self, keyword: &str) -> Result<Option<u32>, Problem> {
        let Some(value) = self.value(keyword) else {
            return Ok(None);
        };
        let count = match &value {
            Value::Number(number) => number.as_u64().and_then(|count| u32::try_from(count).ok()),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match count.filter(|count| *count > 0) {
            Some(count) => Ok(Some(count)),
            None => Err(self.problem(keyword, expected("a number from 1", &value))),
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
        let word = match &value {
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

/// Whole milliseconds of a decimal number and its unit; without floating point, so that every
/// machine reads the same.
fn milliseconds(text: &str) -> Option<u32> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = text.split_at(unit_at.unwrap_or(text.len()));
    let unit: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| {
        let valid = !text.is_empty() && text.len() <= DIGITS_MAX;
        let valid = valid && text.bytes().all(|b| b.is_ascii_digit());
        valid.then(|| text.parse::<u64>().ok()).flatten()
    };
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = digits(fraction)?.checked_mul(unit)? / scale;
    let total = digits(whole)?.checked_mul(unit)?.checked_add(part)?;
    u32::try_from(total).ok()
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

/// Digits of a number of seconds, on each side of the point.
const DIGITS_MAX: usize = 9;
/// A week.
const MILLISECONDS_MAX: u32 = 7 * 24 * 3_600 * 1_000;
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
        let values = Values::from([("kw", value)]);
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
        let values = Values::from([("port", Value::Null)]);
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
    fn a_duration_is_seconds_or_has_a_unit() {
        for (value, expect) in [
            (Value::from(5), "Some(5000)"),
            (Value::from(0.25), "Some(250)"),
            (Value::from("0.5"), "Some(500)"),
            (Value::from(" 5s"), "Some(5000)"),
            (Value::from("250ms"), "Some(250)"),
            (Value::from("1.5m"), "Some(90000)"),
            (Value::from("0"), "Some(0)"),
        ] {
            check(value, |k| k.milliseconds("kw"), expect);
        }
    }

    #[test]
    fn what_is_no_duration_is_told() {
        for value in [
            "",
            "s",
            "-1",
            "1e3",
            "1.",
            ".5",
            "1d",
            "9999999999",
            "604801",
            "NaN",
        ] {
            let shown = format!(
                "test/svc/web1 expose#0.kw: expected a duration such as 5, 0.5, 5s or 250ms, \
                 found {value:?}"
            );
            check(Value::from(value), |k| k.milliseconds("kw"), &shown);
        }
    }

    #[test]
    fn a_count_is_at_least_one() {
        check(Value::from("7"), |k| k.count("kw"), "Some(7)");
        for value in [Value::from(0), Value::from(-1), Value::from(1.5)] {
            let shown =
                format!("test/svc/web1 expose#0.kw: expected a number from 1, found {value}");
            check(value, |k| k.count("kw"), &shown);
        }
    }

    #[test]
    fn booleans_take_the_words_of_opensvc() {
        check(serde_json::json!("True"), |k| k.boolean("kw"), "Some(true)");
        check(serde_json::json!(0), |k| k.boolean("kw"), "Some(false)");
    }
}
