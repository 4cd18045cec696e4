//! From `request_headers_add` and the like to [`HeaderEdits`]. The agent 2.1 has no definition
//! of them.

use super::model::HeaderEdits;
use super::texts;
use crate::inventory::Problem;
use crate::inventory::keywords::Keywords;

/// Reads `<which>_headers_add` and `<which>_headers_remove`; `which` is `request` or `response`.
/// `None` where neither says anything.
///
/// # Errors
/// The first word that cannot be taken.
pub(super) fn edits(
    keywords: &Keywords<'_>,
    which: &str,
) -> Result<Option<Box<HeaderEdits>>, Problem> {
    let mut edits = HeaderEdits::default();
    let keyword = format!("{which}_headers_add");
    let text = keywords.text(&keyword)?.unwrap_or_default();
    for word in quoted_words(&text) {
        match word.split_once(':') {
            Some((name, value)) if is_name(name) && is_value(value) => {
                edits
                    .set
                    .push((name.to_ascii_lowercase(), value.to_owned()));
            }
            _ => {
                let wrong = "is no header such as x-env:prod or \"x-name:two words\"";
                return Err(keywords.problem(&keyword, texts::shown(&word, wrong)));
            }
        }
    }
    let keyword = format!("{which}_headers_remove");
    for name in keywords.words(&keyword)? {
        if !is_name(&name) {
            let wrong = "is no name of a header that can be removed";
            return Err(keywords.problem(&keyword, texts::shown(&name, wrong)));
        }
        edits.remove.push(name.to_ascii_lowercase());
    }
    Ok((edits != *HeaderEdits::NONE).then(|| Box::new(edits)))
}

fn is_name(name: &str) -> bool {
    texts::is_token(name) && !RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name))
}

fn is_value(value: &str) -> bool {
    value.len() <= VALUE_BYTES_MAX && value.chars().all(|c| c.is_ascii_graphic() || c == ' ')
}

/// Splits on white space, but not between double quotes, which are taken away.
fn quoted_words(text: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), None);
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_with(String::new);
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_with(String::new).push(c),
        }
    }
    words.extend(word);
    words
}

/// Envoy lets nobody edit the host this way, and how a message is framed is not for routes to say.
const RESERVED: [&str; 5] = [
    "connection",
    "content-length",
    "host",
    "transfer-encoding",
    "upgrade",
];
/// More than any header needs.
const VALUE_BYTES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_at_white_space_outside_of_quotes() {
        let text = r#" a:1  "b:two words" c:"x  y"z "" "#;
        assert_eq!(quoted_words(text), ["a:1", "b:two words", "c:x  yz", ""]);
        assert_eq!(quoted_words(r#"a:"open end"#), ["a:open end"]);
    }
}
