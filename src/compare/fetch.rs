//! EDGE: a JSON page over plain HTTP.

use std::time::Duration;

use serde_json::Value;

use super::Error;

/// Gets a page of a controller's or an Envoy's admin address.
pub(super) async fn json(
    address: &str,
    page: &str,
    option: &'static str,
    what: &'static str,
) -> Result<Value, Error> {
    get(address, page).await.map_err(|reason| Error::Fetch {
        what,
        address: address.to_owned(),
        option,
        reason,
    })
}

async fn get(address: &str, page: &str) -> Result<Value, String> {
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
    let client = client.build().map_err(|error| innermost(&error))?;
    let answer = client.get(format!("{address}{page}")).send().await;
    let mut answer = answer.map_err(|error| innermost(&error))?;
    if !answer.status().is_success() {
        return Err(format!("it answers {page} with {}", answer.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| innermost(&error))? {
        body.extend(chunk);
        if body.len() > BYTES_MAX {
            return Err(format!(
                "it answers {page} with more than {BYTES_MAX} bytes"
            ));
        }
    }
    let read = serde_json::from_slice(&body);
    read.map_err(|error| format!("what it answers to {page} is no JSON: {error}"))
}

/// An HTTP client keeps what happened to itself.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Ten thousand resources are told in a few seconds.
const PATIENCE: Duration = Duration::from_secs(30);
const BYTES_MAX: usize = 512 << 20;
