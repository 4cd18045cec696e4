//! The walk-through's cluster: service web1 on the simulated daemon, with a plain and a TLS
//! backend for every instance.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use super::{Error, ports};
use crate::sim::Sim;
use crate::sim::backend::Backend;
use crate::sim::certificate::{Authority, Identity};

/// The cluster and what runs on it.
pub struct Stage {
    /// The simulated daemon.
    pub sim: Sim,
    /// Where everything listens.
    pub ports: Ports,
    authority: Authority,
    back: Identity,
    backends: BTreeMap<u32, [Backend; 2]>,
}

/// The ports of the walk-through: 8080, 443, 80 and 443 in the documentation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ports {
    /// The gateway's plain port.
    pub plain: u16,
    /// The gateway's TLS port.
    pub tls: u16,
    /// The instances' plain port.
    pub backend_plain: u16,
    /// The instances' TLS port.
    pub backend_tls: u16,
}

/// A command of the documentation: `om OBJECT set --kw …`.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What it does.
    pub title: &'static str,
    /// The keywords; the upper-case words are ports of [`Ports`].
    pub keywords: &'static [&'static str],
}

impl Step {
    /// The command as one would type it.
    pub fn shown(&self, ports: &Ports) -> String {
        let keywords = self.keywords.iter();
        let keywords = keywords.map(|keyword| format!(" \\\n    --kw {}", ports.fill(keyword)));
        format!(
            "# {}\nom {SERVICE} set{}\n",
            self.title,
            keywords.collect::<String>()
        )
    }
}

impl Ports {
    fn fill(&self, text: &str) -> String {
        text.replace("GATEWAY_PLAIN", &self.plain.to_string())
            .replace("GATEWAY_TLS", &self.tls.to_string())
            .replace("BACKEND_PLAIN", &self.backend_plain.to_string())
            .replace("BACKEND_TLS", &self.backend_tls.to_string())
    }
}

impl Stage {
    /// Starts the daemon on `socket`, with service web1, its first instance, and the secrets.
    ///
    /// # Errors
    /// When a port or the socket cannot be had.
    pub async fn start(socket: &Path) -> Result<Self, Error> {
        let sim = Sim::start(socket, &["node1"]).map_err(Error::io("start the daemon"))?;
        let certificate = |error: rcgen::Error| Error::Check(error.to_string());
        let authority = Authority::new("demo authority").map_err(certificate)?;
        let back = authority.issue("web1", &["web1"]).map_err(certificate)?;
        let mut stage = Self {
            sim,
            ports: Ports {
                plain: ports::free()?,
                tls: ports::free()?,
                backend_plain: ports::free()?,
                backend_tls: ports::free()?,
            },
            authority,
            back,
            backends: BTreeMap::new(),
        };
        for (path, identity) in [(FRONT, &stage.issue_front()?), (BACK, &stage.back)] {
            stage.sim.create(path, "").map_err(refused(path))?;
            stage.put(path, identity)?;
        }
        stage.start_backends(1).await?;
        let address = |number, _: &str| address(number).to_string();
        stage.sim.address_slaves(SERVICE, address);
        stage
            .sim
            .create(SERVICE, CONFIGURATION)
            .map_err(refused(SERVICE))?;
        Ok(stage)
    }

    /// The certificate of the authority that issues what the gateway shows, in PEM.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// Carries a step out.
    ///
    /// # Errors
    /// When the daemon refuses it.
    pub fn take(&self, step: &Step) -> Result<(), Error> {
        let keywords: Vec<String> = step.keywords.iter().map(|kw| self.ports.fill(kw)).collect();
        let keywords: Vec<&str> = keywords.iter().map(String::as_str).collect();
        self.sim
            .set(SERVICE, &keywords)
            .map_err(refused(step.title))
    }

    /// `om test/svc/web1 scale --to N`: new instances run before they are reported up, and those
    /// that go say so a while before they end.
    ///
    /// # Errors
    /// When a backend cannot start or the daemon refuses.
    pub async fn scale(&mut self, to: u32) -> Result<(), Error> {
        self.start_backends(to).await?;
        self.sim
            .begin_scale(SERVICE, to)
            .map_err(refused("scale"))?;
        if self.backends.keys().any(|number| *number >= to) {
            sleep(DRAIN).await;
        }
        self.sim.finish_scale(SERVICE).map_err(refused("scale"))?;
        let leaving = self.backends.split_off(&to);
        for backend in leaving.into_values().flatten() {
            backend.stop(DRAIN).await;
        }
        Ok(())
    }

    /// Replaces the certificate that the gateway shows, a key at a time as `om` does it. Returns
    /// the chains in PEM, the one before and the new one.
    ///
    /// # Errors
    /// When it cannot be issued or stored.
    pub fn replace_front_certificate(&self) -> Result<(String, String), Error> {
        let before = self.sim.key(FRONT, "certificate_chain").unwrap_or_default();
        let identity = self.issue_front()?;
        self.put(FRONT, &identity)?;
        Ok((before, identity.chain_pem))
    }

    fn issue_front(&self) -> Result<Identity, Error> {
        let names = ["svcweb.acme.org", "alt-svcweb.acme.org"];
        let issued = self.authority.issue("svcweb.acme.org", &names);
        issued.map_err(|error| Error::Check(error.to_string()))
    }

    fn put(&self, path: &str, identity: &Identity) -> Result<(), Error> {
        let keys = [
            ("private_key", &identity.key_pem),
            ("certificate_chain", &identity.chain_pem),
        ];
        for (key, value) in keys {
            self.sim.set_key(path, key, value).map_err(refused(path))?;
        }
        Ok(())
    }

    async fn start_backends(&mut self, count: u32) -> Result<(), Error> {
        for number in 0..count {
            if self.backends.contains_key(&number) {
                continue;
            }
            let name = format!("{number}.web1");
            let identity = Identity {
                chain_pem: self.back.chain_pem.clone(),
                key_pem: self.back.key_pem.clone(),
            };
            let start = async |port: u16, identity| {
                let at = SocketAddr::from((address(number), port));
                let started = Backend::start(at, &name, identity).await;
                started.map_err(Error::io(format!("listen on {at}")))
            };
            let plain = start(self.ports.backend_plain, None).await?;
            let tls = start(self.ports.backend_tls, Some(identity)).await?;
            self.backends.insert(number, [plain, tls]);
        }
        Ok(())
    }
}

/// Where instance `number` is.
fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST_ADDRESS.to_bits() + number)
}

fn refused<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Error {
    let what = what.to_owned();
    move |error| Error::Refused {
        what: format!("{what}: {error}"),
    }
}

/// The commands of the documentation, in its order.
pub const STEPS: &[Step] = &[
    Step {
        title: "a L4 expose",
        keywords: &[
            "ip#1.expose=expose#0",
            "expose#0.type=envoy",
            "expose#0.listener_port=GATEWAY_PLAIN",
            "expose#0.port=BACKEND_PLAIN",
        ],
    },
    Step {
        title: "certificates for clients and for backends",
        keywords: &[
            "certificate#front.secret=web1-front-cert",
            "certificate#back.secret=web1-back-cert",
        ],
    },
    Step {
        title: "an expose with TLS, matched by its server name",
        keywords: &[
            "expose#1.type=envoy",
            "expose#1.listener_port=GATEWAY_TLS",
            "expose#1.port=BACKEND_TLS",
            "expose#1.sni=svcweb.acme.org",
            "expose#1.listener_certificates=certificate#front",
            "expose#1.cluster_certificates=certificate#back",
            "ip#1.expose+=expose#1",
        ],
    },
    Step {
        title: "an expose with a virtual host and routes",
        keywords: &[
            "ip#1.expose+=expose#2",
            "expose#2.type=envoy",
            "expose#2.listener_addr=0.0.0.0",
            "expose#2.listener_port=GATEWAY_TLS",
            "expose#2.port=BACKEND_TLS",
            "expose#2.vhosts=vhost#0",
            "expose#2.listener_certificates=certificate#front",
            "expose#2.cluster_certificates=certificate#back",
            "vhost#0.domains=alt-svcweb.acme.org",
            "vhost#0.routes=route#0 route#1",
            "route#0.match_prefix=/realtime/generic",
            "route#0.route_use_websocket=true",
            "route#1.match_prefix=/",
        ],
    },
];

/// The service's path.
pub const SERVICE: &str = "test/svc/web1";
/// The secret that clients see.
pub const FRONT: &str = "test/sec/web1-front-cert";
/// The secret that backends see.
pub const BACK: &str = "test/sec/web1-back-cert";
const CONFIGURATION: &str = "\
[DEFAULT]
topology = flex
orchestrate = ha

[ip#1]
ipname = 127.77.0.1
ipdev = lo
netmask = 8
check_carrier = false
alias = false
";
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);
/// How long an instance that is being stopped still takes requests.
const DRAIN: Duration = Duration::from_secs(1);
