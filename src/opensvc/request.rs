//! What an agent 2.x is asked, in its own words for it, and how the answers are put together: the
//! same over each way that leads to it. No connection here.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Error;
use super::answer;
use crate::inventory::Account;
use crate::inventory::{Config, Kind, ObjectPath, Sensitive, Write};

/// A request in the words of the raw socket.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) action: &'static str,
    pub(super) options: Value,
    /// What the option `data` holds: no other part of a request is a secret.
    data: Option<Sensitive>,
    /// For a node that has the object; the daemon that is asked passes it on.
    pub(super) anywhere: bool,
}

impl Request {
    /// For the daemon that is asked.
    pub(super) fn new(action: &'static str, options: Value) -> Self {
        let anywhere = false;
        Self {
            action,
            options,
            data: None,
            anywhere,
        }
    }

    /// The same with a secret in its option `data`.
    pub(super) fn with_data(self, data: Sensitive) -> Self {
        let data = Some(data);
        Self { data, ..self }
    }

    pub(super) fn anywhere(self) -> Self {
        let anywhere = true;
        Self { anywhere, ..self }
    }

    /// Appends the options as JSON, the secret among them.
    ///
    /// # Errors
    /// Never, as it writes to memory; the serializer's type says so otherwise.
    pub(super) fn write_options(&self, to: &mut Vec<u8>) -> Result<(), Error> {
        let options = self.options.to_string();
        let (data, rest) = match (&self.data, options.strip_prefix('{')) {
            (Some(data), Some(rest)) => (data.expose(), rest),
            _ => {
                to.extend_from_slice(options.as_bytes());
                return Ok(());
            }
        };
        // A buffer that has to grow leaves a copy behind, which nobody wipes.
        to.reserve(options.len() + data.len().saturating_mul(ESCAPED_BYTES_MAX) + ROOM_BYTES);
        to.extend_from_slice(b"{\"data\":");
        serde_json::to_writer(&mut *to, data).map_err(|error| Error::Send {
            action: self.action,
            source: error.into(),
        })?;
        // There are other options always: the object's path.
        to.push(b',');
        to.extend_from_slice(rest.as_bytes());
        Ok(())
    }

    /// The request as the raw socket takes it; what it says is wiped when it was.
    pub(super) fn frame(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut frame = Zeroizing::new(Vec::new());
        let begin = format!("{{\"action\":{},\"options\":", Value::from(self.action));
        let mut options = Zeroizing::new(Vec::new());
        self.write_options(&mut options)?;
        frame.reserve_exact(begin.len() + options.len() + END_BYTES_MAX);
        frame.extend_from_slice(begin.as_bytes());
        frame.extend_from_slice(&options);
        let end: &[u8] = match self.anywhere {
            true => b",\"node\":\"ANY\"}\0",
            false => b"}\0",
        };
        frame.extend_from_slice(end);
        Ok(frame)
    }
}

/// A way to ask an agent 2.x. Clones lead to the same one.
pub(super) trait Ask: Clone + Send + Sync + 'static {
    /// Sends a request on a connection of its own and reads the answer, whatever it says.
    fn ask(&self, request: Request) -> impl Future<Output = Result<Value, Error>> + Send;
}

/// Reads one key of a `sec` or `cfg` object. No error repeats what was read.
pub(super) async fn read_key(
    agent: impl Ask,
    path: String,
    key: String,
) -> Result<Option<Sensitive>, Error> {
    let is_sec = path
        .parse()
        .is_ok_and(|path: ObjectPath| path.kind() == Kind::Sec);
    let action = if is_sec { "get_secret_key" } else { "get_key" };
    read_value(agent, action, path, key).await
}

/// Reads one key of a `sec` or `cfg` object, with the request for its kind.
pub(super) async fn read_value(
    agent: impl Ask,
    action: &'static str,
    path: String,
    key: String,
) -> Result<Option<Sensitive>, Error> {
    let request = Request::new(action, json!({"path": path, "key": key}));
    // The parser never quotes what it reads; that stays so if there is nothing to quote.
    let hidden = |error| match error {
        Error::Parse { action, .. } => Error::Answer {
            action,
            reason: "no JSON",
        },
        error => error,
    };
    let here = agent.ask(request.clone()).await.map_err(hidden)?;
    if !answer::is_unknown_here(&path, &here) {
        return answer::key(action, &path, here);
    }
    let there = agent.ask(request.anywhere()).await.map_err(hidden)?;
    answer::key(action, &path, answer::of_a_node(there))
}

/// Reads an object's raw configuration.
pub(super) async fn read_config(agent: impl Ask, path: String) -> Result<Option<Config>, Error> {
    let action = "get_service_config";
    let options = json!({"path": path, "format": "json", "evaluate": false});
    let request = Request::new(action, options);
    let here = agent.ask(request.clone()).await?;
    if !answer::is_unknown_here(&path, &here) {
        return answer::config(action, &path, &here);
    }
    // What protects an expose may stand there: another node has the object.
    let there = agent.ask(request.anywhere()).await?;
    answer::config(action, &path, &answer::of_a_node(there))
}

/// Asks what this account may.
pub(super) async fn account(agent: impl Ask) -> Result<Account, Error> {
    let answer = agent.ask(Request::new("whoami", json!({}))).await?;
    Ok(Account::of_whoami(&answer))
}

/// Sets one keyword.
pub(super) async fn write(agent: impl Ask, write: Write) -> Result<(), Error> {
    let assignment = format!("{}={}", write.place(), write.value);
    let path = write.object.to_string();
    let options = json!({"path": &path, "action": "set", "options": {"kw": [assignment]}});
    let request = Request::new(SERVICE_ACTION, options);
    let here = agent.ask(request.clone()).await?;
    if !answer::is_elsewhere(&here) {
        return answer::done(SERVICE_ACTION, &path, &here);
    }
    let there = agent.ask(request.anywhere()).await?;
    answer::done(SERVICE_ACTION, &path, &answer::of_a_node(there))
}

/// How long a byte gets in JSON.
const ESCAPED_BYTES_MAX: usize = 6;
/// What stands around the options.
const ROOM_BYTES: usize = 256;
/// The subscription to the event stream.
pub(super) const EVENTS: &str = "events";
/// What the daemon knows, as a whole.
pub(super) const DAEMON_STATUS: &str = "daemon_status";
/// The request that runs a command, and takes as long as the command.
pub(super) const SERVICE_ACTION: &str = "service_action";
/// The request that makes an object, with a command.
pub(super) const CREATE: &str = "create";
/// How long the end of a request is.
const END_BYTES_MAX: usize = 32;
