//! Which objects are served together.

use std::collections::BTreeMap;

use crate::inventory::{Inventory, Kind, Object, ObjectPath};

/// The services by whom they are served for: a service by itself, slaves by their scaler, which
/// stands among them; in the order of the slaves' numbers.
pub(in crate::gateway) fn owners(
    inventory: &Inventory,
) -> BTreeMap<ObjectPath, Vec<(u32, &Object)>> {
    let mut owners: BTreeMap<ObjectPath, Vec<(u32, &Object)>> = BTreeMap::new();
    for object in inventory.objects.values() {
        if let Some((number, owner)) = owner(object) {
            owners.entry(owner).or_default().push((number, object));
        }
    }
    for objects in owners.values_mut() {
        in_order(objects);
    }
    owners
}

/// Whom an object is served for, and its number among those; `None` for what is no service.
pub(in crate::gateway) fn owner(object: &Object) -> Option<(u32, ObjectPath)> {
    let path = &object.path;
    if path.kind() != Kind::Svc {
        return None;
    }
    Some(match path.scaler() {
        Some(slave_of) if object.slave => slave_of,
        _ => (0, path.clone()),
    })
}

/// Puts the objects of an owner in the order of their numbers.
pub(in crate::gateway) fn in_order(objects: &mut [(u32, &Object)]) {
    objects.sort_by_key(|(number, object)| (*number, &object.path));
}
