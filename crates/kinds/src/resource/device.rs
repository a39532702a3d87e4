//! A device of a slice: attributes, capacities, taints, where it is, and what it needs before a pod is bound.

use super::{capacity, formats, status, taints};
use crate::core::pod::validate::affinity;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::at;
use skiff_json::Value;

const NAMES_MOST: usize = 32;
const VALUES_MOST: usize = 48;
const TEXT_MOST: usize = 64;
const TAINTS_MOST: usize = 16;
const COUNTERS_MOST: usize = 32;
const PLACES: [&str; 3] = ["nodeName", "nodeSelector", "allNodes"];
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

/// Whether slices hold fewer of such devices.
pub fn is_rich(device: &Value) -> bool {
    let lists = |(_, it): (&str, &Value)| LISTS.iter().any(|list| at(it, list).is_some());
    !list(device, "taints").is_empty()
        || !list(device, "consumesCounters").is_empty()
        || entries(device, "attributes").any(lists)
}

pub fn validate(device: &Value, old: Option<&Value>, path: &Path, errors: &mut Errors) {
    label(&path.child("name"), text(device, "name"), errors);
    let count = entries(device, "attributes").count() + entries(device, "capacity").count();
    if count > NAMES_MOST {
        let why =
            format!("the total number of attributes and capacities must not exceed {NAMES_MOST}");
        errors.invalid(path, count, &why);
    }
    let of = |it: &Value| LISTS.map(|field| list(it, field).len()).iter().sum::<usize>().max(1);
    let values: usize = entries(device, "attributes").map(|(_, it)| of(it)).sum();
    if values > VALUES_MOST {
        let why = format!("the total number of attribute values must not exceed {VALUES_MOST}");
        errors.invalid(path, values, &why);
    }
    let here = path.child("attributes");
    for (name, it) in entries(device, "attributes") {
        formats::qualified(&here, name, errors);
        attribute(it, &here.key(&shortened(name)), errors);
    }
    let same = |field: &str| old.is_some_and(|old| old.get(field) == device.get(field));
    if !same("capacity") {
        capacities(device, &path.child("capacity"), errors);
    }
    if !same("taints") {
        let (here, given) = (path.child("taints"), list(device, "taints"));
        if at_most(&here, given.len(), TAINTS_MOST, errors) {
            for (index, it) in given.iter().enumerate() {
                taints::validate(it, &here.index(index), errors);
            }
        }
    }
    let here = path.child("consumesCounters");
    for (index, it) in list(device, "consumesCounters").iter().enumerate() {
        let (here, count) = (here.index(index), entries(it, "counters").count());
        at_most(&here.child("counters"), count, COUNTERS_MOST, errors);
    }
}

/// What comes after the place of the device.
pub fn finish(device: &Value, path: &Path, errors: &mut Errors) {
    status::bindings(device, path, errors);
}

fn attribute(attribute: &Value, path: &Path, errors: &mut Errors) {
    let here = path.child("string");
    if text(attribute, "string").len() > TEXT_MOST {
        errors.too_long(&here, TEXT_MOST);
    }
    if at(attribute, "version").is_some() {
        let (here, version) = (path.child("version"), text(attribute, "version"));
        if !formats::is_version(version) {
            let why = "must be a string compatible with semver.org spec 2.0.0";
            errors.invalid(&here, version, why);
        }
        if version.len() > TEXT_MOST {
            errors.too_long(&here, TEXT_MOST);
        }
    }
}

fn capacities(device: &Value, path: &Path, errors: &mut Errors) {
    let shared = flag(device, "allowMultipleAllocations");
    for (name, it) in entries(device, "capacity") {
        formats::qualified(path, name, errors);
        let name = shortened(name);
        let here = path.key(&name);
        let here = here.child("requestPolicy");
        match at(it, "requestPolicy") {
            Some(policy) if shared => capacity::policy(text(it, "value"), policy, &here, errors),
            Some(_) => errors.forbidden(&here, "allowMultipleAllocations must be true"),
            None => {}
        }
    }
}

/// A long key loses its middle.
fn shortened(name: &str) -> String {
    const MOST: usize = 63 + 1 + 32;
    if name.len() <= MOST {
        return name.to_owned();
    }
    let left: String = name.chars().take(MOST - 3 - (MOST - 3) / 2).collect();
    let right: Vec<char> = name.chars().rev().take((MOST - 3) / 2).collect();
    format!("{left}...{}", right.into_iter().rev().collect::<String>())
}

/// Which fields say where devices are, of which one is to be set, and what is said where that is wrong.
pub struct Places<'a> {
    pub fields: &'a [&'static str],
    pub selector: fn(&Value, &Path, &mut Errors),
    pub empty: &'a str,
    pub none: &'a str,
    pub many: &'a str,
}

/// Each device says itself where it is.
pub fn own_place(device: &Value, path: &Path, errors: &mut Errors) {
    let why = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is \
               set to true in the ResourceSlice spec";
    let places = Places {
        fields: &PLACES,
        selector: affinity::node_selector,
        empty: "must not be empty",
        none: why,
        many: why,
    };
    place(device, &places, path, errors);
}

pub fn place(value: &Value, places: &Places<'_>, path: &Path, errors: &mut Errors) {
    let mut set = Vec::new();
    for field in places.fields {
        let (here, Some(value)) = (path.child(field), at(value, field)) else { continue };
        match value {
            Value::String(name) if name.is_empty() => {
                errors.invalid(&here, "", places.empty);
                continue;
            }
            Value::String(name) => subdomain(&here, name, errors),
            Value::Bool(false) => {
                errors.invalid(&here, false, "must be either unset or set to true");
                continue;
            }
            Value::Object(_) => (places.selector)(value, &here, errors),
            _ => {}
        }
        set.push(format!("`{field}`"));
    }
    match set.len() {
        0 => errors.required(path, places.none),
        1 => {}
        _ => errors.invalid(path, format!("{{{}}}", set.join(", ")), places.many),
    }
}

pub fn no_place(device: &Value, path: &Path, errors: &mut Errors) {
    if PLACES.iter().any(|place| at(device, place).is_some()) {
        let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to \
                   true in the ResourceSlice spec";
        errors.invalid(path, Value::Null, why);
    }
}
