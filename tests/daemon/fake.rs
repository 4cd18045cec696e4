//! A small HTTP/2 server on a unix socket that answers as a test tells it to. It shares no code
//! with the client or with the simulated daemon.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex as Gate;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::support::folder::Folder;

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The options of the query, in order.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
}

type Answer = dyn Fn(&Asked) -> (u16, String) + Send + Sync;

/// A server that records what it is asked; event streams carry what is sent to `events`.
pub(crate) struct FakeH2 {
    pub(crate) socket: PathBuf,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
    pub(crate) events: UnboundedSender<Vec<u8>>,
    _folder: Folder,
}

impl FakeH2 {
    pub(crate) fn start(answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let folder = Folder::new("h2");
        let socket = folder.0.join("h2.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let (events, receiver) = unbounded_channel();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let shared = (
            asked.clone(),
            Arc::new(Gate::new(receiver)),
            Arc::new(answer) as Arc<Answer>,
        );
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (asked, events, answer) = shared.clone();
                tokio::spawn(serve(stream, asked, events, answer));
            }
        });
        Self {
            socket,
            asked,
            events,
            _folder: folder,
        }
    }
}

async fn serve(
    stream: UnixStream,
    asked: Arc<Mutex<Vec<Asked>>>,
    events: Arc<Gate<UnboundedReceiver<Vec<u8>>>>,
    answer: Arc<Answer>,
) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (asked, events, answer) = (asked.clone(), events.clone(), answer.clone());
        tokio::spawn(async move {
            let request = read(request).await;
            asked.lock().expect("no panic").push(request.clone());
            // A client may leave at any time.
            let _ = reply(&request, respond, &events, &*answer).await;
        });
    }
}

async fn read(request: Request<RecvStream>) -> Asked {
    let (head, mut body) = request.into_parts();
    while let Some(Ok(_)) = body.data().await {}
    let query = head.uri.query().unwrap_or_default();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut query: Vec<(String, String)> = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    query.sort();
    Asked {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query,
        headers: head.headers,
    }
}

async fn reply(
    request: &Asked,
    mut respond: SendResponse<Bytes>,
    events: &Gate<UnboundedReceiver<Vec<u8>>>,
    answer: &Answer,
) -> Result<(), h2::Error> {
    let (status, body) = answer(request);
    let streams = request.path == "/events" && status == 200;
    let kind = if streams {
        "text/event-stream"
    } else {
        "application/json"
    };
    let head = Response::builder()
        .status(status)
        .header("content-type", kind);
    let mut stream = respond.send_response(head.body(()).expect("a head"), false)?;
    stream.send_data(Bytes::from(body), !streams)?;
    if streams {
        let mut events = events.lock().await;
        while let Some(bytes) = events.recv().await {
            stream.send_data(Bytes::from(bytes), false)?;
        }
        stream.send_data(Bytes::new(), true)?;
    }
    Ok(())
}
