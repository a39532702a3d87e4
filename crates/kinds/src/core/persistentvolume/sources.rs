//! What a volume may be made of: one source of these, each with its own rules.

use crate::core::pod::validate::volumes::{Check, disk_of, host_path};
use crate::core::pod::validate::volumes_other as shared;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::at;
use skiff_json::Value;

/// A source: its field, the name under which its faults stand, and that of one too many.
struct Source {
    field: &'static str,
    shown: &'static str,
    second: &'static str,
    check: Check,
}

const fn source(field: &'static str, check: Check) -> Source {
    Source { field, shown: field, second: field, check }
}

/// All sources, in the order in which they are looked at.
const SOURCES: &[Source] = &[
    source("hostPath", host_path),
    Source {
        shown: "persistentDisk",
        ..source("gcePersistentDisk", |it, path, errors| disk_of(it, "pdName", path, errors))
    },
    source("awsElasticBlockStore", |it, path, errors| disk_of(it, "volumeID", path, errors)),
    source("glusterfs", glusterfs),
    source("flocker", shared::flocker),
    source("nfs", shared::nfs),
    source("rbd", shared::rbd),
    source("quobyte", shared::quobyte),
    Source { second: "cephFS", ..source("cephfs", shared::cephfs) },
    source("iscsi", iscsi),
    source("cinder", |it, path, errors| {
        required(it, "volumeID", path, errors);
        secret(it, "secretRef", path, errors);
    }),
    source("fc", shared::fc),
    // One more of these is no fault: so upstream has it.
    Source { second: "", ..source("flexVolume", shared::flex) },
    source("azureFile", azure_file),
    source("vsphereVolume", |it, path, errors| required(it, "volumePath", path, errors)),
    source("photonPersistentDisk", |it, path, errors| required(it, "pdID", path, errors)),
    source("portworxVolume", |it, path, errors| required(it, "volumeID", path, errors)),
    source("azureDisk", shared::azure_disk),
    source("scaleIO", |it, path, errors| {
        for field in ["gateway", "system", "volumeName"] {
            required(it, field, path, errors);
        }
    }),
    source("local", local),
    source("storageos", |it, path, errors| {
        shared::storageos_names(it, path, errors);
        secret(it, "secretRef", path, errors);
    }),
    source("csi", csi),
];

/// The one source of a volume. Local ones say where they are.
pub fn one(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut seen = false;
    for it in SOURCES {
        let Some(source) = at(spec, it.field) else { continue };
        if seen && !it.second.is_empty() {
            errors.forbidden(&path.child(it.second), "may not specify more than 1 volume type");
            continue;
        }
        seen = true;
        (it.check)(source, &path.child(it.shown), errors);
        if it.field == "local" && at(spec, "nodeAffinity").is_none() {
            errors.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
        }
    }
    if !seen {
        errors.required(path, "must specify a volume type");
    }
}

/// What a volume is made of and nothing else.
pub fn of(spec: &Value) -> Value {
    let there = SOURCES.iter().filter_map(|it| Some((it.field.to_owned(), at(spec, it.field)?)));
    there.map(|(field, source)| (field, source.clone())).collect()
}

fn glusterfs(it: &Value, path: &Path, errors: &mut Errors) {
    required(it, "endpoints", path, errors);
    required(it, "path", path, errors);
    let here = path.child("endpointsNamespace");
    match at(it, "endpointsNamespace").and_then(Value::as_str) {
        Some("") => {
            let why = "if the endpointnamespace is set, it must be a valid namespace name";
            errors.invalid(&here, "", why);
        }
        Some(name) => label(&here, name, errors),
        None => {}
    }
}

fn iscsi(it: &Value, path: &Path, errors: &mut Errors) {
    required(it, "targetPortal", path, errors);
    shared::session(it, "must be valid format", path, errors);
    if let Some(secret) = at(it, "secretRef") {
        required(secret, "name", &path.child("secretRef"), errors);
    }
}

/// A secret of any namespace, where one is named.
fn secret(it: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if let Some(secret) = at(it, field) {
        let here = path.child(field);
        required(secret, "name", &here, errors);
        required(secret, "namespace", &here, errors);
    }
}

fn azure_file(it: &Value, path: &Path, errors: &mut Errors) {
    required(it, "secretName", path, errors);
    required(it, "shareName", path, errors);
    if at(it, "secretNamespace").and_then(Value::as_str) == Some("") {
        errors.required(&path.child("secretNamespace"), "");
    }
}

fn local(it: &Value, path: &Path, errors: &mut Errors) {
    match text(it, "path") {
        "" => errors.required(&path.child("path"), ""),
        given => no_backsteps(&path.child("path"), given, errors),
    }
}

fn csi(it: &Value, path: &Path, errors: &mut Errors) {
    shared::driver(&path.child("driver"), text(it, "driver"), errors);
    required(it, "volumeHandle", path, errors);
    for field in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let Some(secret) = at(it, field) else { continue };
        let here = path.child(field);
        match text(secret, "name") {
            "" => errors.required(&here.child("name"), ""),
            name => subdomain(&here.child("name"), name, errors),
        }
        match text(secret, "namespace") {
            "" => errors.required(&here.child("namespace"), ""),
            name => label(&here.child("namespace"), name, errors),
        }
    }
}
