//! Claims: volumes that are made for one pod, and devices that it asks for.

use super::{Owner, internal};
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::meta;
use skiff_api::object::{Object, at};
use skiff_api::quantity::Quantity;
use skiff_json::Value;
use std::collections::HashSet;

const ACCESS_MODES: &[&str] =
    &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
pub const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

/// A volume that is claimed for the pod and goes with it (KEP-1698).
pub fn ephemeral(source: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("volumeClaimTemplate");
    let Some(template) = at(source, "volumeClaimTemplate") else {
        return errors.required(&path, "");
    };
    let metadata = path.child("metadata");
    let object = Object::new(template.clone());
    meta::validate_annotations(
        &metadata.child("annotations"),
        object.map("metadata.annotations"),
        errors,
    );
    meta::validate_labels(&metadata.child("labels"), object.map("metadata.labels"), errors);
    for field in ["name", "generateName", "namespace", "ownerReferences", "finalizers"] {
        let empty = |value: &Value| {
            matches!(value.as_str(), Some("")) || value.as_array().is_some_and(Vec::is_empty)
        };
        if object.at(&format!("metadata.{field}")).is_some_and(|value| !empty(value)) {
            errors.forbidden(&metadata.child(field), "cannot be set");
        }
    }
    claim_spec(at(template, "spec").unwrap_or(&Value::Null), &path.child("spec"), errors);
}

/// Modes of access that there are; ReadWriteOncePod stands alone (KEP-2485).
pub fn access_modes(path: &Path, modes: &[&str], errors: &mut Errors) {
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.not_supported(path, *mode, ACCESS_MODES);
    }
    let other = |mode: &&str| ACCESS_MODES.contains(mode) && *mode != "ReadWriteOncePod";
    if modes.contains(&"ReadWriteOncePod") && modes.iter().any(other) {
        errors.forbidden(path, "may not use ReadWriteOncePod with other access modes");
    }
}

/// The spec of a PersistentVolumeClaim.
pub fn claim_spec(spec: &Value, path: &Path, errors: &mut Errors) {
    let at_modes = path.child("accessModes");
    let modes: Vec<&str> = list(spec, "accessModes").iter().filter_map(Value::as_str).collect();
    if modes.is_empty() {
        errors.required(&at_modes, "at least 1 access mode is required");
    }
    label_selector(spec, "selector", path, errors);
    access_modes(&at_modes, &modes, errors);
    let (resources, storage) = (path.child("resources"), text(spec, "resources.requests.storage"));
    match Quantity::parse(storage) {
        _ if storage.is_empty() => errors.required(&resources.key("storage"), ""),
        Ok(amount) if amount.is_negative() || amount.is_zero() => {
            errors.invalid(&resources.key("storage"), storage, "must be greater than zero");
        }
        _ => {}
    }
    class_name(spec, "storageClassName", path, errors);
    one_of_if_set(spec, "volumeMode", VOLUME_MODES, path, errors);
    data_sources(spec, path, errors);
    class_name(spec, "volumeAttributesClassName", path, errors);
}

fn class_name(spec: &Value, field: &str, path: &Path, errors: &mut Errors) {
    let name = text(spec, field);
    if !name.is_empty() {
        subdomain(&path.child(field), name, errors);
    }
}

/// Where its first content comes from: an older field, and a newer one that may name another namespace (KEP-3294).
fn data_sources(spec: &Value, path: &Path, errors: &mut Errors) {
    let (older, newer) = (at(spec, "dataSource"), at(spec, "dataSourceRef"));
    for (field, source) in [("dataSource", older), ("dataSourceRef", newer)] {
        if let Some(source) = source {
            data_source(source, &path.child(field), errors);
        }
    }
    let (Some(older), Some(newer)) = (older, newer) else { return };
    let same = |field| at(older, field) == at(newer, field);
    let why = match text(newer, "namespace") {
        "" if same("apiGroup") && same("kind") && same("name") => return,
        "" => "must match dataSourceRef",
        _ => "may not be specified when dataSourceRef.namespace is specified",
    };
    // The value that upstream shows is a path, which prints as nothing.
    errors.invalid(path, skiff_json::json!({}), why);
}

fn data_source(source: &Value, path: &Path, errors: &mut Errors) {
    required(source, "name", path, errors);
    required(source, "kind", path, errors);
    let group = text(source, "apiGroup");
    if group.is_empty() && text(source, "kind") != "PersistentVolumeClaim" {
        let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.invalid(path, text(source, "kind"), why);
    }
    if !group.is_empty() {
        subdomain(&path.child("apiGroup"), group, errors);
    }
    let namespace = text(source, "namespace");
    if !namespace.is_empty() {
        label(&path.child("namespace"), namespace, errors);
    }
}

/// The devices that a pod names for its containers (KEP-4381).
pub fn resource_claims(spec: &Value, owner: &Owner<'_>, path: &Path, errors: &mut Errors) {
    let path = path.child("resourceClaims");
    let mut names = HashSet::new();
    for (index, claim) in list(spec, "resourceClaims").iter().enumerate() {
        if owner.is_mirror() {
            errors.forbidden(&Path::new(""), "static pods do not support resource claims");
            continue;
        }
        let here = path.index(index);
        match text(claim, "name") {
            "" => errors.required(&here.child("name"), ""),
            name if !names.insert(name) => errors.duplicate(&here.child("name"), name),
            name => label(&here.child("name"), name, errors),
        }
        let fields = ["resourceClaimName", "resourceClaimTemplateName"];
        match fields.iter().filter(|field| at(claim, field).is_some()).count() {
            2 => {
                let why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                internal::invalid(errors, &here, "PodResourceClaim", claim, why);
            }
            0 => {
                let why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                internal::invalid(errors, &here, "PodResourceClaim", claim, why);
            }
            _ => {}
        }
        for field in fields {
            if let Some(name) = at(claim, field).and_then(Value::as_str) {
                subdomain(&here.child(field), name, errors);
            }
        }
    }
}
