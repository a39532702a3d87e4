//! PersistentVolumeClaim: storage that somebody asks for (API reference: config-and-storage-resources).

mod validate;

use super::persistentvolume::{CLASS, amount, attributes_class, class, mode, modes, phase};
use skiff_api::check::text;
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column, status, wide};
use skiff_api::object::{Object, at, at_mut};
use skiff_api::quantity::Quantity;
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource = Resource::core("persistentvolumeclaims", "PersistentVolumeClaim");

pub fn kind() -> Kind {
    Kind {
        short: vec!["pvc".into()],
        subresources: vec![status()],
        columns: vec![
            name_column(),
            column("Status", Cell::With(|claim| phase(claim).into())),
            column("Volume", Cell::With(|claim| claim.text("spec.volumeName").into())),
            column(
                "Capacity",
                Cell::With(|claim| of_volume(claim, |it| amount(it, "status.capacity").into())),
            ),
            column(
                "Access Modes",
                Cell::With(|claim| of_volume(claim, |it| modes(it, "status.accessModes").into())),
            ),
            column("StorageClass", Cell::With(|claim| class(claim).into())),
            column("VolumeAttributesClass", Cell::With(attributes_class)),
            age_column(),
            wide("VolumeMode", Cell::With(mode)),
        ],
        hooks: Hooks {
            default,
            prepare,
            prepare_part,
            validate: validate::claim,
            validate_part: |_, new, _, errors| validate::status(new, errors),
            warn,
            ..Hooks::NONE
        },
        shows_deleted: true,
        ..Kind::new(RESOURCE)
    }
}

/// What is known of a claim once it has a volume.
fn of_volume(claim: &Object, show: impl Fn(&Object) -> Value) -> Value {
    if claim.text("spec.volumeName").is_empty() { "".into() } else { show(claim) }
}

fn default(claim: &mut Object) {
    if claim.text("status.phase").is_empty() {
        claim.set("status.phase", "Pending");
    }
    if claim.at("spec").is_some() {
        claim.set_absent("spec.volumeMode", "Filesystem");
    }
}

fn prepare(claim: &mut Object, old: Option<&Object>) {
    match old {
        Some(old) => claim.copy_from(old, "status"),
        None => claim.set("status", skiff_json::json!({"phase": "Pending"})),
    }
    if let Some(spec) = at_mut(claim.value_mut(), "spec") {
        data_sources(spec, old.and_then(|old| old.at("spec")));
    }
}

/// Sources in other namespaces are off, as upstream has them by default (KEP-3294). An older field that names what it
/// never could is dropped; the two fields say the same.
fn data_sources(spec: &mut Value, old: Option<&Value>) {
    let had = |field| old.is_some_and(|old| at(old, field).is_some());
    if !text(spec, "dataSourceRef.namespace").is_empty() && !had("dataSourceRef") {
        skiff_api::object::remove(spec, "dataSourceRef");
    }
    let known = match (text(spec, "dataSource.kind"), text(spec, "dataSource.apiGroup")) {
        ("PersistentVolumeClaim", "") | ("VolumeSnapshot", "snapshot.storage.k8s.io") => true,
        _ => had("dataSource") || had("dataSourceRef") || at(spec, "dataSourceRef").is_some(),
    };
    if !known {
        skiff_api::object::remove(spec, "dataSource");
    }
    let copied = match (at(spec, "dataSource"), at(spec, "dataSourceRef")) {
        (Some(older), None) => Some(("dataSourceRef", older.clone())),
        (None, Some(newer)) if text(newer, "namespace").is_empty() => {
            Some(("dataSource", newer.clone()))
        }
        _ => None,
    };
    if let Some((field, mut source)) = copied {
        skiff_api::object::remove(&mut source, "namespace");
        spec[field] = source;
    }
}

/// Health of volumes is off, as upstream has it by default (KEP-1432).
fn prepare_part(_: &str, claim: &mut Object, old: &Object) {
    if old.at("status.healthStatus").is_none() {
        claim.remove("status.healthStatus");
    }
}

fn warn(claim: &Object, _: Option<&Object>) -> Vec<String> {
    let mut warnings = Vec::new();
    if claim.annotation(CLASS).is_some() {
        warnings.push(format!(
            "metadata.annotations[{CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
        ));
    }
    for set in ["requests", "limits"] {
        let given = amount(claim, &format!("spec.resources.{set}"));
        let whole = |amount: &Quantity| amount.milli_value() % 1000 == 0;
        if let Some(odd) = Quantity::parse(given).ok().filter(|it| !whole(it)) {
            let odd = odd.to_string();
            warnings.push(format!(
                "spec.resources.{set}[storage]: fractional byte value {odd:?} is invalid, must be an integer"
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    fn check(spec: Value, old: Option<Value>) -> Value {
        let mut claim = Object::new(json!({"spec": spec}));
        let old = old.map(|spec| Object::new(json!({"spec": spec})));
        prepare(&mut claim, old.as_ref());
        claim.at("spec").cloned().unwrap_or_default()
    }

    #[test]
    fn both_fields_of_a_source_say_the_same() {
        let claim = json!({"kind": "PersistentVolumeClaim", "name": "a"});
        let both = json!({"dataSource": claim, "dataSourceRef": claim});
        assert_eq!(check(json!({"dataSource": claim}), None), both);
        assert_eq!(check(json!({"dataSourceRef": claim}), None), both);
        let odd = json!({"kind": "Pod", "name": "a"});
        assert_eq!(check(json!({"dataSource": odd}), None), json!({}));
        let other = json!({"kind": "A", "apiGroup": "a.b", "name": "a", "namespace": "n"});
        assert_eq!(check(json!({"dataSourceRef": other}), None), json!({}));
    }
}
