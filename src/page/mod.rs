//! EDGE: the page for people, and what it asks for: the graph, and a stream of what changes. The
//! page is one file without anything from elsewhere; what it shows it sets as text.

mod events;

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio_util::sync::CancellationToken;

use crate::live::Live;
use crate::status::{Knowledge, json_of};
use events::{Places, events};

/// What the page is made of.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    knowledge: Knowledge,
    live: Live,
    places: Places,
    stop: CancellationToken,
}

impl Page {
    /// A page that shows what is known and what happens. Its streams end when stopped.
    pub(crate) fn new(knowledge: Knowledge, live: Live, stop: CancellationToken) -> Self {
        Self {
            knowledge,
            live,
            places: Places::default(),
            stop,
        }
    }

    /// `/`, `/graph` and `/events`.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/", get(page))
            .route("/graph", get(graph))
            .route("/events", get(events))
            .with_state(self)
    }
}

async fn page() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, PAGE).into_response()
}

async fn graph(State(page): State<Page>, asked: HeaderMap) -> Response {
    let graph = page.knowledge.graph();
    let tag = format!("\"{}\"", graph.version);
    let has = asked.get(IF_NONE_MATCH);
    if has.is_some_and(|has| has.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response();
    }
    match json_of("osvc_igw.v1.Graph", &*graph) {
        Ok(json) => {
            let headers = [(ETAG, tag), (CACHE_CONTROL, "no-cache".to_owned())];
            (headers, axum::Json(json)).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
    }
}

/// What the browser is allowed: this script and this style, by their hashes, and to ask back here.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let [script, style] = ["script", "style"].map(|tag| {
        let text = inside(PAGE, tag).unwrap_or_default();
        STANDARD.encode(digest(&SHA256, text.as_bytes()))
    });
    format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
});

fn inside<'a>(page: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("<{tag}>"))?;
    let (text, _) = rest.split_once(&format!("</{tag}>"))?;
    Some(text)
}

const PAGE: &str = include_str!("index.html");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_script_and_one_style_and_asks_nobody_else() {
        for tag in ["script", "style"] {
            assert_eq!(PAGE.matches(&format!("<{tag}")).count(), 1, "{tag}");
            assert!(inside(PAGE, tag).is_some_and(|text| text.len() > 100));
        }
        for elsewhere in ["http://", "https://", "src=", "@import", "url("] {
            let found = PAGE.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn nothing_in_the_page_makes_html_or_code_of_a_text() {
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "createContextualFragment",
            "DOMParser",
            "eval(",
            "Function(",
            "setTimeout('",
            "srcdoc",
            " onclick=",
            " style=",
        ] {
            assert!(!PAGE.contains(way), "{way}");
        }
    }

    #[test]
    fn the_policy_allows_what_is_inside_and_nothing_else() {
        assert!(!POLICY.contains("unsafe"));
        assert_eq!(POLICY.matches("'sha256-").count(), 2);
    }
}
