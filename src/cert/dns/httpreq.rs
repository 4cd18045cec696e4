//! EDGE: has a webhook write records, by the protocol of lego's `httpreq`: what is asked for is a
//! name and a text, and all that counts of the answer is its status.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::json;

use super::settings::Httpreq;

/// Asks for one action, `present` or `cleanup`.
///
/// # Errors
/// Why it was not done, as a sentence. It shows the host and neither path nor password.
pub async fn call(hook: &Httpreq, action: &str, fqdn: &str, value: &str) -> Result<(), String> {
    let mut client = reqwest::Client::builder()
        .connect_timeout(CONNECT_MAX)
        .timeout(ANSWER_MAX)
        .redirect(reqwest::redirect::Policy::none());
    if let Some(bundle) = &hook.ca_bundle {
        let roots = reqwest::Certificate::from_pem_bundle(bundle.as_bytes());
        let roots = roots.ok().filter(|roots| !roots.is_empty());
        let roots = roots.ok_or_else(|| "httpreq_ca_bundle holds no certificates".to_owned())?;
        client = client.tls_certs_only(roots);
    }
    let host = host(&hook.url);
    let failed = |error| format!("the webhook at {host}: {}", cause(error));
    let client = client.build().map_err(failed)?;
    let body = json!({"fqdn": fqdn, "value": value}).to_string();
    let mut request = client
        .post(format!("{}/{action}", hook.url))
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .body(body);
    if let Some((user, password)) = &hook.login {
        request = request.basic_auth(user, Some(password.expose()));
    }
    let status = request.send().await.map_err(failed)?.status();
    match status.is_success() {
        true => Ok(()),
        false => Err(format!(
            "the webhook at {host} answers {action} with HTTP {status}"
        )),
    }
}

/// The innermost cause says what happened, and no address.
fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// A path may be all that a webhook is protected by.
fn host(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    rest.split('/').next().unwrap_or(rest)
}

const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Some write the record before they answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);
