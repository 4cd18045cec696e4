//! TLS that is not the gateway's business: passed through by the server name it asks for.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::time::Duration;

use osvc_igw::demo::client::{Answer, Fetcher};
use osvc_igw::demo::ports;
use osvc_igw::sim::backend::Backend;
use osvc_igw::sim::certificate::Authority;
use tokio::time::{sleep, timeout};

use crate::support::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn tls_passes_through_to_the_service_that_the_server_name_asks_for() {
    let rig = Rig::bare(&[]).await;
    let authority = Authority::new("passthrough").unwrap();
    let port = ports::free().unwrap();
    let mut backends = Vec::new();
    for (number, name) in ["one", "two"].into_iter().enumerate() {
        let host = format!("{name}.acme.org");
        let identity = authority.issue(&host, &[&host]).unwrap();
        let address = format!("127.78.0.{}:0", number + 1).parse().unwrap();
        let backend = Backend::start(address, name, Some(identity)).await.unwrap();
        let (ip, to) = (backend.address().ip(), backend.address().port());
        let ini = format!(
            "[ip#0]\nipname = {ip}\nipdev = lo\nnetmask = 8\nexpose = expose#0\n\
             [expose#0]\ntype = envoy\nport = {to}\nlistener_port = {port}\nsni = {host}\n"
        );
        rig.stage
            .sim
            .create(&format!("test/svc/{name}"), &ini)
            .unwrap();
        backends.push(backend);
    }
    for name in ["one", "two"] {
        let host = format!("{name}.acme.org");
        let answer = answer(&host, port, authority.pem()).await;
        // The service itself saw the name, and its own certificate is what the client saw.
        assert_eq!(answer.instance, name, "{answer:?}");
        assert!(
            answer.body.contains(&format!("tls sni={host}")),
            "{answer:?}"
        );
        let expect = format!("CN={host}");
        let (_, certificate) = x509_parser::parse_x509_certificate(&answer.certificate).unwrap();
        assert_eq!(certificate.subject().to_string(), expect);
    }
}

async fn answer(host: &str, port: u16, ca_pem: &str) -> Answer {
    let fetcher = Fetcher::new(host, ([127, 0, 0, 1], port).into(), ca_pem).unwrap();
    let url = format!("https://{host}:{port}/");
    let answered = async {
        loop {
            if let Ok(answer) = fetcher.get(&url).await {
                return answer;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(20), answered)
        .await
        .expect("an answer")
}
