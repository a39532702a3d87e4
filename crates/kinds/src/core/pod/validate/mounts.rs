//! Where the volumes of a pod appear in its containers.

use super::volumes::Volumes;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::at;
use skiff_json::Value;
use std::collections::HashSet;

const PROPAGATIONS: &[&str] = &["Bidirectional", "HostToContainer", "None"];
const RECURSIVE: &[&str] = &["Disabled", "Enabled", "IfPossible"];

pub fn mounts(container: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let path = path.child("volumeMounts");
    let devices = list(container, "volumeDevices");
    let mut points = HashSet::new();
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let here = path.index(index);
        let (name, point) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.required(&here.child("name"), "");
        }
        if volumes.find(name).is_none() {
            errors.not_found(&here.child("name"), name);
        }
        if point.is_empty() {
            errors.required(&here.child("mountPath"), "");
        }
        if !points.insert(point) {
            errors.invalid(&here.child("mountPath"), point, "must be unique");
        }
        if devices.iter().any(|device| text(device, "name") == name) {
            errors.invalid(&here.child("name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|device| text(device, "devicePath") == point) {
            let why = "must not already exist as a path in volumeDevices";
            errors.invalid(&here.child("mountPath"), point, why);
        }
        sub_paths(mount, &path, &here, errors);
        propagation(mount, container, &path.child("mountPropagation"), errors);
        recursive(mount, &path.child("recursiveReadOnly"), errors);
    }
}

fn sub_paths(mount: &Value, list_path: &Path, path: &Path, errors: &mut Errors) {
    let (sub, expr) = (text(mount, "subPath"), text(mount, "subPathExpr"));
    if !sub.is_empty() {
        descending(&list_path.child("subPath"), sub, errors);
    }
    if !expr.is_empty() {
        if !sub.is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            errors.invalid(&path.child("subPathExpr"), expr, why);
        }
        descending(&list_path.child("subPathExpr"), expr, errors);
    }
}

fn propagation(mount: &Value, container: &Value, path: &Path, errors: &mut Errors) {
    let Some(mode) = at(mount, "mountPropagation").and_then(Value::as_str) else { return };
    if !PROPAGATIONS.contains(&mode) {
        errors.not_supported(path, mode, PROPAGATIONS);
    }
    if mode == "Bidirectional" && !flag(container, "securityContext.privileged") {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.forbidden(path, why);
    }
}

fn recursive(mount: &Value, path: &Path, errors: &mut Errors) {
    let Some(mode) = at(mount, "recursiveReadOnly").and_then(Value::as_str) else { return };
    if !RECURSIVE.contains(&mode) {
        return errors.not_supported(path, mode, RECURSIVE);
    }
    if mode == "Disabled" {
        return;
    }
    if !flag(mount, "readOnly") {
        errors.forbidden(path, "may only be specified when readOnly is true");
    }
    if !matches!(text(mount, "mountPropagation"), "" | "None") {
        let why = "may only be specified when mountPropagation is None or not specified";
        errors.forbidden(path, why);
    }
}

/// Volumes that a container sees as block devices.
pub fn devices(container: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let path = path.child("volumeDevices");
    let mounts = list(container, "volumeMounts");
    let (mut names, mut points) = (HashSet::new(), HashSet::new());
    for (index, device) in list(container, "volumeDevices").iter().enumerate() {
        let here = path.index(index);
        let (at_name, at_path) = (here.child("name"), here.child("devicePath"));
        let (name, point) = (text(device, "name"), text(device, "devicePath"));
        if name.is_empty() {
            errors.required(&at_name, "");
        }
        if names.contains(name) {
            errors.invalid(&at_name, name, "must be unique");
        }
        match volumes.find(name) {
            None => errors.not_found(&at_name, name),
            Some(volume)
                if at(volume, "persistentVolumeClaim").is_none()
                    && at(volume, "ephemeral").is_none() =>
            {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(&at_name, name, why);
            }
            Some(_) => {}
        }
        if point.is_empty() {
            errors.required(&at_path, "");
        }
        if points.contains(point) {
            errors.invalid(&at_path, point, "must be unique");
        }
        if point.split('/').any(|part| part == "..") {
            errors.invalid(&at_path, point, "can not contain backsteps ('..')");
        } else {
            points.insert(point);
        }
        if mounts.iter().any(|mount| text(mount, "name") == name) {
            errors.invalid(&at_name, name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|mount| text(mount, "mountPath") == point) {
            let why = "must not already exist as a path in volumeMounts";
            errors.invalid(&at_path, point, why);
        }
        if !name.is_empty() {
            names.insert(name);
        }
    }
}
