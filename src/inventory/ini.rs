//! Reading a service's configuration file as the agent reads it, with the line of everything.
//! The agent's reader is Python's `configparser.RawConfigParser(strict=False)`; what that takes
//! is taken here, and what that refuses is refused. Evaluation is the business of `config`.
//! No keyword is known by name here, and no file is opened.

use std::collections::BTreeMap;
use std::fmt;

use super::Config;

/// A configuration file, read. Section names are as typed, keywords in lower case with their
/// scope (`listener_addr@n1`).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ini {
    sections: BTreeMap<String, IniSection>,
    repeated: Vec<Repeated>,
}

/// A section, all places of the file with its name together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IniSection {
    /// The line of its first header, from 1.
    pub line: usize,
    /// The keywords, as typed but in lower case.
    pub keywords: BTreeMap<String, IniValue>,
}

/// What a keyword is set to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IniValue {
    /// The text as typed, without the indentation of continued lines. Nothing is resolved.
    pub text: String,
    /// The line of the keyword, from 1.
    pub line: usize,
}

/// A keyword that is set twice: the agent takes the last one without a word.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Repeated {
    /// The section.
    pub section: String,
    /// The keyword.
    pub keyword: String,
    /// The line that counts for nothing.
    pub lost_line: usize,
    /// The line that replaces it.
    pub line: usize,
}

/// A line that makes the whole file unreadable: the agent then drops the object.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct IniError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it. Never repeats the line, which may hold a secret.
    pub reason: &'static str,
}

impl fmt::Display for IniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl Ini {
    /// Reads the text of a file: what could be read, and every line that could not. The agent
    /// takes nothing of a file with an error.
    ///
    /// A line that is indented deeper than its keyword continues the value; `#` and `;` begin a
    /// comment at the beginning of a line alone; `=` and `:` both end a keyword (Python,
    /// `configparser`, "Supported INI File Structure").
    pub fn read(text: &str) -> (Self, Vec<IniError>) {
        let mut reader = Reader::default();
        for (index, line) in text.lines().enumerate() {
            reader.line(index + 1, line);
        }
        reader.end_value();
        (reader.ini, reader.errors)
    }

    /// The sections in name order, `DEFAULT` among them.
    pub fn sections(&self) -> &BTreeMap<String, IniSection> {
        &self.sections
    }

    /// The keywords that were set more than once in one section.
    pub fn repeated(&self) -> &[Repeated] {
        &self.repeated
    }

    /// The text of a keyword, its name as in the file.
    pub fn text(&self, section: &str, keyword: &str) -> Option<&str> {
        let value = self.sections.get(section)?.keywords.get(keyword)?;
        Some(&value.text)
    }

    /// The line to show to who asks about `section.keyword`: that of the keyword, else of the
    /// first of its scopes (`keyword@n1`), else of the section. `None` without the section.
    pub fn line(&self, section: &str, keyword: &str) -> Option<usize> {
        let section = self.sections.get(section)?;
        let unscoped = section.keywords.get(keyword);
        let mut scoped = section.keywords.iter();
        let scoped = scoped.find(|(name, _)| name.split('@').next() == Some(keyword));
        let value = unscoped.or_else(|| scoped.map(|(_, value)| value));
        Some(value.map_or(section.line, |value| value.line))
    }

    /// The same without lines, ready to be evaluated.
    pub fn config(&self) -> Config {
        let sections = self.sections.iter().map(|(name, section)| {
            let keywords = section.keywords.iter();
            let keywords = keywords.map(|(keyword, value)| (keyword.clone(), value.text.clone()));
            (name.clone(), keywords.collect())
        });
        Config::new(sections.collect())
    }
}

/// Where the reading is.
#[derive(Debug, Default)]
struct Reader {
    ini: Ini,
    errors: Vec<IniError>,
    section: Option<String>,
    keyword: Option<String>,
    /// How deep the last line was indented that is no continuation.
    indent: usize,
}

impl Reader {
    fn line(&mut self, number: usize, raw: &str) {
        let line = raw.trim();
        if line.starts_with(['#', ';']) {
            return;
        }
        if line.is_empty() {
            self.continue_value("");
            return;
        }
        let indent = raw.chars().take_while(|c| c.is_whitespace()).count();
        if self.keyword.is_some() && indent > self.indent {
            self.continue_value(line);
            return;
        }
        self.indent = indent;
        self.end_value();
        match header(line) {
            Some(name) => self.header(number, name),
            None => self.assign(number, line),
        }
    }

    fn header(&mut self, number: usize, name: &str) {
        let new = || IniSection {
            line: number,
            keywords: BTreeMap::new(),
        };
        let sections = &mut self.ini.sections;
        sections.entry(name.to_owned()).or_insert_with(new);
        self.section = Some(name.to_owned());
    }

    fn assign(&mut self, number: usize, line: &str) {
        let Some(name) = &self.section else {
            let reason = match line.starts_with('\u{feff}') {
                true => "the file begins with a byte order mark, which the agent cannot read",
                false => "stands before the first [section]",
            };
            // All that follows up to the first header would be the same error again.
            if self.errors.is_empty() {
                self.error(number, reason);
            }
            return;
        };
        let Some((keyword, text)) = line.split_once(['=', ':']) else {
            let reason = match line.starts_with('[') && !line.contains(']') {
                true => "the section is not closed with ]",
                false => "is neither [section] nor keyword = value",
            };
            self.error(number, reason);
            return;
        };
        let keyword = keyword.trim_end().to_lowercase();
        if keyword.is_empty() {
            self.error(number, "has no keyword before its value");
            return;
        }
        let Some(section) = self.ini.sections.get_mut(name) else {
            return;
        };
        let value = IniValue {
            text: text.trim().to_owned(),
            line: number,
        };
        if let Some(lost) = section.keywords.insert(keyword.clone(), value) {
            self.ini.repeated.push(Repeated {
                section: name.clone(),
                keyword: keyword.clone(),
                lost_line: lost.line,
                line: number,
            });
        }
        self.keyword = Some(keyword);
    }

    fn continue_value(&mut self, line: &str) {
        if let Some(text) = self.open_value() {
            text.push('\n');
            text.push_str(line);
        }
    }

    /// Empty lines inside a value belong to it, those behind it do not.
    fn end_value(&mut self) {
        if let Some(text) = self.open_value() {
            text.truncate(text.trim_end().len());
        }
        self.keyword = None;
    }

    fn open_value(&mut self) -> Option<&mut String> {
        let section = self.ini.sections.get_mut(self.section.as_ref()?)?;
        let value = section.keywords.get_mut(self.keyword.as_ref()?)?;
        Some(&mut value.text)
    }

    fn error(&mut self, line: usize, reason: &'static str) {
        self.errors.push(IniError { line, reason });
    }
}

/// The name in `[name]`; what stands behind the last bracket is ignored, as the agent does.
fn header(line: &str) -> Option<&str> {
    let open = line.strip_prefix('[')?;
    let (name, _) = open.rsplit_once(']')?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Ini {
        let (ini, errors) = Ini::read(text);
        assert_eq!(errors, []);
        ini
    }

    fn errors(text: &str) -> Vec<String> {
        let (_, errors) = Ini::read(text);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn everything_has_its_line() {
        let ini = read("# first\n[DEFAULT]\nnodes = *\n\n[expose#0]\nPort = 80\nport@N1: 81\n");
        assert_eq!(ini.line("DEFAULT", "nodes"), Some(3));
        assert_eq!(ini.line("expose#0", "port"), Some(6));
        assert_eq!(ini.text("expose#0", "port@n1"), Some("81"));
        assert_eq!(ini.line("expose#0", "sni"), Some(5));
        assert_eq!(ini.line("expose#1", "sni"), None);
    }

    #[test]
    fn a_keyword_with_scopes_alone_is_found_at_its_first() {
        let ini = read("[a]\nx@n2 = 1\nx@n1 = 2\n");
        assert_eq!(ini.line("a", "x"), Some(3));
    }

    #[test]
    fn deeper_lines_continue_a_value_whatever_they_hold() {
        let ini = read("[a]\nx = {\n  \"b\": [1],\n\n  [c]\n  # no part of it\n  }\n\ny = 2\n");
        assert_eq!(ini.text("a", "x"), Some("{\n\"b\": [1],\n\n[c]\n}"));
        assert_eq!(ini.text("a", "y"), Some("2"));
    }

    #[test]
    fn an_indented_file_is_a_file() {
        let ini = read("[a]\n  x = 1\n  y = 2\n [b]\n z = 3\n");
        assert_eq!(ini.text("a", "y"), Some("2"));
        assert_eq!(ini.text("b", "z"), Some("3"));
    }

    #[test]
    fn a_comment_ends_no_line_and_a_value_may_hold_delimiters() {
        let ini = read("[a] ; tail\nx = 1 # 2 ; 3\ny=a=b:c\n; z = 1\nempty =\n");
        assert_eq!(ini.text("a", "x"), Some("1 # 2 ; 3"));
        assert_eq!(ini.text("a", "y"), Some("a=b:c"));
        assert_eq!(ini.text("a", "empty"), Some(""));
    }

    #[test]
    fn the_last_of_two_counts_and_the_other_is_told() {
        let ini = read("[a]\nx = 1\n[b]\n[a]\nX = 2\n");
        assert_eq!(ini.text("a", "x"), Some("2"));
        let repeated = &ini.repeated()[0];
        assert_eq!((repeated.lost_line, repeated.line), (2, 5));
        assert_eq!(ini.line("a", ""), Some(1));
    }

    #[test]
    fn every_line_that_cannot_be_read_is_told_once() {
        assert_eq!(
            errors("[a\nx = 1\n"),
            ["line 1: stands before the first [section]"]
        );
        assert_eq!(
            errors("[a]\n= 1\nword\n[b\n"),
            [
                "line 2: has no keyword before its value",
                "line 3: is neither [section] nor keyword = value",
                "line 4: the section is not closed with ]",
            ]
        );
        assert!(errors("\u{feff}[a]\n")[0].contains("byte order mark"));
    }

    #[test]
    fn it_evaluates_as_the_daemon_s_own_form_does() {
        let ini = read("[env]\ncert = x\n[certificate#0]\nsecret = {name}-{env.cert}\n");
        let object = "test/svc/web1".parse().unwrap();
        let secret = ini
            .config()
            .keyword(&object, "n1", "certificate#0", "secret");
        assert_eq!(secret.as_deref(), Some("web1-x"));
    }
}
