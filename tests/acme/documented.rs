//! What README.md and `examples/services/acme.conf` say of certificates, as it stands there: with a
//! real authority, the real binary and a real Envoy. Only addresses and ports are those of here.

use std::time::Duration;

use osvc_igw::demo::ports;
use osvc_igw::sim::Sim;
use osvc_igw::sim::backend::Backend;
use osvc_igw::sim::certificate::Authority;
use tokio::time::{sleep, timeout};

use crate::support::om::Om;
use crate::support::page::{block, read, same};
use crate::support::pebble::Pebble;
use crate::support::rig::Rig;
use crate::support::session::Session;

const README: &str = "README.md";
/// The authority of the pages.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// A gateway, an instance behind it, and an authority that comes to its ports.
struct Site {
    rig: Rig,
    pebble: Pebble,
    session: Session,
    backend: Backend,
    /// Where the gateway's port 443 is.
    tls: u16,
}

impl Site {
    async fn start(instance: &str) -> Self {
        let pebble = Pebble::start();
        let (http, tls) = (
            pebble.http_port.to_string(),
            ports::free().expect("a free port"),
        );
        let rig = Rig::bare(&["--acme-http-port", &http]).await;
        let at = instance.parse().expect("an address");
        let backend = Backend::start(at, "instance", None).await;
        let session = Session::start(&[
            ("OSVC_IGW_SOCKET", &rig.options.daemon.display().to_string()),
            ("OSVC_IGW_ACME_HTTP_PORT", &http),
            ("OSVC_IGW_ACME_HTTPS_PORT", &tls.to_string()),
            ("OSVC_IGW_ACME_GATEWAYS", "127.0.0.1"),
        ]);
        let backend = backend.expect("an instance");
        Self {
            rig,
            pebble,
            session,
            backend,
            tls,
        }
    }

    /// Types these commands for the authority that is here, and lets it be believed.
    fn om(&self, lines: &[String]) {
        let sim = &self.rig.stage.sim;
        let authority = Authority::new("the cluster's").expect("an authority");
        let mut om = Om::new(sim, &self.session.folder.0, &authority);
        let mut issuers = 0;
        for line in lines {
            let here = line.replace(DIRECTORY, &self.pebble.directory());
            om.run(&here).expect("it works");
            if here != *line {
                let issuer = line.split(' ').nth(1).expect("its path");
                sim.set_key(issuer, "ca_bundle", self.pebble.ca_pem())
                    .expect("a key");
                issuers += 1;
            }
        }
        assert_eq!(issuers, 1, "{lines:?}");
    }

    /// Waits until the gateway shows the name with a certificate of the authority; returns what
    /// is answered.
    async fn answered(&mut self, name: &str) -> reqwest::Response {
        let root = self.pebble.root(0).await;
        let root = reqwest::Certificate::from_pem(root.as_bytes()).expect("a root");
        let client = self
            .client(name)
            .tls_certs_only([root])
            .build()
            .expect("a client");
        let url = format!("https://{name}:{}/", self.tls);
        let answered = async {
            loop {
                match client.get(&url).send().await {
                    Ok(answer) if answer.status().is_success() => return answer,
                    _ => sleep(Duration::from_millis(100)).await,
                }
            }
        };
        // A try that fails on a busy machine is repeated after a minute.
        match timeout(Duration::from_secs(150), answered).await {
            Ok(answer) => answer,
            Err(_) => panic!("{}", self.session.run("osvc-igw acme status").1),
        }
    }

    fn client(&self, name: &str) -> reqwest::ClientBuilder {
        let client = reqwest::Client::builder();
        let client = client.redirect(reqwest::redirect::Policy::none());
        client
            .resolve(name, ([127, 0, 0, 1], self.tls).into())
            .no_proxy()
    }
}

fn instance(answer: &reqwest::Response) -> Option<&[u8]> {
    answer.headers().get("x-instance").map(|it| it.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
pub(crate) async fn the_commands_of_the_readme_get_a_certificate_that_envoy_shows() {
    let mut site = Site::start("127.77.5.20:0").await;
    let at = site.backend.address();
    let config = format!(
        "[ip#0]\nipname = {}\nexpose = expose#0\n[expose#0]\ntype = envoy\nport = {}\n\
         listener_port = {}\nvhosts = vhost#0\nlistener_certificates = certificate#front\n\
         [vhost#0]\ndomains = www.acme.org acme.org\n[certificate#front]\ntype = tls\n",
        at.ip(),
        at.port(),
        site.tls
    );
    site.rig
        .stage
        .sim
        .create("shop/svc/web", &config)
        .expect("a service");
    let lines = block(README, "om shop/sec/letsencrypt create").commands();
    let (last, om) = lines.split_last().expect("commands");
    site.om(om);
    let here = last.replace("192.0.2.1,192.0.2.2", "127.0.0.1");
    assert_ne!(&here, last);
    site.session.behind(&here, "acme.log");
    for name in ["www.acme.org", "acme.org"] {
        let answer = site.answered(name).await;
        assert_eq!(instance(&answer), Some(&b"instance"[..]), "{name}");
    }
    assert_eq!(site.pebble.orders(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_gets_its_certificate_and_answers_over_https() {
    let mut site = Site::start("127.77.5.21:0").await;
    let text = read("examples/services/acme.conf");
    let comments = text.lines().filter_map(|line| line.strip_prefix("#   "));
    let commands: Vec<String> = comments.map(str::to_owned).collect();
    assert_eq!(commands.len(), 3, "{commands:?}");
    site.om(&commands);
    let at = site.backend.address();
    let here = text
        .replace("type = cni\n", &format!("ipname = {}\n", at.ip()))
        .replace("port = 2368\n", &format!("port = {}\n", at.port()))
        .replace(
            "listener_port = 443\n",
            &format!("listener_port = {}\n", site.tls),
        )
        .replace(
            "listener_port = 80\n",
            &format!("listener_port = {}\n", site.pebble.http_port),
        );
    site.rig
        .stage
        .sim
        .create("test/svc/blog", &here)
        .expect("a service");
    assert!(text.contains("`osvc-igw acme run` does the rest"));
    site.session.behind("osvc-igw acme run", "acme.log");
    let answer = site.answered("blog.acme.org").await;
    assert_eq!(instance(&answer), Some(&b"instance"[..]));
    let plain = format!("http://blog.acme.org:{}/", site.pebble.http_port);
    let client = site.client("blog.acme.org").build().expect("a client");
    // As a client says it at port 80.
    let asked = client.get(plain).header("host", "blog.acme.org");
    let redirected = asked.send().await.expect("an answer");
    assert_eq!(redirected.status(), 308);
    assert_eq!(redirected.headers()["location"], "https://blog.acme.org/");
    assert_eq!(site.pebble.orders(), 1);
    // What is there now is what the status says.
    let told = site.session.works("osvc-igw acme status");
    assert!(
        told.contains("test/sec/blog") && told.contains("good until"),
        "{told}"
    );
}

/// A cluster with the authority of the pages, for what asks nobody.
fn planned() -> (Session, Sim) {
    let session = Session::start(&[("OSVC_IGW_SOCKET", "lsnr.sock")]);
    let sim = Sim::start(&session.folder.0.join("lsnr.sock"), &["n1"]).expect("a daemon");
    sim.create("shop/sec/letsencrypt", "").expect("an object");
    sim.set_key("shop/sec/letsencrypt", "directory", DIRECTORY)
        .expect("a key");
    (session, sim)
}

/// A service with an expose for each of these domains, all with the certificate `front`.
fn serve(sim: &Sim, domains: &[&str]) {
    let mut config = "[certificate#0]\ntype = tls\ncertificate_secret = front\n".to_owned();
    for (number, domain) in domains.iter().enumerate() {
        config += &format!(
            "[ip#{number}]\nipname = 127.77.5.22\nexpose = expose#{number}\n[expose#{number}]\n\
             type = envoy\nport = 80\nlistener_port = 443\nvhosts = vhost#{number}\n\
             listener_certificates = certificate#0\n[vhost#{number}]\ndomains = {domain}\n"
        );
    }
    sim.create("shop/svc/web", &config).expect("a service");
}

#[tokio::test(flavor = "multi_thread")]
pub(crate) async fn the_object_of_the_readme_asks_for_the_names_that_are_served() {
    let (mut session, sim) = planned();
    let object = block(README, "[DEFAULT]");
    sim.create("shop/sec/front", &object.text)
        .expect("an object");
    serve(&sim, &["www.acme.org", "blog.acme.org"]);
    let told = session.works("osvc-igw acme plan");
    assert!(
        told.contains("shop/sec/front (blog.acme.org www.acme.org)"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
pub(crate) async fn a_name_that_the_certificate_lacks_is_told_by_these_words() {
    let (mut session, sim) = planned();
    let object = "[DEFAULT]\ncn = www.acme.org\nca = shop/sec/letsencrypt\n";
    sim.create("shop/sec/front", object).expect("an object");
    serve(&sim, &["www.acme.org", "api.acme.org"]);
    let opening = "shop/svc/web expose#1";
    for command in ["osvc-igw acme plan", "osvc-igw acme status"] {
        let (_, told) = session.run(command);
        let line = told.lines().find(|line| line.contains(opening));
        let line = line.unwrap_or_else(|| panic!("{told}")).trim();
        same(README, opening, &format!("{line}\n"), str::to_owned);
    }
}

#[tokio::test(flavor = "multi_thread")]
pub(crate) async fn with_the_keys_of_the_readme_an_issuer_takes_wildcards() {
    let (mut session, sim) = planned();
    let object = "[DEFAULT]\ncn = *.acme.org\nca = shop/sec/letsencrypt\n";
    sim.create("shop/sec/front", object).expect("an object");
    let (_, before) = session.run("osvc-igw acme plan");
    assert!(
        before.contains("a wildcard needs a DNS challenge"),
        "{before}"
    );
    let folder = session.folder.0.clone();
    let authority = Authority::new("the cluster's").expect("an authority");
    let mut om = Om::new(&sim, &folder, &authority);
    for line in block(README, "om shop/sec/letsencrypt add --key challenge").commands() {
        om.run(&line.replace("\"$SECRET\"", "c2VjcmV0"))
            .expect("it works");
    }
    let after = session.works("osvc-igw acme plan");
    assert!(
        after.contains("shop/sec/front (*.acme.org)\n  orders now"),
        "{after}"
    );
}
