//! EDGE: asks a running controller what it knows, and prints it.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tonic::Status;
use tonic::transport::Endpoint;

use crate::clock::since_1970;
use crate::config::{Address, StatusFormat, StatusOptions};
use crate::pb::gateway_client::GatewayClient;
use crate::pb::{self, GetStatusRequest};
use crate::screen::screen;
use crate::status::to_json;

/// Why it cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers there.
    #[error("no controller answers at {address} (option --address): {reason}")]
    Connect {
        /// Where it was looked for.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// It answered with an error, or the stream of changes ended.
    #[error("the controller at {address} does not tell its status: {reason}")]
    Answer {
        /// Where it was asked.
        address: String,
        /// What it said.
        reason: String,
    },
    /// It cannot be printed.
    #[error("cannot print the status: {0}")]
    Print(String),
}

/// Prints the status; with `watch` again and again until the controller ends.
///
/// # Errors
/// When no controller answers, when it ends, or when nobody reads what is printed.
pub async fn status(options: StatusOptions) -> Result<(), Error> {
    let (address, uri) = match &options.address {
        Address::Tcp(address) => (address.clone(), format!("http://{address}")),
        Address::Unix(path) => (
            path.display().to_string(),
            format!("unix://{}", path.display()),
        ),
    };
    let connected = async {
        let endpoint = Endpoint::from_shared(uri)?.connect_timeout(PATIENCE);
        endpoint.connect().await
    };
    let channel = connected.await.map_err(|error| Error::Connect {
        address: address.clone(),
        reason: innermost(&error),
    })?;
    let mut client = GatewayClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let request = GetStatusRequest {
        node: options.node,
        synced_resources: options.synced_resources,
    };
    let failed = |status: Status| Error::Answer {
        address: address.clone(),
        reason: status.message().to_owned(),
    };
    if !options.watch {
        let answer = client.get_status(request).await.map_err(failed)?;
        return print(&answer.into_inner(), options.format, false);
    }
    let answer = client.watch_status(request).await.map_err(failed)?;
    let mut statuses = answer.into_inner();
    while let Some(status) = statuses.message().await.map_err(failed)? {
        print(&status, options.format, io::stdout().is_terminal())?;
    }
    Err(failed(Status::unavailable("it ended")))
}

/// What is watched at a terminal takes the place of what was there; else each document is a line.
fn print(status: &pb::Status, format: StatusFormat, clears: bool) -> Result<(), Error> {
    let text = match format {
        StatusFormat::Text => screen(status, since_1970()),
        StatusFormat::Json => format!("{}\n", to_json(status).map_err(Error::Print)?),
    };
    let clear = if clears { CLEAR } else { "" };
    let mut out = io::stdout().lock();
    let written = write!(out, "{clear}{text}").and_then(|()| out.flush());
    written.map_err(|error| Error::Print(error.to_string()))
}

/// tonic says "transport error" and keeps what it was to itself.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// How long a controller may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest document; one of ten thousand resources has a few megabytes.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";
