//! EDGE: what the agent 2.x is asked to change beside keywords, and what shows that it did. The
//! same over each way that leads to it. One change at a time is for the caller: of several at once
//! the daemon confirms all and keeps some.

use serde_json::json;
use tracing::debug;

use super::request::{Ask, CREATE, Request, read_config, read_value};
use super::{Error, answer};
use crate::inventory::{Kind, ObjectPath, Sensitive};

/// Sets one key, reads it back, and makes the daemon tell of it: by itself it takes 9 to 14 s.
pub(super) async fn set_key(
    agent: impl Ask,
    path: ObjectPath,
    key: String,
    value: Sensitive,
) -> Result<(), Error> {
    let name = path.to_string();
    let request = Request::new(SET_KEY, json!({"path": name, "key": key}));
    let request = request.with_data(value.clone());
    let here = agent.ask(request.clone()).await?;
    let taken = match answer::is_unknown_here(&name, &here) {
        false => here,
        true => answer::of_a_node(agent.ask(request.anywhere()).await?),
    };
    answer::key_set(SET_KEY, &name, &taken)?;
    let action = match path.kind() {
        Kind::Sec => "get_secret_key",
        _ => "get_key",
    };
    let read = read_value(agent.clone(), action, name.clone(), key).await?;
    if read.as_ref() != Some(&value) {
        let reason = "the key does not read back as it was written";
        return Err(Error::Answer {
            action: SET_KEY,
            reason,
        });
    }
    wake(&agent, &name).await;
    Ok(())
}

/// Creates an empty object; one that exists already is left as it is.
pub(super) async fn create(agent: impl Ask, path: ObjectPath) -> Result<(), Error> {
    let name = path.to_string();
    if read_config(agent.clone(), name.clone()).await?.is_some() {
        return Ok(());
    }
    let request = Request::new(CREATE, json!({"data": {&name: {}}}));
    let created = agent.ask(request).await?;
    answer::done(CREATE, &name, &answer::of_a_node(created))?;
    wake(&agent, &name).await;
    Ok(())
}

/// The change is made already: where this fails the daemon only tells of it later.
async fn wake(agent: &impl Ask, path: &str) {
    let request = Request::new("wake_monitor", json!({"path": path}));
    if let Err(error) = agent.ask(request).await {
        debug!(%error, path, "the daemon was not told of a change");
    }
}

const SET_KEY: &str = "set_key";
