//! Which objects are served together.

use std::collections::BTreeMap;

use crate::inventory::{Inventory, Kind, Object, ObjectPath};

/// The services by whom they are served for: a service by itself, slaves by their scaler, which
/// stands among them; in the order of the slaves' numbers.
pub(in crate::gateway) fn owners(
    inventory: &Inventory,
) -> BTreeMap<ObjectPath, Vec<(u32, &Object)>> {
    let mut owners: BTreeMap<ObjectPath, Vec<(u32, &Object)>> = BTreeMap::new();
    for (path, object) in &inventory.objects {
        if path.kind() != Kind::Svc {
            continue;
        }
        let (number, owner) = match path.scaler() {
            Some(slave_of) if object.slave => slave_of,
            _ => (0, path.clone()),
        };
        owners.entry(owner).or_default().push((number, object));
    }
    for objects in owners.values_mut() {
        objects.sort_by_key(|(number, object)| (*number, &object.path));
    }
    owners
}
