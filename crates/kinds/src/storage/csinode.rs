//! CSINode: which drivers of storage a node has (API reference: config-and-storage-resources).

use crate::core::pod::validate::internal;
use crate::core::pod::validate::volumes_other::driver;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{
    Cell, Does, Hooks, Kind, Subresource, Verb, age_column, name_column, number,
};
use skiff_api::object::{Object, remove};
use skiff_api::view::Resource;
use skiff_json::{Value, json};
use std::collections::HashSet;

pub const RESOURCE: Resource =
    Resource::of("storage.k8s.io", "v1", "csinodes", "CSINode").cluster();

const ID_MOST: usize = 256;

pub fn kind() -> Kind {
    let drivers = |node: &Object| node.list("spec.drivers").len().into();
    Kind {
        columns: vec![name_column(), number("Drivers", Cell::With(drivers)), age_column()],
        subresources: vec![only_status()],
        conditional: true,
        hooks: Hooks {
            prepare: |node, old| match old {
                Some(old) => node.copy_from(old, "status"),
                None => node.set("status", json!({})),
            },
            prepare_part: |_, node, old| {
                // Health of storage is off, as upstream has it by default (KEP-1432).
                if old.list("status.storageHealth").is_empty() {
                    node.remove("status.storageHealth");
                }
            },
            validate,
            ..Hooks::NONE
        },
        shows_deleted: true,
        ..Kind::new(RESOURCE)
    }
}

/// A status entry that leaves metadata alone.
pub fn only_status() -> Subresource {
    let does = Does::Part { part: &["status"], keeps: &[] };
    Subresource { name: "status".into(), does, verbs: Verb::PART, body: None, unowned: &[] }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let path = Path::new("spec.drivers");
    let drivers = new.list("spec.drivers");
    let mut names = HashSet::new();
    for (index, it) in drivers.iter().enumerate() {
        one(it, &mut names, &path.index(index), errors);
    }
    // What can be attached may be counted anew, the rest stays.
    let lasting = |it: &Value| {
        let mut it = it.clone();
        remove(&mut it, "allocatable");
        it
    };
    for was in old.map_or(&[][..], |old| old.list("spec.drivers")) {
        for is in drivers.iter().filter(|is| text(is, "name") == text(was, "name")) {
            let is = lasting(is);
            if is != lasting(was) {
                internal::invalid(errors, &path, "CSINodeDriver", &is, "field is immutable");
            }
        }
    }
}

fn one<'a>(it: &'a Value, names: &mut HashSet<&'a str>, path: &Path, errors: &mut Errors) {
    let name = text(it, "name");
    driver(&path.child("name"), name, errors);
    let id = text(it, "nodeID");
    if id.is_empty() {
        errors.required(&path.child("nodeID"), "");
    }
    if id.len() > ID_MOST {
        let why = format!("must be {ID_MOST} characters or less");
        errors.invalid(&path.child("nodeID"), id, &why);
    }
    if let Some(count) = int(it, "allocatable.count") {
        not_negative(&path.child("allocatable.count"), count, errors);
    }
    unique(&path.child("name"), name, names, errors);
    let mut keys = HashSet::new();
    for key in list(it, "topologyKeys").iter().filter_map(Value::as_str) {
        if key.is_empty() {
            errors.required(path, "");
        }
        unique(path, key, &mut keys, errors);
        qualified(path, key, errors);
    }
}
