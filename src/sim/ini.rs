//! The configuration file of a simulated object: sections of keywords, read from the agent's INI
//! dialect and changed as `om PATH set --kw` changes it. Values stay raw text here: scopes and
//! references are the business of `driver`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// An object's configuration, raw.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ini {
    sections: BTreeMap<String, BTreeMap<String, String>>,
}

impl Ini {
    /// Reads the INI text; the error is what a parser would say of a corrupt file.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut ini = Self::default();
        let mut section: Option<String> = None;
        let mut last: Option<String> = None;
        for (number, raw) in text.lines().enumerate() {
            let line = raw.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(open) = line.strip_prefix('[') {
                let name = open
                    .strip_suffix(']')
                    .ok_or_else(|| format!("line {}: section is not closed", number + 1))?;
                ini.sections.entry(name.to_owned()).or_default();
                (section, last) = (Some(name.to_owned()), None);
                continue;
            }
            let Some(section) = &section else {
                return Err(format!("line {}: no section header", number + 1));
            };
            if raw.starts_with([' ', '\t'])
                && let Some(keyword) = &last
            {
                ini.continue_line(section, keyword, line);
                continue;
            }
            let (keyword, value) = line
                .split_once('=')
                .ok_or_else(|| format!("line {}: no value", number + 1))?;
            let keyword = keyword.trim().to_lowercase();
            ini.put(section, &keyword, value.trim());
            last = Some(keyword);
        }
        Ok(ini)
    }

    /// The raw value of a keyword, its name written as in the file (scope included).
    pub(super) fn value(&self, section: &str, keyword: &str) -> Option<&str> {
        Some(self.sections.get(section)?.get(keyword)?.as_str())
    }

    /// Every section with its keywords, in name order.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, String>)> {
        self.sections
            .iter()
            .map(|(name, body)| (name.as_str(), body))
    }

    /// Writes one keyword, making its section where there is none.
    pub(super) fn put(&mut self, section: &str, keyword: &str, value: &str) {
        let body = self.sections.entry(section.to_owned()).or_default();
        body.insert(keyword.to_owned(), value.to_owned());
    }

    /// Removes a keyword and all its scoped variants.
    pub(super) fn forget(&mut self, section: &str, keyword: &str) {
        if let Some(body) = self.sections.get_mut(section) {
            body.retain(|name, _| name.split('@').next() != Some(keyword));
        }
    }

    /// Does what `om PATH set --kw ASSIGNMENT` does: `=` sets, `+=` appends a word, `|=` appends
    /// the words that are missing, `-=` removes a word.
    pub(super) fn change(&mut self, assignment: &str) -> Result<(), String> {
        let (left, value) = assignment
            .split_once('=')
            .ok_or_else(|| format!("malformed kw expression: {assignment}: no '='"))?;
        let target = left.trim_end_matches(['+', '|', '-']);
        let operator = &left[target.len()..];
        let (section, keyword) = Self::split(target)?;
        let current = self.value(&section, &keyword).unwrap_or_default();
        let mut words: Vec<&str> = current.split_whitespace().collect();
        let text = match operator {
            "" => value.to_owned(),
            "+" => {
                words.push(value);
                words.join(" ")
            }
            "|" => {
                for word in value.split_whitespace() {
                    if !words.contains(&word) {
                        words.push(word);
                    }
                }
                words.join(" ")
            }
            "-" => {
                if let Some(at) = words.iter().position(|word| *word == value) {
                    words.remove(at);
                }
                words.join(" ")
            }
            other => return Err(format!("malformed kw expression: operator {other}=")),
        };
        self.put(&section, &keyword, &text);
        Ok(())
    }

    /// Does what `om PATH unset --kw KEYWORD` does; false where it was not set. A name that is a
    /// whole section (`expose#0`) removes the section, as `om PATH delete --rid` does.
    pub(super) fn unset(&mut self, keyword: &str) -> Result<bool, String> {
        if self.sections.remove(keyword).is_some() {
            return Ok(true);
        }
        let (section, keyword) = Self::split(keyword)?;
        let body = self.sections.get_mut(&section);
        Ok(body.is_some_and(|body| body.remove(&keyword).is_some()))
    }

    /// The file as `get_service_config` with `format: json` answers it.
    pub(super) fn to_json(&self) -> Map<String, Value> {
        let body = |body: &BTreeMap<String, String>| {
            let pairs = body.iter();
            Value::Object(
                pairs
                    .map(|(key, value)| (key.clone(), value.as_str().into()))
                    .collect(),
            )
        };
        self.sections
            .iter()
            .map(|(name, keywords)| (name.clone(), body(keywords)))
            .collect()
    }

    /// The file as text, as `get_service_config` without a format answers it.
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, body) in &self.sections {
            text.push_str(&format!("[{name}]\n"));
            for (keyword, value) in body {
                text.push_str(&format!("{keyword} = {value}\n"));
            }
            text.push('\n');
        }
        text
    }

    fn continue_line(&mut self, section: &str, keyword: &str, line: &str) {
        let value = self
            .sections
            .get_mut(section)
            .and_then(|body| body.get_mut(keyword));
        if let Some(value) = value {
            value.push('\n');
            value.push_str(line);
        }
    }

    fn split(target: &str) -> Result<(String, String), String> {
        let (section, keyword) = target.split_once('.').unwrap_or(("DEFAULT", target));
        if section.is_empty() || keyword.is_empty() {
            return Err(format!("malformed kw: {target}: format as 'section.key'"));
        }
        Ok((section.to_owned(), keyword.to_lowercase()))
    }
}

/// 32 hexadecimal digits that change with the text, where the agent uses MD5.
pub(super) fn digest(text: &str) -> String {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let mix = |hash: u128, byte: u8| (hash ^ u128::from(byte)).wrapping_mul(PRIME);
    format!("{:032x}", text.bytes().fold(BASIS, mix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposed() -> Ini {
        Ini::parse("[ip#1]\nexpose = expose#0\n").unwrap()
    }

    #[test]
    fn operators_change_words_as_om_does() {
        let mut ini = exposed();
        for (assignment, expected) in [
            ("ip#1.expose+=expose#1", "expose#0 expose#1"),
            (
                "ip#1.expose|=expose#1 expose#2",
                "expose#0 expose#1 expose#2",
            ),
            ("ip#1.expose-=expose#0", "expose#1 expose#2"),
            ("ip#1.expose+=expose#1", "expose#1 expose#2 expose#1"),
            ("ip#1.expose=expose#9", "expose#9"),
        ] {
            ini.change(assignment).unwrap();
            assert_eq!(ini.value("ip#1", "expose"), Some(expected), "{assignment}");
        }
    }

    #[test]
    fn a_value_may_hold_equal_signs_and_a_bare_keyword_is_of_default() {
        let mut ini = exposed();
        ini.change("env.query=a=b").unwrap();
        ini.change("topology=flex").unwrap();
        assert_eq!(ini.value("env", "query"), Some("a=b"));
        assert_eq!(ini.value("DEFAULT", "topology"), Some("flex"));
        assert!(ini.change("nothing").is_err());
        assert!(ini.change("expose#0.=x").is_err());
    }

    #[test]
    fn unset_takes_a_keyword_or_a_whole_section() {
        let mut ini = exposed();
        assert_eq!(ini.unset("ip#1.expose"), Ok(true));
        assert_eq!(ini.unset("ip#1.expose"), Ok(false));
        assert_eq!(ini.unset("ip#1"), Ok(true));
        assert_eq!(ini, Ini::default());
    }

    #[test]
    fn a_corrupt_file_is_an_error_and_text_reads_back() {
        assert!(Ini::parse("[expose#0\ngarbage").is_err());
        assert!(Ini::parse("orphan = 1\n").is_err());
        let ini = Ini::parse("# note\n[a]\nx = 1\n  2\n[b]\n").unwrap();
        assert_eq!(ini.value("a", "x"), Some("1\n2"));
        assert_eq!(ini.sections().count(), 2);
        assert_eq!(Ini::parse(&exposed().to_text()), Ok(exposed()));
        assert_ne!(digest("a"), digest("b"));
    }
}
