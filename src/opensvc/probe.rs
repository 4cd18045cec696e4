//! EDGE: finding out which agent is there when it does not speak as an agent 2.x does.
//!
//! An agent 3 speaks HTTP/1.1 and says who it is to anybody who asks.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::Error;

/// What is wrong with a peer that does not take HTTP/2.
pub(super) async fn not_http2(
    address: String,
    stream: impl AsyncRead + AsyncWrite + Unpin,
) -> Error {
    match is_v3(stream).await {
        true => Error::OtherAgent { address },
        false => Error::Tls {
            address,
            reason: "it does not take HTTP/2, as an agent 2.1 does".to_owned(),
        },
    }
}

/// Asks what only an agent 3 answers.
pub(super) async fn is_v3(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> bool {
    let asking = async {
        let request = "GET /api/auth/info HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut head = [0; HEAD.len()];
        stream.read_exact(&mut head).await?;
        Ok::<_, std::io::Error>(head == HEAD)
    };
    matches!(timeout(ANSWER_MAX, asking).await, Ok(Ok(true)))
}

/// How a good answer begins.
const HEAD: [u8; 12] = *b"HTTP/1.1 200";
const ANSWER_MAX: Duration = Duration::from_secs(5);
