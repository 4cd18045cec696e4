//! A client of the gateway: what `curl --resolve` does, for the demo and the tests.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::tls::TlsInfo;
use reqwest::{Certificate, Client};

/// Sends each request on a connection of its own, to one address whatever the host.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: Client,
}

/// What came back.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
    /// Which instance answered.
    pub instance: String,
    /// The certificate that the gateway showed, in DER.
    pub certificate: Vec<u8>,
}

impl Fetcher {
    /// A client that takes `host` to be at `address` and trusts the authority `ca_pem` alone.
    ///
    /// # Errors
    /// When the authority's certificate is none.
    pub fn new(host: &str, address: SocketAddr, ca_pem: &str) -> Result<Self, reqwest::Error> {
        let authority = Certificate::from_pem(ca_pem.as_bytes())?;
        let client = Client::builder()
            .resolve(host, address)
            .tls_certs_only([authority])
            .tls_info(true)
            .pool_max_idle_per_host(0)
            .no_proxy()
            .timeout(TIMEOUT)
            .build()?;
        Ok(Self { client })
    }

    /// Sends a GET.
    ///
    /// # Errors
    /// When no HTTP answer came.
    pub async fn get(&self, url: &str) -> Result<Answer, reqwest::Error> {
        let response = self.client.get(url).send().await?;
        let info = response.extensions().get::<TlsInfo>();
        let certificate = info
            .and_then(TlsInfo::peer_certificate)
            .unwrap_or_default()
            .to_vec();
        let header = response.headers().get("x-instance");
        let instance = header
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        Ok(Answer {
            status: response.status().as_u16(),
            instance: instance.to_owned(),
            certificate,
            body: response.text().await?,
        })
    }
}

const TIMEOUT: Duration = Duration::from_secs(10);
