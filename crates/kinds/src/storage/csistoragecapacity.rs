//! CSIStorageCapacity: how much of a class there is in a part of the cluster (KEP-1472).

use crate::core::pod::warn::old_node_label;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, column, name_column};
use skiff_api::object::Object;
use skiff_api::quantity::Quantity;
use skiff_api::view::Resource;

pub const RESOURCE: Resource =
    Resource::of("storage.k8s.io", "v1", "csistoragecapacities", "CSIStorageCapacity");

pub fn kind() -> Kind {
    Kind {
        columns: vec![
            name_column(),
            column("Created At", Cell::Path("metadata.creationTimestamp".into())),
        ],
        conditional: true,
        hooks: Hooks { validate, warn, ..Hooks::NONE },
        ..Kind::new(RESOURCE)
    }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    if let Some(topology) = new.at("nodeTopology") {
        selector(topology, &Path::new("nodeTopology"), errors);
    }
    subdomain(&Path::new("storageClassName"), new.text("storageClassName"), errors);
    let given = new.text("capacity");
    if Quantity::parse(given).is_ok_and(|amount| amount.is_negative()) {
        errors.invalid(&Path::new("capacity"), given, "must be greater than or equal to 0");
    }
    if let Some(old) = old {
        immutable("nodeTopology", new, old, errors);
        immutable("storageClassName", new, old, errors);
    }
}

fn warn(it: &Object, _: Option<&Object>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, wanted) in it.list("nodeTopology.matchExpressions").iter().enumerate() {
        let key = text(wanted, "key");
        if let Some(why) = old_node_label(key) {
            warnings.push(format!("nodeTopology.matchExpressions[{index}].key: {key} is {why}"));
        }
    }
    for (key, _) in entries(it.value(), "nodeTopology.matchLabels") {
        if let Some(why) = old_node_label(key) {
            warnings.push(format!("nodeTopology.matchLabels.{key}: {why}"));
        }
    }
    warnings
}
