//! Volume sources of storage systems: the API accepts and checks them, whoever mounts them.

use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::names;
use skiff_api::object::at;
use skiff_json::Value;

pub fn nfs(source: &Value, path: &Path, errors: &mut Errors) {
    required(source, "server", path, errors);
    required(source, "path", path, errors);
    let given = text(source, "path");
    if !given.starts_with('/') {
        errors.invalid(&path.child("path"), given, "must be an absolute path");
    }
}

pub fn iscsi(source: &Value, path: &Path, errors: &mut Errors) {
    required(source, "targetPortal", path, errors);
    session(source, "must be valid format starting with iqn, eui, or naa", path, errors);
}

/// What a session of a pod or of a volume asks for; `start` is said of names that begin as none does.
pub fn session(source: &Value, start: &str, path: &Path, errors: &mut Errors) {
    match text(source, "iqn") {
        "" => errors.required(&path.child("iqn"), ""),
        name => initiator(&path.child("iqn"), name, start, errors),
    }
    let lun = int(source, "lun").unwrap_or(0);
    if !(0..=255).contains(&lun) {
        errors.invalid(&path.child("lun"), lun, "must be between 0 and 255, inclusive");
    }
    let authenticated = flag(source, "chapAuthDiscovery") || flag(source, "chapAuthSession");
    if authenticated && at(source, "secretRef").is_none() {
        errors.required(&path.child("secretRef"), "");
    }
    if let Some(name) = at(source, "initiatorName").and_then(Value::as_str) {
        initiator(&path.child("initiatorname"), name, start, errors);
    }
}

/// The name of an iSCSI node (RFC 3720, section 3.2.6).
fn initiator(path: &Path, name: &str, start: &str, errors: &mut Errors) {
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    let lower = |text: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let ends = text.bytes().next().is_some_and(plain) && text.bytes().last().is_some_and(plain);
        ends && text.bytes().all(|b| plain(b) || matches!(b, b'-' | b'.'))
    };
    let valid = match name.split_once('.') {
        Some(("iqn", rest)) => match rest.split_once('.') {
            Some((date, rest)) => {
                let bytes = date.as_bytes();
                let named = rest.split_once(':').filter(|(_, name)| !name.is_empty());
                bytes.len() == 7 && bytes[4] == b'-' && named.is_some_and(|(by, _)| lower(by))
            }
            None => false,
        },
        Some(("eui", rest)) => rest.len() == 16 && hex(rest),
        Some(("naa", rest)) => rest.len() == 32 && hex(rest),
        _ => false,
    };
    if !["iqn", "eui", "naa"].iter().any(|type_| name.starts_with(type_)) {
        errors.invalid(path, name, start);
    } else if !valid {
        errors.invalid(path, name, "must be valid format");
    }
}

pub fn flocker(source: &Value, path: &Path, errors: &mut Errors) {
    let (name, uuid) = (text(source, "datasetName"), text(source, "datasetUUID"));
    if name.is_empty() && uuid.is_empty() {
        errors.required(path, "one of datasetName and datasetUUID is required");
    }
    if !name.is_empty() && !uuid.is_empty() {
        let why = "datasetName and datasetUUID can not be specified simultaneously";
        errors.invalid(path, "resource", why);
    }
    if name.contains('/') {
        errors.invalid(&path.child("datasetName"), name, "must not contain '/'");
    }
}

pub fn rbd(source: &Value, path: &Path, errors: &mut Errors) {
    cephfs(source, path, errors);
    required(source, "image", path, errors);
}

pub fn cephfs(source: &Value, path: &Path, errors: &mut Errors) {
    if list(source, "monitors").is_empty() {
        errors.required(&path.child("monitors"), "");
    }
}

pub fn cinder(source: &Value, path: &Path, errors: &mut Errors) {
    required(source, "volumeID", path, errors);
    secret_name(source, "secretRef", path, errors);
}

/// A reference to a secret, where there is one, names it.
fn secret_name(source: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if let Some(secret) = at(source, field) {
        required(secret, "name", &path.child(field), errors);
    }
}

pub fn quobyte(source: &Value, path: &Path, errors: &mut Errors) {
    let registry = text(source, "registry");
    let pairs = "must be a host:port pair or multiple pairs separated by commas";
    if registry.is_empty() {
        errors.required(&path.child("registry"), pairs);
    } else if text(source, "tenant").len() >= 65 {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        errors.required(&path.child("tenant"), why);
    } else {
        for pair in registry.split(',') {
            if pair.matches(':').count() != 1 {
                errors.invalid(&path.child("registry"), registry, pairs);
            }
        }
    }
    required(source, "volume", path, errors);
}

pub fn fc(source: &Value, path: &Path, errors: &mut Errors) {
    let (names, ids) = (list(source, "targetWWNs"), list(source, "wwids"));
    let targets = path.child("targetWWNs");
    if names.is_empty() && ids.is_empty() {
        errors.required(&targets, "must specify either targetWWNs or wwids, but not both");
    }
    if !names.is_empty() && !ids.is_empty() {
        let why = "targetWWNs and wwids can not be specified simultaneously";
        errors.invalid(&targets, names.to_vec(), why);
    }
    if names.is_empty() {
        return;
    }
    match int(source, "lun") {
        None => errors.required(&path.child("lun"), "lun is required if targetWWNs is specified"),
        Some(lun) if !(0..=255).contains(&lun) => {
            errors.invalid(&path.child("lun"), lun, "must be between 0 and 255, inclusive");
        }
        Some(_) => {}
    }
}

pub fn flex(source: &Value, path: &Path, errors: &mut Errors) {
    required(source, "driver", path, errors);
    for (key, _) in entries(source, "options") {
        let domain = format!(".{}", key.split('/').next().unwrap_or(key).to_lowercase());
        let namespaced = key.contains('/') || !key.is_empty();
        if namespaced && (domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io")) {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            errors.invalid(&path.child("options").key(key), key, why);
        }
    }
}

pub fn azure_disk(source: &Value, path: &Path, errors: &mut Errors) {
    required(source, "diskName", path, errors);
    required(source, "diskURI", path, errors);
    one_of_if_set(source, "cachingMode", &["None", "ReadOnly", "ReadWrite"], path, errors);
    one_of_if_set(source, "kind", &["Dedicated", "Managed", "Shared"], path, errors);
    let (uri, managed) = (text(source, "diskURI"), text(source, "kind") == "Managed");
    let (start, form) = if managed {
        let form = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
        ("/subscriptions/", form)
    } else {
        (
            "https://",
            "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",
        )
    };
    if !uri.starts_with(start) {
        errors.not_supported(&path.child("diskURI"), uri, &[form]);
    }
}

pub fn storageos(source: &Value, path: &Path, errors: &mut Errors) {
    storageos_names(source, path, errors);
    secret_name(source, "secretRef", path, errors);
}

pub fn storageos_names(source: &Value, path: &Path, errors: &mut Errors) {
    match text(source, "volumeName") {
        "" => errors.required(&path.child("volumeName"), ""),
        name => label(&path.child("volumeName"), name, errors),
    }
    let namespace = text(source, "volumeNamespace");
    if !namespace.is_empty() {
        label(&path.child("volumeNamespace"), namespace, errors);
    }
}

pub fn csi(source: &Value, path: &Path, errors: &mut Errors) {
    driver(&path.child("driver"), text(source, "driver"), errors);
    if let Some(secret) = at(source, "nodePublishSecretRef") {
        match text(secret, "name") {
            "" => errors.required(&path.child("nodePublishSecretRef").child("name"), ""),
            name => subdomain(&path.child("name"), name, errors),
        }
    }
}

/// The name of a CSI driver: a domain in letters of any case, no longer than a label.
pub fn driver(path: &Path, name: &str, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > names::LABEL_MOST {
        errors.too_long(path, names::LABEL_MOST);
    }
    refuse(path, name, names::subdomain(&name.to_lowercase()), errors);
}
