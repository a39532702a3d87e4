//! Claims: volumes that are made for one pod, and devices that it asks for.

use super::{Owner, internal};
use serde_json::Value;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::meta;
use skiff_api::object::{Object, at};
use skiff_api::quantity::Quantity;
use std::collections::HashSet;

const ACCESS_MODES: &[&str] =
    &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

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

/// The spec of a PersistentVolumeClaim.
pub fn claim_spec(spec: &Value, path: &Path, errors: &mut Errors) {
    let at_modes = path.child("accessModes");
    let modes: Vec<&str> = list(spec, "accessModes").iter().filter_map(Value::as_str).collect();
    if modes.is_empty() {
        errors.required(&at_modes, "at least 1 access mode is required");
    }
    label_selector(spec, "selector", path, errors);
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.not_supported(&at_modes, *mode, ACCESS_MODES);
    }
    let others =
        modes.iter().any(|mode| ACCESS_MODES.contains(mode) && *mode != "ReadWriteOncePod");
    if modes.contains(&"ReadWriteOncePod") && others {
        errors.forbidden(&at_modes, "may not use ReadWriteOncePod with other access modes");
    }
    let (resources, storage) = (path.child("resources"), text(spec, "resources.requests.storage"));
    match Quantity::parse(storage) {
        _ if storage.is_empty() => errors.required(&resources.key("storage"), ""),
        Ok(amount) if amount.is_negative() || amount.is_zero() => {
            errors.invalid(&resources.key("storage"), storage, "must be greater than zero");
        }
        _ => {}
    }
    for field in ["storageClassName", "volumeAttributesClassName"] {
        let name = text(spec, field);
        if !name.is_empty() {
            subdomain(&path.child(field), name, errors);
        }
    }
    one_of_if_set(spec, "volumeMode", VOLUME_MODES, path, errors);
    for field in ["dataSource", "dataSourceRef"] {
        let Some(source) = at(spec, field) else { continue };
        let here = path.child(field);
        required(source, "name", &here, errors);
        required(source, "kind", &here, errors);
        let group = text(source, "apiGroup");
        if group.is_empty() && text(source, "kind") != "PersistentVolumeClaim" {
            let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.invalid(&here, text(source, "kind"), why);
        }
        if !group.is_empty() {
            subdomain(&here.child("apiGroup"), group, errors);
        }
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
