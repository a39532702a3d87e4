//! ResourceSlice: some of the devices of a driver's pool (API reference: extend-resources; KEP-4381).

use super::config::most;
use super::device::Places;
use super::{GROUP, declared, device, formats, gated, taints};
use crate::core::pod::validate::{affinity, internal};
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column};
use skiff_api::object::{Object, at};
use skiff_api::view::Resource;
use skiff_json::Value;
use std::collections::HashSet;

pub const RESOURCE: Resource =
    Resource::of(GROUP, "v1", "resourceslices", "ResourceSlice").cluster();
const DEVICES_MOST: usize = 128;
/// Where devices have taints, counters or lists.
const RICH_DEVICES_MOST: usize = 64;
const COUNTERS_MOST: usize = 32;
const COUNTER_SETS_MOST: usize = 8;
const PLACES: [&str; 4] = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];

pub fn kind() -> Kind {
    Kind {
        selectable: vec!["spec.driver".into(), "spec.nodeName".into(), "spec.pool.name".into()],
        columns: vec![
            name_column(),
            column("Node", Cell::With(|it| it.text("spec.nodeName").into())),
            column("Driver", Cell::With(|it| it.text("spec.driver").into())),
            column("Pool", Cell::With(|it| it.text("spec.pool.name").into())),
            age_column(),
        ],
        hooks: Hooks {
            prepare,
            validate,
            warn,
            generation: Some(Hooks::spec_changed),
            ..Hooks::NONE
        },
        shows_deleted: true,
        ..Kind::new(RESOURCE)
    }
}

fn prepare(new: &mut Object, old: Option<&Object>) {
    gated::drop_slice(new, old);
    let now = taints::time_of(new, old);
    let devices = new.value_mut().pointer_mut("/spec/devices").and_then(Value::as_array_mut);
    for device in devices.into_iter().flatten() {
        let list = device.get_mut("taints").and_then(Value::as_array_mut);
        taints::default_times(list.into_iter().flatten(), &now);
    }
}

fn warn(new: &Object, old: Option<&Object>) -> Vec<String> {
    let driver = new.text("spec.driver");
    let mut warnings = Vec::new();
    if driver.chars().any(char::is_uppercase) {
        warnings.push(format!(
            "spec.driver: driver names should be lowercase; {driver:?} contains uppercase characters"
        ));
    }
    warnings.extend(super::warn(new, old));
    warnings
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let path = Path::new("spec");
    let spec = new.at("spec").unwrap_or(&Value::Null);
    formats::driver(&path.child("driver"), text(spec, "driver"), errors);
    pool(spec, &path.child("pool"), errors);
    for field in ["pool.name", "driver", "nodeName"] {
        if let Some(old) = old {
            immutable(&format!("spec.{field}"), new, old, errors);
        }
    }
    places(spec, &path, errors);
    let both = at(spec, "sharedCounters").is_some() && at(spec, "devices").is_some();
    if both {
        errors.invalid(&path, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    devices(spec, old, &path.child("devices"), errors);
    let (here, sets) = (path.child("sharedCounters"), list(spec, "sharedCounters"));
    for (index, set) in sets.iter().enumerate().take(most(sets, COUNTER_SETS_MOST)) {
        let here = here.index(index);
        at_most(&here.child("counters"), entries(set, "counters").count(), COUNTERS_MOST, errors);
    }
    declared::validate("ResourceSlice", new, old, errors);
}

fn pool(spec: &Value, path: &Path, errors: &mut Errors) {
    formats::pool(&path.child("name"), text(spec, "pool.name"), errors);
    let count = int(spec, "pool.resourceSliceCount").unwrap_or(0);
    if count <= 0 {
        errors.invalid(&path.child("resourceSliceCount"), count, "must be greater than zero");
    }
    if let Some(generation) = int(spec, "pool.generation").filter(|it| *it < 0) {
        let why = "must be greater than or equal to zero";
        errors.invalid(&path.child("generation"), generation, why);
    }
}

/// Where the devices are.
fn places(spec: &Value, path: &Path, errors: &mut Errors) {
    let one =
        format!("exactly one of {} is required", PLACES.map(|it| format!("`{it}`")).join(", "));
    let places = Places {
        fields: &PLACES,
        selector: one_term,
        empty: "must be either unset or set to a non-empty string",
        none: &one,
        many: &format!("{one}, but multiple fields are set"),
    };
    device::place(spec, &places, path, errors);
}

/// Selectors of several slices have to merge.
fn one_term(selector: &Value, path: &Path, errors: &mut Errors) {
    affinity::node_selector(selector, path, errors);
    let terms = list(selector, "nodeSelectorTerms");
    if terms.len() != 1 {
        let why = "must have exactly one node selector term";
        let path = path.child("nodeSelectorTerms");
        internal::invalid_list(errors, &path, "NodeSelectorTerm", terms, why);
    }
}

fn devices(spec: &Value, old: Option<&Object>, path: &Path, errors: &mut Errors) {
    let devices = list(spec, "devices");
    let rich = devices.iter().any(device::is_rich);
    if !at_most(path, devices.len(), if rich { RICH_DEVICES_MOST } else { DEVICES_MOST }, errors) {
        return;
    }
    let apart = flag(spec, "perDeviceNodeSelection");
    for (index, it) in devices.iter().enumerate() {
        let before = old.map_or(&[][..], |old| old.list("spec.devices"));
        let before = before.iter().find(|before| text(before, "name") == text(it, "name"));
        let here = path.index(index);
        device::validate(it, before, &here, errors);
        match apart {
            true => device::own_place(it, &here, errors),
            false => device::no_place(it, &here, errors),
        }
        device::finish(it, &here, errors);
    }
    let mut seen = HashSet::new();
    for (index, it) in devices.iter().enumerate() {
        unique(&path.index(index), text(it, "name"), &mut seen, errors);
    }
}
