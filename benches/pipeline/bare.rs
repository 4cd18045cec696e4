//! The bare server that the floor is: tonic, which sends what it reads from a unix socket to every
//! client, and knows nothing of what is in it. It is a process of its own, as the controller is.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use futures::stream::StreamExt;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, split};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};

use super::cluster::lock;
use super::delta::{self, Delta, Responses};

type Push = UnboundedSender<Result<DeltaDiscoveryResponse, Status>>;

#[derive(Clone)]
struct Service {
    /// What a client that has nothing is sent.
    all: Arc<[DeltaDiscoveryResponse]>,
    streams: Arc<Mutex<Vec<Push>>>,
    /// Each client that is ready is told of here.
    ready: UnboundedSender<()>,
}

/// Serves until the other end of `control` is gone. What is read there: how many messages a client
/// that has nothing is sent, and messages, each behind its length: these, and then what all are
/// sent. What is written there: the port, and a byte for each client that is ready.
pub(super) async fn serve(control: UnixStream) -> io::Result<()> {
    let (read, mut write) = split(control);
    let mut read = BufReader::new(read);
    let mut all = Vec::new();
    for _ in 0..read.read_u32().await? {
        all.push(message(&mut read).await?);
    }
    let (ready, told) = unbounded_channel();
    let service = Service {
        all: all.into(),
        streams: Arc::default(),
        ready,
    };
    let streams = Arc::clone(&service.streams);
    let (address, serving) = delta::bind(service)?;
    write.write_u16(address.port()).await?;
    let push = async {
        while let Ok(response) = message(&mut read).await {
            for stream in &*lock(&streams) {
                let _ = stream.send(Ok(response.clone()));
            }
        }
    };
    tokio::select! {
        () = serving => {}
        () = push => {}
        () = tell(told, write) => {}
    }
    Ok(())
}

async fn tell(mut ready: UnboundedReceiver<()>, mut write: impl AsyncWriteExt + Unpin) {
    while ready.recv().await.is_some() {
        if write.write_u8(1).await.is_err() {
            return;
        }
    }
}

async fn message(read: &mut (impl AsyncReadExt + Unpin)) -> io::Result<DeltaDiscoveryResponse> {
    let length = read.read_u32().await?;
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    read.read_exact(&mut bytes).await?;
    Ok(DeltaDiscoveryResponse::decode(Bytes::from(bytes))?)
}

impl Delta for Service {
    async fn answer(
        &self,
        mut requests: Streaming<DeltaDiscoveryRequest>,
    ) -> Result<Responses<DeltaDiscoveryResponse>, Status> {
        let (send, outgoing) = unbounded_channel();
        let service = self.clone();
        tokio::spawn(async move {
            let mut first = true;
            while let Some(Ok(request)) = requests.next().await {
                if !std::mem::take(&mut first) {
                    continue;
                }
                if request.initial_resource_versions.is_empty() {
                    for response in &*service.all {
                        let _ = send.send(Ok(response.clone()));
                    }
                }
                lock(&service.streams).push(send.clone());
                let _ = service.ready.send(());
            }
        });
        Ok(UnboundedReceiverStream::new(outgoing).boxed())
    }
}
