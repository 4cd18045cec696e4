//! Recorded requests and answers of a real daemon's HTTP/2 interface, taken apart.

use serde_json::Value;

/// A request and what it was answered.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The options of the query, in order.
    pub(crate) query: Vec<(String, String)>,
    /// The body that was sent, if there was one.
    pub(crate) body: Option<String>,
    /// A header that was given: its name and value.
    pub(crate) header: Option<(String, String)>,
    /// The status and the document; `None` where the daemon hung up.
    pub(crate) answer: Option<(u16, Value)>,
}

/// The exchanges of a transcript.
pub(crate) fn exchanges(text: &str) -> Vec<Exchange> {
    text.split("########## ").skip(1).map(exchange).collect()
}

fn exchange(block: &str) -> Exchange {
    let (first, rest) = block.split_once('\n').expect("a line");
    let mut words = first.split_whitespace();
    let method = words.next().expect("a method").to_owned();
    let uri = words.next().expect("an address");
    let uri = uri.strip_prefix("https://n1:1215").unwrap_or(uri);
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut query: Vec<(String, String)> = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    query.sort();
    let arguments = first
        .split_once("args: ")
        .map_or("", |(_, arguments)| arguments);
    let body = arguments.split_once("-d ").map(|(_, body)| body.to_owned());
    let header = rest.lines().find_map(|line| {
        let (name, value) = line
            .strip_prefix("> authorization: ")
            .map(|v| ("authorization", v))?;
        Some((name.to_owned(), value.to_owned()))
    });
    let status = rest.lines().find_map(|line| line.strip_prefix("< HTTP/2 "));
    let answer = status.map(|status| {
        let (_, body) = rest.split_once("\n< \n").expect("a body");
        let body = body.lines().next().expect("a document");
        // A recording of a long one is cut.
        let document = serde_json::from_str(body).unwrap_or_default();
        (status.trim().parse().expect("a number"), document)
    });
    Exchange {
        method,
        path: path.to_owned(),
        query,
        body,
        header,
        answer,
    }
}
