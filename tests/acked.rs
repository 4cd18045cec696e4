//! Every golden snapshot is acknowledged, whole, by a real Envoy: one after the other on one
//! stream, as a gateway's configuration changes.
//!
//! Addresses are rewritten, to ones of this machine that nobody else listens on, so that "cannot
//! bind" hides no other refusal, and that hosts refuse connections at once. So are the names of
//! files with certificates.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::{Address, DataSource, address};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};
use osvc_igw::ads::{self, Ads, Clients};
use osvc_igw::bootstrap::{Bootstrap, XdsAddress};
use osvc_igw::demo::ports;
use osvc_igw::sim::certificate::Authority;
use osvc_igw::xds::{Resource, ResourceType, Snapshot};
use prost::Message;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::diff::envoy::told_otherwise;
use crate::golden::{Case, names};
use crate::support::envoy::Envoy;
use crate::support::folder::Folder;

#[tokio::test(flavor = "multi_thread")]
async fn every_golden_snapshot_is_acked_by_a_real_envoy() {
    let (snapshots, receiver) = watch::channel(Some(Arc::new(Snapshot::default())));
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let port = ports::free().expect("a free port");
    let ads = Ads::new(receiver, 4, stop);
    let clients = ads.clients();
    let incoming = ads::bind_tcp(([127, 0, 0, 1], port).into()).expect("a port to serve on");
    tokio::spawn(ads.serve_tcp(incoming));
    let envoy = Envoy::start(&Bootstrap {
        node_id: "acked".to_owned(),
        node_cluster: "envoy".to_owned(),
        xds: XdsAddress::Tcp {
            host: "127.0.0.1".to_owned(),
            port,
        },
        admin: ([127, 0, 0, 1], 0).into(),
    })
    .await;
    let files = Files::new();
    let mut failures = Vec::new();
    let mut resources = 0;
    for name in names() {
        let snapshot = Arc::new(here(&Case::load(&name).run().snapshot, &files));
        resources += ResourceType::ALL
            .map(|kind| snapshot.count(kind))
            .iter()
            .sum::<usize>();
        snapshots.send_replace(Some(Arc::clone(&snapshot)));
        if let Err(reason) = synced(&clients, &snapshot).await {
            failures.push(format!("{name}: {reason}"));
            // What one case refuses must not be held against the next.
            let nothing = Arc::<Snapshot>::default();
            snapshots.send_replace(Some(Arc::clone(&nothing)));
            let cleared = timeout(SYNC_MAX, async {
                while synced(&clients, &nothing).await.is_err() {
                    sleep(Duration::from_millis(2)).await;
                }
            });
            if cleared.await.is_err() {
                break;
            }
        } else if let Some(told) = told_otherwise(&envoy, &snapshot).await {
            failures.push(format!("{name}: Envoy tells otherwise:\n{told}"));
        }
    }
    let log = envoy.log();
    assert!(failures.is_empty(), "\n{}\n{log}", failures.join("\n"));
    assert!(resources > 200, "{resources} resources show little");
}

/// Waits until the one client has all of the snapshot, or says what it refuses.
async fn synced(clients: &Clients, snapshot: &Arc<Snapshot>) -> Result<(), String> {
    let state = async {
        loop {
            if let [client] = &clients.list()[..] {
                let refused = client.refused.values();
                let refused: Vec<_> = refused
                    .map(|it| format!("refuses {} {}: {}", it.kind, it.name, it.message))
                    .collect();
                if !refused.is_empty() {
                    return Err(refused.join("\n"));
                }
                let last = client.synced.as_ref();
                if last.is_some_and(|last| Arc::ptr_eq(last, snapshot)) {
                    return Ok(());
                }
            }
            sleep(Duration::from_millis(2)).await;
        }
    };
    let ended = timeout(SYNC_MAX, state).await;
    ended.unwrap_or_else(|_| Err("is not acknowledged in time".to_owned()))
}

/// The snapshot with addresses and files of this machine.
fn here(snapshot: &Snapshot, files: &Files) -> Snapshot {
    let mut result = Snapshot::default();
    for kind in ResourceType::ALL {
        for resource in snapshot.all(kind) {
            let body = match kind {
                ResourceType::Listener => listener(resource),
                ResourceType::Endpoint => endpoints(resource),
                ResourceType::Secret => files.secret(resource),
                _ => resource.body.clone(),
            };
            let resource = Resource {
                body,
                ..Resource::clone(resource)
            };
            result.insert(kind, Arc::new(resource));
        }
    }
    result
}

fn listener(resource: &Resource) -> Vec<u8> {
    let mut listener = Listener::decode(resource.body.as_slice()).expect("a listener");
    listener.address.iter_mut().for_each(move_here);
    for additional in &mut listener.additional_addresses {
        additional.address.iter_mut().for_each(move_here);
    }
    listener.encode_to_vec()
}

fn endpoints(resource: &Resource) -> Vec<u8> {
    let mut assignment =
        ClusterLoadAssignment::decode(resource.body.as_slice()).expect("an assignment");
    let hosts = assignment.endpoints.iter_mut();
    for host in hosts.flat_map(|locality| &mut locality.lb_endpoints) {
        if let Some(HostIdentifier::Endpoint(endpoint)) = &mut host.host_identifier {
            endpoint.address.iter_mut().for_each(move_here);
        }
    }
    assignment.encode_to_vec()
}

/// One address of 127.128.0.0/9 for each that there is; all of them are this machine's.
fn move_here(address: &mut Address) {
    if let Some(address::Address::SocketAddress(socket)) = &mut address.address {
        let mut hasher = DefaultHasher::new();
        (&socket.address, std::process::id()).hash(&mut hasher);
        let [a, b, c, ..] = hasher.finish().to_be_bytes();
        socket.address = Ipv4Addr::new(127, a | 0x80, b, c.clamp(1, 254)).to_string();
    }
}

/// A certificate and its key in files, for secrets that name some.
struct Files {
    chain: PathBuf,
    key: PathBuf,
    _folder: Folder,
}

impl Files {
    fn new() -> Self {
        let folder = Folder::new("acked");
        let authority = Authority::new("acked").expect("an authority");
        let identity = authority.issue("acked", &["acked"]);
        let identity = identity.expect("a certificate");
        Self {
            chain: folder.write("chain.pem", &identity.chain_pem),
            key: folder.write("key.pem", &identity.key_pem),
            _folder: folder,
        }
    }

    /// The secret; where one half of a pair is in a file, the pair is this one.
    fn secret(&self, resource: &Resource) -> Vec<u8> {
        let mut secret = Secret::decode(resource.body.as_slice()).expect("a secret");
        if let Some(secret::Type::TlsCertificate(pair)) = &mut secret.r#type {
            let halves = [&mut pair.certificate_chain, &mut pair.private_key];
            let files = [&self.chain, &self.key];
            let in_file = |source: &&mut Option<DataSource>| {
                let specifier = source.as_ref().and_then(|it| it.specifier.as_ref());
                matches!(specifier, Some(Specifier::Filename(_)))
            };
            if halves.iter().any(in_file) {
                for (half, file) in halves.into_iter().zip(files) {
                    let name = file.display().to_string();
                    let source = half.get_or_insert_default();
                    source.specifier = Some(Specifier::Filename(name));
                    source.watched_directory = None;
                }
                pair.watched_directory = None;
            }
        }
        secret.encode_to_vec()
    }
}

/// For one snapshot, on a machine that is busy with other tests.
const SYNC_MAX: Duration = Duration::from_secs(20);
