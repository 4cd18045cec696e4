//! The requests of the walk-through, as lines to type and as checks.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::sleep;

use super::client::{Answer, Fetcher};
use super::stage::Stage;
use super::{Error, write};

/// One request of the walk-through.
#[derive(Clone, Debug)]
pub struct Line {
    url: String,
    shown: String,
    expect: String,
    fetcher: Fetcher,
}

impl Line {
    /// All of them; the authority to trust is written to `folder` for whoever types them.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn all(stage: &Stage, folder: &Path) -> Result<Vec<Self>, Error> {
        let ca = folder.join("ca.pem");
        write(&ca, stage.ca_pem())?;
        let (plain, tls) = (stage.ports.plain, stage.ports.tls);
        let line = |host: &str, port: u16, path: &str| {
            let scheme = if port == tls { "https" } else { "http" };
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let trust = format!("--cacert {} ", ca.display());
            let url = format!("{scheme}://{host}:{port}{path}");
            let shown = format!(
                "curl {}--resolve {host}:{port}:127.0.0.1 {url}",
                if port == tls { &trust } else { "" }
            );
            let fetcher = Fetcher::new(host, address, stage.ca_pem())
                .map_err(|error| Error::Check(error.to_string()))?;
            let expect = format!("GET {host}:{port}{path}");
            Ok(Self {
                url,
                shown,
                expect,
                fetcher,
            })
        };
        let lines = [
            line("svcweb.acme.org", plain, "/"),
            line("svcweb.acme.org", tls, "/"),
            line("alt-svcweb.acme.org", tls, "/"),
            line("alt-svcweb.acme.org", tls, "/realtime/generic"),
        ];
        lines.into_iter().collect()
    }

    /// The line to type.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether it goes over TLS.
    pub fn is_tls(&self) -> bool {
        self.url.starts_with("https")
    }

    /// Waits until it is answered with a success.
    pub async fn answered(&self) {
        while !self.run().await.is_ok_and(|answer| answer.status == 200) {
            sleep(POLL).await;
        }
    }

    /// Sends it.
    ///
    /// # Errors
    /// When no HTTP answer came.
    pub async fn run(&self) -> Result<Answer, Error> {
        self.fetcher.get(&self.url).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            Error::Check(format!(
                "{}: {error}: {}",
                self.shown,
                cause.unwrap_or_default()
            ))
        })
    }

    /// Whether the answer is one of the instance's, to this request, over TLS where it should.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn judge(&self, answer: &Answer) -> Result<(), Error> {
        let tls = if self.is_tls() { "client=web1" } else { "" };
        let right =
            answer.status == 200 && answer.body.contains(&self.expect) && answer.body.contains(tls);
        if right {
            return Ok(());
        }
        let Answer { status, body, .. } = answer;
        Err(Error::Check(format!("{}: {status} {body:?}", self.shown)))
    }
}

/// Which instances answer to some requests.
///
/// # Errors
/// When one is not answered.
pub async fn instances(line: &Line, requests: usize) -> Result<BTreeSet<String>, Error> {
    let mut seen = BTreeSet::new();
    for _ in 0..requests {
        let answer = line.run().await?;
        line.judge(&answer)?;
        seen.insert(answer.instance);
    }
    Ok(seen)
}

/// Waits until exactly so many instances answer.
///
/// # Errors
/// When it takes longer than ten seconds, or a request is not answered.
pub async fn expect_instances(line: &Line, count: usize) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for _ in 0..ROUNDS {
        seen = instances(line, count * 5).await?;
        if seen.len() == count {
            return Ok(());
        }
        sleep(POLL).await;
    }
    Err(Error::Check(format!(
        "{}: {count} instances should answer, not {seen:?}",
        line.shown
    )))
}

/// Waits until a handshake shows the certificate `after` in the place of `before` (both in PEM).
///
/// # Errors
/// When it takes longer than ten seconds, or another one is shown.
pub async fn expect_certificate(line: &Line, before: &str, after: &str) -> Result<(), Error> {
    let leaf = |pem: &str| {
        let leaf = CertificateDer::from_pem_slice(pem.as_bytes());
        leaf.map(|leaf| leaf.to_vec())
            .map_err(|error| Error::Check(error.to_string()))
    };
    let (before, after) = (leaf(before)?, leaf(after)?);
    for _ in 0..ROUNDS {
        let answer = line.run().await?;
        if answer.certificate == after {
            return Ok(());
        }
        if answer.certificate != before {
            return Err(Error::Check(format!(
                "{}: shows another certificate",
                line.shown
            )));
        }
        sleep(POLL).await;
    }
    Err(Error::Check(format!(
        "{}: still shows the old certificate",
        line.shown
    )))
}

const POLL: Duration = Duration::from_millis(100);
/// Polls until something should have happened.
const ROUNDS: usize = 100;
