//! The status of a claim: what was allocated for it, who uses it, and what drivers say of the devices.

use super::claim::{self, Names};
use super::config::{self, most};
use super::{declared, formats, gated};
use crate::core::pod::validate::{affinity, internal};
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::{Object, at};
use skiff_json::Value;
use std::collections::HashSet;

const RESERVED_MOST: usize = 256;
const CONDITIONS_MOST: usize = 8;
const RESULTS_MOST: usize = 32;
const BINDING_MOST: usize = 4;

/// What is said of a device goes with its allocation.
pub fn prepare(new: &mut Object, old: &Object) {
    gated::drop_status(new, old);
    let kept: HashSet<String> = allocated(new).map(device).collect();
    let gone: HashSet<String> =
        allocated(old).map(device).filter(|it| !kept.contains(it)).collect();
    let mut said = new.list("status.devices").to_vec();
    said.retain(|it| !gone.contains(&device(it)));
    match said.is_empty() {
        true => drop(new.remove("status.devices")),
        false => new.set("status.devices", said),
    }
}

fn allocated(claim: &Object) -> impl Iterator<Item = &Value> {
    claim.list("status.allocation.devices.results").iter()
}

/// As messages name a device.
fn device(value: &Value) -> String {
    let parts = ["driver", "pool", "device"].map(|part| text(value, part));
    match text(value, "shareID") {
        "" => parts.join("/"),
        share => format!("{}/{share}", parts.join("/")),
    }
}

pub fn validate(new: &Object, old: &Object, errors: &mut Errors) {
    let path = Path::new("status");
    let (here, users) = (path.child("reservedFor"), new.list("status.reservedFor"));
    for (index, user) in users.iter().enumerate().take(most(users, RESERVED_MOST)) {
        for field in ["resource", "name", "uid"] {
            required(user, field, &here.index(index), errors);
        }
    }
    let (devices, known) = (path.child("devices"), allocated(new).map(device).collect());
    for (index, it) in new.list("status.devices").iter().enumerate() {
        said_of(it, &known, &devices.index(index), errors);
    }
    let allocation = new.at("status.allocation");
    if !users.is_empty() {
        let before = old.list("status.reservedFor");
        if allocation.is_none() {
            errors.forbidden(&here, "may not be specified when `allocated` is not set");
        } else if new.deleting() && users.iter().any(|user| !before.contains(user)) {
            let why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.forbidden(&here, why);
        }
    }
    if let (Some(allocation), None) = (allocation, old.at("status.allocation")) {
        let names = Names::of(new.list("spec.devices.requests"));
        allocation_result(allocation, &names, &path.child("allocation"), errors);
    }
    declared::validate("ResourceClaim", new, Some(old), errors);
}

fn said_of(device_status: &Value, known: &HashSet<String>, path: &Path, errors: &mut Errors) {
    formats::driver(&path.child("driver"), text(device_status, "driver"), errors);
    formats::pool(&path.child("pool"), text(device_status, "pool"), errors);
    label(&path.child("device"), text(device_status, "device"), errors);
    let name = device(device_status);
    if !known.contains(&name) {
        let why = "must be an allocated device in the claim";
        internal::invalid(errors, path, "SharedDeviceID", device_status, why);
    }
    let (here, said) = (path.child("conditions"), list(device_status, "conditions"));
    at_most(&here, said.len(), CONDITIONS_MOST, errors);
    conditions(said, &here, errors);
    if let Some(data) = at(device_status, "data") {
        config::raw(Some(data), &path.child("data"), errors);
    }
}

fn allocation_result(allocation: &Value, names: &Names, path: &Path, errors: &mut Errors) {
    let devices = path.child("devices");
    let (here, results) = (devices.child("results"), list(allocation, "devices.results"));
    for (index, result) in results.iter().enumerate().take(most(results, RESULTS_MOST)) {
        let here = here.index(index);
        names.check_one(text(result, "request"), &here.child("request"), errors);
        label(&here.child("device"), text(result, "device"), errors);
        bindings(result, &here, errors);
        let here = here.child("tolerations");
        for (index, it) in list(result, "tolerations").iter().enumerate() {
            claim::toleration(it, &here.index(index), errors);
        }
    }
    let (here, configs) = (devices.child("config"), list(allocation, "devices.config"));
    for (index, it) in configs.iter().enumerate().take(most(configs, 2 * RESULTS_MOST)) {
        names.check(it, &here.index(index), errors);
        config::opaque(it, &here.index(index), errors);
    }
    if let Some(selector) = at(allocation, "nodeSelector") {
        affinity::node_selector(selector, &path.child("nodeSelector"), errors);
    }
}

/// The conditions that must hold, or must not, before a pod with the device is bound (KEP-5007).
pub fn bindings(value: &Value, path: &Path, errors: &mut Errors) {
    const FIELDS: [&str; 2] = ["bindingConditions", "bindingFailureConditions"];
    let [good, bad] = FIELDS.map(|field| {
        list(value, field).iter().map(|it| it.as_str().unwrap_or("")).collect::<Vec<_>>()
    });
    let [at_good, at_bad] = FIELDS.map(|field| path.child(field));
    for (here, names) in [(&at_good, &good), (&at_bad, &bad)] {
        let looked_at = if names.len() > BINDING_MOST { 0 } else { names.len() };
        for (index, name) in names.iter().enumerate().take(looked_at) {
            qualified(&here.index(index), name, errors);
        }
    }
    for (here, names) in [(&at_good, &good), (&at_bad, &bad)] {
        let mut seen = HashSet::new();
        for (index, name) in names.iter().enumerate() {
            unique(&here.index(index), name, &mut seen, errors);
            if std::ptr::eq(names, &bad) && good.contains(name) {
                let why = "bindingFailureConditions must not overlap with bindingConditions";
                errors.invalid(&here.index(index), *name, why);
            }
        }
    }
    if good.is_empty() && !bad.is_empty() {
        let why = "bindingConditions are required to use bindingFailureConditions";
        errors.invalid(&at_good, Value::Null, why);
    }
    if bad.is_empty() && !good.is_empty() {
        let why = "bindingFailureConditions are required to use bindingConditions";
        errors.invalid(&at_bad, Value::Null, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn what_is_said_of_devices_goes_with_them() {
        let claim = |pool: &str| {
            let device = json!({"request": "r", "driver": "d.x", "pool": pool, "device": "a"});
            Object::new(json!({"status": {"allocation": {"devices": {"results": [device]}},
                "devices": [{"driver": "d.x", "pool": "p", "device": "a"}]}}))
        };
        let (mut same, mut other, old) = (claim("p"), claim("q"), claim("p"));
        prepare(&mut same, &old);
        prepare(&mut other, &old);
        assert_eq!((same.list("status.devices").len(), other.list("status.devices").len()), (1, 0));
        let mut errors = Errors::new();
        let fresh = Object::new(json!({"spec": {"devices": {"requests": [{"name": "r"}]}}}));
        let mut new = claim("q");
        new.set("status.reservedFor", json!([{"name": "p"}]));
        new.copy_from(&fresh, "spec");
        validate(&new, &fresh, &mut errors);
        assert_eq!(
            errors.text(),
            "[status.reservedFor[0].resource: Required value, status.reservedFor[0].uid: Required value, \
             status.devices[0]: Invalid value: {\"Driver\":\"d.x\",\"Pool\":\"p\",\"Device\":\"a\",\"ShareID\":\"\"}: \
             must be an allocated device in the claim]"
        );
    }
}
