//! DeviceTaintRule: a taint for all devices that it selects (API reference: extend-resources; KEP-5055).

use super::{GROUP, declared, formats, taints, warn};
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column, status};
use skiff_api::object::{Object, at};
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource =
    Resource::of(GROUP, "v1", "devicetaintrules", "DeviceTaintRule").cluster();
const CONDITIONS_MOST: usize = 8;

pub fn kind() -> Kind {
    let added = Cell::Age("spec.taint.timeAdded".into());
    Kind {
        conditional: true,
        // The last release wrote it in this version, and clients may know the hash.
        hashed_version: Some("v1beta2"),
        subresources: vec![status()],
        columns: vec![
            name_column(),
            column("Key", Cell::With(|it| it.text("spec.taint.key").into())),
            column("Value", Cell::With(|it| it.text("spec.taint.value").into())),
            column("Effect", Cell::With(|it| it.text("spec.taint.effect").into())),
            skiff_api::kind::Column { type_: "string".into(), ..column("TimeAdded", added) },
            age_column(),
        ],
        hooks: Hooks {
            prepare,
            validate,
            validate_part,
            warn,
            generation: Some(Hooks::spec_changed),
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

/// The time tells when this effect was added, unless somebody says otherwise.
fn prepare(new: &mut Object, old: Option<&Object>) {
    let now = taints::time_of(new, old);
    let other = |old: &Object| {
        old.at("spec.taint.effect") != new.at("spec.taint.effect")
            && old.at("spec.taint.timeAdded") == new.at("spec.taint.timeAdded")
    };
    if old.is_some_and(other) {
        new.remove("spec.taint.timeAdded");
    }
    taints::default_times(new.value_mut().pointer_mut("/spec/taint").into_iter(), &now);
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let path = Path::new("spec");
    let selector = path.child("deviceSelector");
    if let Some(given) = new.at("spec.deviceSelector") {
        let checks: [(&str, fn(&Path, &str, &mut Errors)); 3] =
            [("driver", formats::driver), ("pool", formats::pool), ("device", label)];
        for (field, check) in checks {
            if at(given, field).is_some() {
                check(&selector.child(field), text(given, field), errors);
            }
        }
    }
    taints::validate(new.at("spec.taint").unwrap_or(&Value::Null), &path.child("taint"), errors);
    declared::validate("DeviceTaintRule", new, old, errors);
}

fn validate_part(_: &str, new: &Object, _: &Object, errors: &mut Errors) {
    let (path, list) = (Path::new("status.conditions"), new.list("status.conditions"));
    conditions(list, &path, errors);
    at_most(&path, list.len(), CONDITIONS_MOST, errors);
}
