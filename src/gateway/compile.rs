//! From the [`Inventory`] to the [`Gateway`]: the exposes one after the other, in the order of
//! their paths. One bad expose costs only itself, and what is left out is a [`Problem`].

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::chains::{HTTP_CHAIN, chain, named_chain};
use super::claims::{Claim, Claims};
use super::exposes::{Exposed, collect};
use super::http3;
use super::ports;
use super::routes::{domain, spread, virtual_hosts};
use super::settle;
use super::tls::{Resolved, Resolver, Side, Tls};
use super::user_json::{UserJson, consequence};
use super::{
    ChainData, ClientValidation, Cluster, FilterChain, Gateway, LbPolicy, Listener, Origin, Policy,
    Protocol, RouteConfiguration, UpstreamTls, VirtualHost,
};
use crate::inventory::{Inventory, Name, ObjectPath, Problem, Write};

/// What came of compiling.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Compiled {
    /// What should be exposed.
    pub gateway: Gateway,
    /// What cannot be exposed as written, and why.
    pub problems: BTreeSet<Problem>,
    /// What must be read from the daemon before more can be exposed.
    pub wants: BTreeSet<Want>,
    /// What the daemon should be asked to write.
    pub writes: BTreeSet<Write>,
    /// The namespaces whose objects something is exposed of, or has to be read for it.
    pub namespaces: BTreeSet<String>,
    /// The problems that time will bring: each begins after a second, counted from 1970.
    pub expiries: BTreeSet<(i64, Problem)>,
}

/// Something that the event stream does not carry, at the revision that the daemon announced.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Want {
    /// The keys of a `sec` object that a pair is in.
    Secret(ObjectPath, Name),
    /// The keys of a `sec` object that tell whom to trust.
    Trust(ObjectPath, Name),
    /// The key of a `cfg` or `sec` object that its challenges are in.
    Challenges(ObjectPath, Name),
    /// The raw configuration of an object.
    Config(ObjectPath, Name),
}

impl Want {
    /// The object that it is read of.
    pub fn path(&self) -> &ObjectPath {
        let (Self::Secret(path, _)
        | Self::Trust(path, _)
        | Self::Challenges(path, _)
        | Self::Config(path, _)) = self;
        path
    }
}

/// Compiles everything. Pure: equal inputs give equal outputs, whatever led to them.
pub fn compile(inventory: &Inventory, policy: &Policy) -> Compiled {
    let mut compiled = Compiled::default();
    let mut exposes = collect(
        inventory,
        policy,
        &mut compiled.problems,
        &mut compiled.wants,
    );
    compiled.writes = ports::settle(
        inventory,
        policy,
        &mut exposes,
        &mut compiled.problems,
        &mut compiled.wants,
    );
    let mut compiled = draft(inventory, policy, &exposes, compiled).compiled;
    compiled.gateway.listeners.change_all(settle::matches);
    settle::guards(&mut compiled.gateway);
    let objects = inventory.objects.keys();
    let carriers: BTreeSet<&ObjectPath> = objects.filter(|path| settle::is_carrier(path)).collect();
    settle::answers(inventory, policy, &carriers, &mut compiled);
    compiled
}

/// What some exposes come to where no others are.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) compiled: Compiled,
    /// What they have of their listeners.
    pub(super) claims: Claims,
    /// The `sec` objects that they name.
    pub(super) uses: BTreeSet<ObjectPath>,
}

/// Compiles exposes, which are in order, to all but what depends on other exposes: whether a chain
/// is alone on its listener, and who is answered there beside them.
pub(super) fn draft(
    inventory: &Inventory,
    policy: &Policy,
    exposes: &[Exposed<'_>],
    compiled: Compiled,
) -> Draft {
    let mut compiler = Compiler {
        inventory,
        policy,
        claims: Claims::default(),
        uses: BTreeSet::new(),
        compiled,
    };
    for exposed in exposes {
        let namespace = exposed.owner.namespace().to_owned();
        compiler.compiled.namespaces.insert(namespace);
        compiler.expose(exposed);
    }
    let Compiler {
        mut compiled,
        claims,
        uses,
        ..
    } = compiler;
    let Compiled {
        gateway, problems, ..
    } = &mut compiled;
    spread::settle(&mut gateway.routes, &gateway.clusters, problems);
    settle::rights(inventory, &mut compiled);
    Draft {
        compiled,
        claims,
        uses,
    }
}

/// What an expose says of its cluster and of its chain in Envoy's own words.
type UserData = (Option<UserJson>, Option<UserJson>);

struct Compiler<'a> {
    inventory: &'a Inventory,
    policy: &'a Policy,
    claims: Claims,
    uses: BTreeSet<ObjectPath>,
    compiled: Compiled,
}

impl Compiler<'_> {
    fn expose(&mut self, exposed: &Exposed<'_>) {
        let Ok((cluster_data, filter_data)) = self.user_data(exposed) else {
            return;
        };
        let upstream = self.resolve(exposed, Side::Cluster);
        let downstream = self.resolve(exposed, Side::Listener);
        if upstream == Resolved::Broken || downstream == Resolved::Broken {
            return;
        }
        let Some(listener) = self.listener_name(exposed) else {
            return;
        };
        let problems = &mut self.compiled.problems;
        let mut hosts = virtual_hosts(exposed, &listener, &mut self.claims, problems);
        if hosts.is_empty() && !exposed.expose.vhosts.is_empty() {
            // Each vhost that was lost has said so.
            return;
        }
        // What waits keeps its claims: a name must not change hands because a read takes time.
        let certificates = match &downstream {
            Resolved::Ready(tls) => {
                let names = tls.certificates.iter().map(|(name, _)| name.clone());
                names.collect()
            }
            _ => exposed.expose.listener_certificates.clone(),
        };
        let claims = &mut self.claims;
        let chain = chain(exposed, &listener, certificates, &hosts, claims, problems);
        let chain = chain.and_then(|chain| self.join(exposed, &listener, chain, filter_data));
        let Some(mut chain) = chain else {
            let claims = &mut self.claims;
            for domain in hosts.into_iter().flat_map(|host| host.domains) {
                claims.release(&listener, Claim::Domain(domain));
            }
            return;
        };
        let (claims, problems) = (&mut self.claims, &mut self.compiled.problems);
        let named = named_chain(exposed, &listener, &chain, &hosts, claims, problems);
        let expose = &exposed.expose;
        let (protocol, address) = (expose.protocol, expose.listener_addr);
        let origin = exposed.origin();
        let claims = &mut self.claims;
        claims.bind(protocol, address, expose.listener_port, &origin);
        claims.agree(&listener, expose.accept_proxy_protocol, &origin);
        let judges = matches!(&downstream, Resolved::Ready(tls) if tls.validation.is_some());
        let http3 = http3::claim(exposed, judges, claims, &mut self.compiled.problems);
        let (Resolved::Ready(upstream), Resolved::Ready(downstream)) = (upstream, downstream)
        else {
            return;
        };
        self.cluster(exposed, &hosts, upstream, cluster_data);
        let secrets = &mut self.compiled.gateway.secrets;
        secrets.extend(downstream.certificates);
        chain.validation = downstream.validation.map(|validation| {
            secrets.insert(validation.name.clone(), validation.secret);
            Box::new(ClientValidation {
                secret: validation.name,
                required: validation.strict,
            })
        });
        if let Some(mut named) = named {
            named.validation.clone_from(&chain.validation);
            self.listen(exposed, protocol, named, Vec::new());
        }
        if http3 {
            self.listen(exposed, Protocol::Udp, chain.clone(), Vec::new());
            for host in &mut hosts {
                host.http3_port = Some(expose.listener_port);
            }
        }
        self.listen(exposed, protocol, chain, hosts);
    }

    /// The name of the expose's listener; `None` where another address stands in the way.
    fn listener_name(&mut self, exposed: &Exposed<'_>) -> Option<String> {
        let expose = &exposed.expose;
        let (protocol, port) = (expose.protocol, expose.listener_port);
        let name = |address| Listener::name(protocol, address, port);
        let listener = name(expose.listener_addr);
        let in_the_way = self.claims.in_the_way(protocol, expose.listener_addr, port);
        let proxied = expose.accept_proxy_protocol;
        let problem = if let Some((address, Origin { object, section })) = in_the_way {
            let other = name(address);
            let reason = format!("{listener} overlaps {other}, which {object} {section} has");
            exposed.problem("listener_addr", reason)
        } else if let Some(Origin { object, section }) = self.claims.disagrees(&listener, proxied) {
            let reason = format!(
                "is {proxied}, and {object} {section}, which comes first on {listener}, says {}",
                !proxied
            );
            exposed.problem("accept_proxy_protocol", reason)
        } else {
            return Some(listener);
        };
        let problem = problem.hence("the expose is not served");
        self.compiled.problems.insert(problem);
        None
    }

    fn resolve(&mut self, exposed: &Exposed<'_>, side: Side) -> Resolved {
        let mut resolver = Resolver {
            inventory: self.inventory,
            secrets_of: &self.policy.secrets_of,
            problems: &mut self.compiled.problems,
            wants: &mut self.compiled.wants,
            expiries: &mut self.compiled.expiries,
            namespaces: &mut self.compiled.namespaces,
            uses: &mut self.uses,
        };
        resolver.resolve(exposed, side)
    }

    /// The expose's own Envoy JSON, for its cluster and for its chain.
    ///
    /// # Errors
    /// As [`Self::user_json`].
    fn user_data(&mut self, exposed: &Exposed<'_>) -> Result<UserData, ()> {
        let cluster_data = self.user_json(exposed, CLUSTER_DATA);
        let filter_data = self.user_json(exposed, FILTER_DATA);
        let (cluster_data, mut filter_data) = (cluster_data?, filter_data?);
        if exposed.expose.protocol == Protocol::Udp && filter_data.take().is_some() {
            let reason = "has no meaning over UDP; it has no effect".to_owned();
            let problem = exposed.problem(FILTER_DATA, reason);
            self.compiled.problems.insert(problem);
        }
        Ok((cluster_data, filter_data))
    }

    /// The expose's own Envoy JSON in `keyword`.
    ///
    /// # Errors
    /// When it cannot be taken and the expose may not be served without it.
    fn user_json(&mut self, exposed: &Exposed<'_>, keyword: &str) -> Result<Option<UserJson>, ()> {
        let Some(keywords) = exposed.section_keywords("expose", exposed.section) else {
            return Ok(None);
        };
        UserJson::read(&keywords, keyword).or_else(|refused| {
            let reason = format!("{}; {}", refused.reason, consequence(refused.protects));
            self.compiled
                .problems
                .insert(keywords.problem(keyword, reason));
            if refused.protects { Err(()) } else { Ok(None) }
        })
    }

    /// Gives a chain its data. The plain HTTP exposes of a listener share one chain, and the
    /// first of them decides; `None` where the data of a later one protects it.
    fn join(
        &mut self,
        exposed: &Exposed<'_>,
        listener: &str,
        mut chain: FilterChain,
        data: Option<UserJson>,
    ) -> Option<FilterChain> {
        let Some(json) = data else {
            return Some(chain);
        };
        let known = self.compiled.gateway.listeners.get(listener);
        let mut shared = known.into_iter().flat_map(|known| &known.chains);
        let shared = shared.find(|known| known.name == HTTP_CHAIN && chain.name == HTTP_CHAIN);
        let own = shared
            .and_then(|shared| shared.data.as_ref())
            .map(|data| &data.json);
        if let Some(shared) = shared.filter(|_| own != Some(&json)) {
            let first = shared.origins.first()?;
            let reason = format!(
                "plain HTTP on {listener} is as {} {} has it, which came first; {}",
                first.object,
                first.section,
                consequence(json.protects())
            );
            let problem = exposed.problem(FILTER_DATA, reason);
            self.compiled.problems.insert(problem);
            self.claims.lose(listener, Claim::Plain);
            return (!json.protects()).then_some(chain);
        }
        let origins = chain.origins.clone();
        chain.data = Some(Box::new(ChainData { json, origins }));
        Some(chain)
    }

    fn cluster(
        &mut self,
        exposed: &Exposed<'_>,
        hosts: &[VirtualHost],
        upstream: Tls,
        data: Option<UserJson>,
    ) {
        let tls = self.upstream_tls(exposed, hosts, upstream);
        let host = server_name(exposed, hosts);
        let host = host.unwrap_or_else(|| exposed.owner.name().to_owned());
        // Envoy takes the hosts of such a cluster from the connections, and asks nobody for them.
        let own_hosts = exposed.expose.lb_policy == LbPolicy::OriginalDst;
        let check = exposed.expose.health_check.resolve(self.policy, &host);
        // No check can tell whether a host answers datagrams; one of TCP would fail always.
        let checked = exposed.expose.protocol == Protocol::Tcp && !own_hosts;
        let health_check = check.filter(|_| checked);
        let gateway = &mut self.compiled.gateway;
        let name = exposed.cluster();
        if !own_hosts {
            let endpoints = exposed.endpoints.clone();
            gateway.endpoints.insert(name.clone(), endpoints);
        }
        let cluster = Cluster {
            origin: exposed.origin(),
            protocol: exposed.expose.protocol,
            lb_policy: exposed.expose.lb_policy,
            proxy_protocol: exposed.expose.send_proxy_protocol,
            http: !exposed.expose.vhosts.is_empty(),
            backend_protocol: exposed.expose.backend_protocol,
            limits: exposed.expose.limits,
            outlier_consecutive_errors: exposed.expose.outlier_consecutive_errors,
            connect_timeout_ms: exposed.expose.connect_timeout_ms,
            health_check: health_check.map(Box::new),
            tls: tls.map(Box::new),
            data,
        };
        gateway.clusters.insert(name, cluster);
    }

    fn upstream_tls(
        &mut self,
        exposed: &Exposed<'_>,
        hosts: &[VirtualHost],
        upstream: Tls,
    ) -> Option<UpstreamTls> {
        let Tls {
            certificates,
            validation,
        } = upstream;
        let problems = &mut self.compiled.problems;
        if certificates.len() > 1 {
            let reason = "names several certificates".to_owned();
            let problem = exposed.problem("cluster_certificates", reason);
            problems.insert(problem.hence("only the first is presented to the backends"));
        }
        if certificates.is_empty() && validation.is_none() {
            return None;
        }
        let sni = server_name(exposed, hosts);
        let sends_name = sni.is_some() || !exposed.expose.vhosts.is_empty();
        let secrets = &mut self.compiled.gateway.secrets;
        let certificate = certificates.into_iter().next();
        let verify_server_name = validation.as_ref().is_some_and(|v| v.strict) && sends_name;
        let validation = validation.map(|validation| (validation.name, validation.secret));
        let mut keep = |(name, secret): (String, _)| {
            secrets.insert(name.clone(), secret);
            name
        };
        Some(UpstreamTls {
            certificate: certificate.map(&mut keep),
            validation: validation.map(&mut keep),
            verify_server_name,
            sni,
        })
    }

    fn listen(
        &mut self,
        exposed: &Exposed<'_>,
        protocol: Protocol,
        chain: FilterChain,
        hosts: Vec<VirtualHost>,
    ) {
        let gateway = &mut self.compiled.gateway;
        let (address, port) = (exposed.expose.listener_addr, exposed.expose.listener_port);
        let name = Listener::name(protocol, address, port);
        let listener = gateway.listeners.get_or_insert(&name, || Listener {
            address,
            port,
            protocol,
            original_dst: false,
            proxy_protocol: exposed.expose.accept_proxy_protocol,
            guards_hosts: false,
            chains: Vec::new(),
            downstream: self.policy.downstream,
        });
        if !hosts.is_empty() {
            let routes_name = listener.route_configuration(&chain);
            let routes = &mut gateway.routes;
            let routes = routes.get_or_insert(&routes_name, RouteConfiguration::default);
            listener.guards_hosts |= !exposed.expose.allow_from.is_empty();
            routes.virtual_hosts.extend(hosts.into_iter().map(Arc::new));
        }
        listener.original_dst |= exposed.expose.lb_policy == LbPolicy::OriginalDst;
        let mut chains = listener.chains.iter_mut();
        match chains.find(|known| known.name == HTTP_CHAIN && chain.name == HTTP_CHAIN) {
            Some(shared) => {
                shared.origins.extend(chain.origins);
                // Only equal data joins: the exposes that brought it stand together.
                if let (Some(data), Some(more)) = (&mut shared.data, chain.data) {
                    data.origins.extend(more.origins);
                }
            }
            None => listener.chains.push(chain),
        }
    }
}

/// The name that the instances are asked by where nothing else tells.
fn server_name(exposed: &Exposed<'_>, hosts: &[VirtualHost]) -> Option<String> {
    let sni = exposed.expose.sni.iter();
    let sni = sni.filter_map(|word| domain(word).ok());
    let domains = hosts.iter().flat_map(|host| host.domains.iter().cloned());
    sni.chain(domains).find(|name| is_dns_name(name))
}

/// Whether a domain is one that a TLS client may send: neither a pattern nor an address
/// (RFC 6066, section 3).
fn is_dns_name(domain: &str) -> bool {
    !domain.contains(['*', '[']) && domain.parse::<IpAddr>().is_err()
}

const CLUSTER_DATA: &str = "cluster_data";
const FILTER_DATA: &str = "filter_config_data";
