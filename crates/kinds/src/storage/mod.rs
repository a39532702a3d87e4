//! The group `storage.k8s.io`: classes of storage and the drivers that make it.

pub mod csidriver;
pub mod csinode;
pub mod csistoragecapacity;
pub mod storageclass;
pub mod volumeattachment;
pub mod volumeattributesclass;

use skiff_api::check::{entries, refuse};
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::Kind;
use skiff_api::names;
use skiff_json::Value;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[
    csidriver::kind,
    csinode::kind,
    csistoragecapacity::kind,
    storageclass::kind,
    volumeattachment::kind,
    volumeattributesclass::kind,
];

const PARAMETERS_MOST: usize = 512;
/// Keys and values of parameters together, and of what an attachment tells.
const BYTES_MOST: usize = 256 << 10;

/// Who makes or changes volumes of a class.
fn provisioner(name: &str, path: &Path, errors: &mut Errors) {
    let name = name.to_lowercase();
    match &*name {
        "" => errors.required(path, ""),
        name => refuse(path, name, names::qualified(name), errors),
    }
}

/// What a class tells its driver.
fn parameters(object: &Value, path: &Path, errors: &mut Errors) {
    let all: Vec<(&str, &Value)> = entries(object, "parameters").collect();
    if all.len() > PARAMETERS_MOST {
        return errors.too_long(path, PARAMETERS_MOST);
    }
    if all.iter().any(|(key, _)| key.is_empty()) {
        errors.invalid(path, "", "field can not be empty.");
    }
    bytes(&all, path, errors);
}

fn bytes(all: &[(&str, &Value)], path: &Path, errors: &mut Errors) {
    let size = |(key, value): &(&str, &Value)| key.len() + value.as_str().map_or(0, str::len);
    if all.iter().map(size).sum::<usize>() > BYTES_MOST {
        errors.too_long(path, BYTES_MOST);
    }
}
