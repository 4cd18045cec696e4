//! EDGE: the way to a certificate authority, and what its answers say beside their documents.
//! Nothing here knows what is asked.
//!
//! instant-acme has no time limits, drops the headers of errors, and cannot read an error that is
//! no problem document (RFC 7807) or a directory with a null in it. All of that is made good here.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{HeaderName, HeaderValue, LINK, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use serde_json::{Value, json};

use crate::clock::unix_seconds;

/// Sends a request to an authority, and brings the answer.
pub trait Wire: Send + Sync {
    /// One request; fails with the reason, as the end of a sentence.
    fn send(
        &self,
        method: Method,
        url: String,
        headers: HeaderMap,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Response<Bytes>, String>>;
}

/// The internet.
#[derive(Clone, Debug)]
pub struct Web(reqwest::Client);

impl Web {
    /// Believes the roots of the system, and those of `ca_bundle` (PEM).
    ///
    /// # Errors
    /// Why the bundle cannot be used, as the end of a sentence.
    pub fn new(ca_bundle: Option<&str>) -> Result<Self, String> {
        let mut client = reqwest::Client::builder()
            .connect_timeout(CONNECT_MAX)
            .timeout(ANSWER_MAX)
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(bundle) = ca_bundle {
            let roots = reqwest::Certificate::from_pem_bundle(bundle.as_bytes());
            let roots = roots.ok().filter(|roots| !roots.is_empty());
            let roots = roots.ok_or_else(|| "holds no certificates in PEM".to_owned())?;
            // The system may have no roots at all; then these are enough.
            client = client.tls_certs_only(roots);
        }
        let client = client.build().map_err(|error| told(&error))?;
        Ok(Self(client))
    }
}

impl Wire for Web {
    fn send(
        &self,
        method: Method,
        url: String,
        headers: HeaderMap,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Response<Bytes>, String>> {
        let request = self.0.request(method, url).headers(headers).body(body);
        Box::pin(async move {
            let answer = request.send().await.map_err(|error| told(&error))?;
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            *response.body_mut() = answer.bytes().await.map_err(|error| told(&error))?;
            Ok(response)
        })
    }
}

/// An error with its causes, in one line.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What the last answers said beside their documents.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Seen {
    /// The status of the last answer; 0 where there was none.
    pub status: u16,
    /// For how many seconds the authority wants to be left alone.
    pub retry_after_s: Option<u64>,
    /// By how many seconds its clock is ahead of ours.
    pub ahead_s: Option<i64>,
    /// Where the same certificate is with other chains (RFC 8555, section 7.4.2).
    pub alternates: Vec<String>,
    /// The document itself, for what instant-acme does not read.
    pub document: Bytes,
}

/// The client that instant-acme is given.
#[derive(Clone)]
pub struct Client {
    wire: Arc<dyn Wire>,
    seen: Arc<Mutex<Seen>>,
}

impl Client {
    /// A client of one authority.
    pub fn new(wire: Arc<dyn Wire>) -> Self {
        Self {
            wire,
            seen: Arc::default(),
        }
    }

    /// What the last answer said.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request, with its answer put right.
    ///
    /// # Errors
    /// When there is no answer: why not.
    pub async fn send(
        &self,
        method: Method,
        url: String,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Bytes>, String> {
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        *self.lock() = Seen::default();
        let sent = self.wire.send(method, url, headers, body);
        let answer = tokio::time::timeout(ANSWER_MAX, sent).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()))?;
        let now = unix_seconds();
        let date = text(answer.headers(), &http::header::DATE).and_then(seconds_of);
        *self.lock() = Seen {
            status: answer.status().as_u16(),
            retry_after_s: text(answer.headers(), &RETRY_AFTER).and_then(|value| {
                let seconds = || seconds_of(value).map(|at| (at - now).max(0).unsigned_abs());
                value.trim().parse().ok().or_else(seconds)
            }),
            ahead_s: date.map(|date| date - now),
            alternates: alternates(answer.headers()),
            document: answer.body().clone(),
        };
        Ok(mended(answer))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let client = self.clone();
        let (parts, body) = request.into_parts();
        // An answer's body can be read as a whole, and a request's cannot.
        let mut body = BytesResponse::from(Response::new(body)).body;
        Box::pin(async move {
            let body = body
                .into_bytes()
                .await
                .map_err(instant_acme::Error::Other)?;
            let (method, url) = (parts.method, parts.uri.to_string());
            let sent = client.send(method.clone(), url.clone(), parts.headers, body);
            let answer = sent.await;
            let answer = answer.map_err(|reason| instant_acme::Error::Other(reason.into()))?;
            // It would look for its directory in a page that says something else.
            if method == Method::GET && !answer.status().is_success() {
                let reason = format!("{url} answers HTTP {}", answer.status());
                return Err(instant_acme::Error::Other(reason.into()));
            }
            let (parts, body) = answer.into_parts();
            Ok(BytesResponse {
                parts,
                body: Box::new(body),
            })
        })
    }
}

/// An error always is a problem document, and no document has nulls in it.
fn mended(answer: Response<Bytes>) -> Response<Bytes> {
    let (parts, body) = answer.into_parts();
    let document = serde_json::from_slice::<Value>(&body).ok();
    let document = document.filter(Value::is_object);
    let failed = parts.status.is_client_error() || parts.status.is_server_error();
    let body = match document {
        Some(mut document) => {
            without_nulls(&mut document);
            Bytes::from(document.to_string())
        }
        None if failed => Bytes::from(problem(parts.status).to_string()),
        None => body,
    };
    Response::from_parts(parts, body)
}

fn problem(status: StatusCode) -> Value {
    let reason = status.canonical_reason().unwrap_or("no reason");
    json!({"detail": format!("HTTP {} {reason}", status.as_u16()), "status": status.as_u16()})
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(without_nulls);
        }
        Value::Array(values) => values.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// The links of the relation `alternate` (RFC 8288).
fn alternates(headers: &HeaderMap) -> Vec<String> {
    let links = headers.get_all(LINK).into_iter();
    let links = links.filter_map(|link| link.to_str().ok());
    let links = links.flat_map(|link| link.split(','));
    let links = links.filter_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let mut parameters = parameters.split(';').map(str::trim);
        let is_one = |one: &str| matches!(one, "rel=\"alternate\"" | "rel=alternate");
        parameters.any(is_one).then(|| target.to_owned())
    });
    links.collect()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A date of HTTP (RFC 9110, section 5.6.7), such as `Fri, 31 Dec 1999 23:59:59 GMT`, or one of
/// RFC 3339 such as `1999-12-31T23:59:59Z`, in seconds since 1970.
pub fn seconds_of(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(time) = humantime::parse_rfc3339(text) {
        let since = time.duration_since(UNIX_EPOCH).ok()?;
        return i64::try_from(since.as_secs()).ok();
    }
    let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let words: Vec<&str> = text
        .split([' ', '-'])
        .filter(|word| !word.is_empty())
        .collect();
    let [_, day, month, year, time, "GMT"] = words[..] else {
        return None;
    };
    let month = months.find(month).filter(|_| month.len() == 3)? / 3 + 1;
    seconds_of(&format!("{year}-{month:02}-{day:0>2}T{time}Z"))
}

/// The headers of a plain request.
pub fn no_headers() -> HeaderMap {
    HeaderMap::new()
}

const AGENT: &str = concat!("osvc-igw/", env!("CARGO_PKG_VERSION"));
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long an answer may take; Let's Encrypt's own limit is shorter.
const ANSWER_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    struct Says(u16, &'static [(&'static str, &'static str)], &'static str);

    impl Wire for Says {
        fn send(
            &self,
            _: Method,
            _: String,
            _: HeaderMap,
            _: Bytes,
        ) -> BoxFuture<'static, Result<Response<Bytes>, String>> {
            let mut response = Response::builder().status(self.0);
            for (name, value) in self.1 {
                response = response.header(*name, *value);
            }
            let response = response.body(Bytes::from(self.2)).unwrap();
            Box::pin(async move { Ok(response) })
        }
    }

    async fn answer(says: Says) -> (Value, Seen) {
        let client = Client::new(Arc::new(says));
        let sent = client.send(Method::GET, String::new(), no_headers(), Bytes::new());
        let answer = sent.await.unwrap();
        (
            serde_json::from_slice(answer.body()).unwrap(),
            client.seen(),
        )
    }

    #[tokio::test]
    async fn an_error_in_html_becomes_a_problem_and_its_headers_are_kept() {
        let headers = &[
            ("retry-after", "120"),
            ("date", "Fri, 31 Dec 1999 23:59:59 GMT"),
        ];
        let (problem, seen) = answer(Says(503, headers, "<html>")).await;
        assert_eq!(problem["detail"], "HTTP 503 Service Unavailable");
        assert_eq!((seen.status, seen.retry_after_s), (503, Some(120)));
        assert!(seen.ahead_s.is_some_and(|ahead| ahead < -800_000_000));
    }

    #[tokio::test]
    async fn a_directory_loses_its_nulls() {
        let says = Says(
            200,
            &[],
            "{\"newOrder\": \"x\", \"meta\": null, \"a\": {\"b\": null}}",
        );
        assert_eq!(answer(says).await.0, json!({"newOrder": "x", "a": {}}));
    }

    #[test]
    fn other_chains_are_found_among_the_links() {
        let mut headers = HeaderMap::new();
        for link in [
            "<https://ca.org/dir>;rel=\"index\"",
            "<https://ca.org/1>; rel=\"alternate\", <https://ca.org/2>;title=x;rel=alternate",
            "<https://ca.org/3;rel=\"alternate\"",
        ] {
            headers.append(LINK, HeaderValue::from_static(link));
        }
        assert_eq!(
            alternates(&headers),
            ["https://ca.org/1", "https://ca.org/2"]
        );
    }

    #[test]
    fn dates_are_read_in_both_spellings() {
        for text in ["Fri, 31 Dec 1999 23:59:59 GMT", "1999-12-31T23:59:59Z"] {
            assert_eq!(seconds_of(text), Some(946_684_799), "{text}");
        }
        for text in [
            "",
            "soon",
            "Fri, 31 Xxx 1999 23:59:59 GMT",
            "Fri, 31 Dec 1999",
        ] {
            assert_eq!(seconds_of(text), None, "{text}");
        }
    }
}
