//! Who asks a listener: once, or all the time over connections that stay and over new ones.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The status and the body of the answer to these bytes, over a connection of its own.
pub(super) async fn answer(port: u16, request: &[u8]) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(request).await?;
        let mut stream = BufReader::new(stream);
        // Envoy leaves the connection open for a second, for who has not read all.
        let (head, length) = head_of(&mut stream).await?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let status = head.split(' ').nth(1).unwrap_or("no answer").to_owned();
        Ok::<_, io::Error>(format!("{status} {}", String::from_utf8_lossy(&body)))
    };
    match timeout(Duration::from_secs(10), exchange).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "silence".to_owned(),
    }
}

/// The head of an answer, and how long its body is.
async fn head_of(stream: &mut BufReader<TcpStream>) -> io::Result<(String, usize)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || line == "\r\n" {
            return Ok((head, length));
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        head += &line;
    }
}

/// A request for that host.
pub(super) fn get(host: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").into_bytes()
}

/// Asks all the time, over one connection that stays and over new ones, until it is told to stop;
/// returns what went wrong.
pub(super) struct Asking {
    stop: watch::Sender<bool>,
    asking: JoinHandle<(usize, Vec<String>)>,
}

impl Asking {
    pub(super) fn start(port: u16) -> Self {
        let (stop, stopped) = watch::channel(false);
        let asking = tokio::spawn(async move {
            let (mut count, mut wrong) = (0, Vec::new());
            let mut kept: Option<BufReader<TcpStream>> = None;
            while !*stopped.borrow() {
                let at = count % 3;
                let (host, expected) = (format!("h{at}.test"), format!("200 host {at}"));
                let found = answer(port, &get(&host)).await;
                if found != expected {
                    wrong.push(format!("{host}: {found}"));
                }
                if let Err(found) = ask_on(&mut kept, port, &host, &format!("host {at}")).await {
                    wrong.push(format!("{host} on a connection that stays: {found}"));
                }
                count += 1;
                sleep(Duration::from_millis(10)).await;
            }
            (count, wrong)
        });
        Self { stop, asking }
    }

    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        let (count, wrong) = self.asking.await.unwrap();
        assert!(wrong.is_empty(), "{} of {count}: {wrong:?}", wrong.len());
        assert!(count > 0);
    }
}

/// One request over a connection that is made where there is none, or the other end closes it.
async fn ask_on(
    kept: &mut Option<BufReader<TcpStream>>,
    port: u16,
    host: &str,
    expected: &str,
) -> Result<(), String> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(("127.0.0.1", port)).await;
            BufReader::new(stream.map_err(|error| error.to_string())?)
        }
    };
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let sent = stream.get_mut().write_all(request.as_bytes()).await;
    let (head, length) = match head_of(&mut stream).await {
        Ok(read) if sent.is_ok() => read,
        _ => (String::new(), 0),
    };
    if head.is_empty() {
        // It had drained, and nothing was under way.
        return Ok(());
    }
    let mut body = vec![0; length];
    let read = stream.read_exact(&mut body).await;
    read.map_err(|error| error.to_string())?;
    if !head.starts_with("HTTP/1.1 200") || body != expected.as_bytes() {
        return Err(format!("{head:?} {:?}", String::from_utf8_lossy(&body)));
    }
    if !head.contains("connection: close") {
        *kept = Some(stream);
    }
    Ok(())
}
