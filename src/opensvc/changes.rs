//! EDGE: what the agent 2.x is asked to change over its raw socket, and what shows that it did.
//! One change at a time is for the caller: of several at once the daemon confirms all and keeps
//! some.

use serde::Serialize;
use serde_json::json;
use tracing::debug;
use zeroize::Zeroizing;

use super::raw::{Raw, Request};
use super::{Daemon, Error, answer};
use crate::inventory::{Kind, ObjectPath, Sensitive, Write};

/// Sets a keyword. The daemon runs an `om` command for it, which tells of the change by itself.
pub(super) async fn set_keyword(raw: Raw, write: Write) -> Result<(), Error> {
    let assignment = format!("{}={}", write.place(), write.value);
    let path = write.object.to_string();
    let options = json!({"path": path, "action": "set", "options": {"kw": [assignment]}});
    let here = raw
        .ask(Request::new(SERVICE_ACTION, options.clone()))
        .await?;
    if !answer::is_elsewhere(&here) {
        return answer::done(SERVICE_ACTION, &here);
    }
    let there = raw.ask(Request::anywhere(SERVICE_ACTION, options)).await?;
    answer::done(SERVICE_ACTION, &answer::of_a_node(there))
}

/// Sets one key, reads it back, and makes the daemon tell of it: by itself it takes 9 to 14 s.
pub(super) async fn set_key(
    raw: Raw,
    path: ObjectPath,
    key: String,
    value: Sensitive,
) -> Result<(), Error> {
    let name = path.to_string();
    let here = raw.ask(key_request(&name, &key, &value, None)?).await?;
    let taken = match answer::is_unknown_here(&name, &here) {
        false => here,
        true => {
            let there = raw.ask(key_request(&name, &key, &value, ANY)?).await?;
            answer::of_a_node(there)
        }
    };
    answer::key_set(SET_KEY, &taken)?;
    let read = match path.kind() {
        Kind::Sec => raw.read_key(&path, &key).await?,
        _ => {
            let options = json!({"path": name, "key": key});
            let here = raw.ask(Request::new(GET_KEY, options.clone())).await?;
            let here = match answer::is_unknown_here(&name, &here) {
                false => here,
                true => answer::of_a_node(raw.ask(Request::anywhere(GET_KEY, options)).await?),
            };
            answer::key(GET_KEY, &name, here)?
        }
    };
    if read.as_ref() != Some(&value) {
        let reason = "the key does not read back as it was written";
        return Err(Error::Answer {
            action: SET_KEY,
            reason,
        });
    }
    wake(&raw, &name).await;
    Ok(())
}

/// Creates an empty object; one that exists already is left as it is.
pub(super) async fn create(raw: Raw, path: ObjectPath) -> Result<(), Error> {
    if raw.read_config(&path).await?.is_some() {
        return Ok(());
    }
    let name = path.to_string();
    let data = json!({"data": {&name: {}}});
    let created = raw.ask(Request::new(CREATE, data)).await?;
    answer::done(CREATE, &answer::of_a_node(created))?;
    wake(&raw, &name).await;
    Ok(())
}

/// The change is made already: where this fails the daemon only tells of it later.
async fn wake(raw: &Raw, path: &str) {
    let request = Request::new("wake_monitor", json!({"path": path}));
    if let Err(error) = raw.ask(request).await {
        debug!(%error, path, "the daemon was not told of a change");
    }
}

/// Written straight into memory that is wiped: no other copy of the value is made.
fn key_request(
    path: &str,
    key: &str,
    value: &Sensitive,
    node: Option<&'static str>,
) -> Result<Request, Error> {
    let data = value.expose();
    let options = KeyOptions { path, key, data };
    let request = KeyRequest {
        action: SET_KEY,
        options,
        node,
    };
    // Every character takes six bytes at most: a frame that grew would leave its start behind.
    let most = (data.len() + path.len() + key.len()).saturating_mul(6) + FRAME_BYTES;
    let mut frame = Zeroizing::new(Vec::with_capacity(most));
    serde_json::to_writer(&mut *frame, &request).map_err(|source| Error::Parse {
        action: SET_KEY,
        source,
    })?;
    Ok(Request::of_text(SET_KEY, frame))
}

#[derive(Serialize)]
struct KeyRequest<'a> {
    action: &'static str,
    options: KeyOptions<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'static str>,
}

#[derive(Serialize)]
struct KeyOptions<'a> {
    path: &'a str,
    key: &'a str,
    data: &'a str,
}

/// The request that runs an `om` command.
pub(super) const SERVICE_ACTION: &str = "service_action";
/// The request that makes an object.
pub(super) const CREATE: &str = "create";
const SET_KEY: &str = "set_key";
const GET_KEY: &str = "get_key";
const ANY: Option<&str> = Some("ANY");
/// What a request has beside its texts, generously.
const FRAME_BYTES: usize = 256;
