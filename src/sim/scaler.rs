//! Scalers: a service that runs nothing itself and keeps a number of numbered slaves. Here is
//! which slaves there should be and how one is made; the order of events is in `mod`.

use super::Refused;
use super::cluster::{Cluster, Object, Path};
use super::ini::Ini;

/// Where the slaves of a scaler get their addresses: the slave's number and the node.
pub(super) type Plan = Box<dyn Fn(u32, &str) -> String + Send>;

/// The slaves that the scaler should have, bare names, as its instance lists them.
pub(super) fn slave_names(cluster: &Cluster, object: &Object) -> Vec<String> {
    (0..count(cluster, object))
        .map(|number| format!("{number}.{}", object.path.name))
        .collect()
}

/// The slaves of the scaler that exist, whether they should or not.
pub(super) fn slaves<'a>(cluster: &'a Cluster, scaler: &Object) -> Vec<&'a Object> {
    let own = |object: &&Object| number(&object.path, &scaler.path).is_some() && object.is_slave();
    cluster.objects.values().filter(own).collect()
}

/// The paths to make and the paths to remove for the scaler to be what it should be.
pub(super) fn plan(cluster: &Cluster, scaler: &Object) -> (Vec<(u32, String)>, Vec<String>) {
    let wanted = count(cluster, scaler);
    let missing = (0..wanted)
        .map(|number| (number, slave_path(&scaler.path, number)))
        .filter(|(_, path)| !cluster.objects.contains_key(path))
        .collect();
    let mut extra: Vec<(u32, String)> = slaves(cluster, scaler)
        .into_iter()
        .filter_map(|slave| number(&slave.path, &scaler.path))
        .filter(|number| *number >= wanted)
        .map(|number| (number, slave_path(&scaler.path, number)))
        .collect();
    extra.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    (missing, extra.into_iter().map(|(_, path)| path).collect())
}

/// The configuration of a new slave: the scaler's as it is now, with an address of its own.
pub(super) fn slave_config(
    cluster: &Cluster,
    scaler: &Object,
    number: u32,
    addresses: Option<&Plan>,
) -> Ini {
    let mut ini = scaler.ini.clone();
    ini.forget("DEFAULT", "scale");
    ini.forget("DEFAULT", "id");
    ini.put("DEFAULT", "scaler_slave", "true");
    let ips = scaler.ini.sections().map(|(name, _)| name);
    let ip = ips.filter(|name| name.starts_with("ip#")).min();
    if let (Some(ip), Some(addresses)) = (ip, addresses) {
        ini.forget(ip, "ipname");
        let nodes = cluster.scope(&scaler.ini);
        for node in &nodes {
            let scoped = format!("ipname@{node}");
            let keyword = if nodes.len() == 1 { "ipname" } else { &scoped };
            ini.put(ip, keyword, &addresses(number, node));
        }
    }
    ini
}

/// The path of a slave.
pub(super) fn slave_path(scaler: &Path, number: u32) -> String {
    match &scaler.namespace {
        Some(namespace) => format!("{namespace}/{}/{number}.{}", scaler.kind, scaler.name),
        None => format!("{number}.{}", scaler.name),
    }
}

/// The path of the scaler, if this is the path of a slave.
pub(super) fn of_slave(path: &str) -> Option<String> {
    let (before, name) = path.rsplit_once('/').unwrap_or(("", path));
    let (number, scaler) = name.split_once('.')?;
    number.parse::<u32>().ok()?;
    Some(match before {
        "" => scaler.to_owned(),
        _ => format!("{before}/{scaler}"),
    })
}

/// Takes a slave's path where one is expected.
pub(super) fn parsed(scaler: &Path, number: u32) -> Result<(String, Path), Refused> {
    let text = slave_path(scaler, number);
    let path = Path::parse(&text)?;
    Ok((text, path))
}

fn number(path: &Path, scaler: &Path) -> Option<u32> {
    let (number, name) = path.name.split_once('.')?;
    let same =
        name == scaler.name && path.namespace == scaler.namespace && path.kind == scaler.kind;
    number.parse().ok().filter(|_| same)
}

fn count(cluster: &Cluster, object: &Object) -> u32 {
    let nodes = u32::try_from(cluster.scope(&object.ini).len())
        .unwrap_or(1)
        .max(1);
    let scale = object.scale().unwrap_or(0);
    if object.topology() == "flex" {
        scale.div_ceil(nodes)
    } else {
        scale
    }
}
