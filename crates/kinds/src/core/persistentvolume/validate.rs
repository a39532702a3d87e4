//! What makes a volume invalid, in the fields and words that users know.

use super::sources;
use crate::core::pod::validate::claim::{VOLUME_MODES, access_modes};
use crate::core::pod::validate::{affinity, diff, internal};
use skiff_api::check::*;
use skiff_api::errors::{ErrorType, Errors, Path};
use skiff_api::object::{Object, at};
use skiff_api::quantity::Quantity;
use skiff_json::Value;

const POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];

/// Sources whose volumes may have mount options in an annotation.
const WITH_OPTIONS: &[&str] = &[
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "cinder",
    "cephfs",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
];

/// Where a spec stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context<'a> {
    /// In a volume of that name.
    Volume(&'a str),
    /// In an attachment (`inlineVolumeSpec`).
    Inline,
}

const INLINE: &str = "in the context of inline volumes";

pub fn volume(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let (null, path) = (Value::Null, Path::new("spec"));
    let after = new.at("spec").unwrap_or(&null);
    spec(after, Context::Volume(new.name()), &path, errors);
    let mounts = WITH_OPTIONS.iter().any(|source| at(after, source).is_some());
    if new.annotation(super::MOUNT_OPTIONS).is_some() && !mounts {
        let here = Path::new("metadata.annotations");
        let why = "may not specify mount options for this volume type";
        errors.forbidden(&here.child(super::MOUNT_OPTIONS), why);
    }
    if let Some(old) = old {
        update(after, old.at("spec").unwrap_or(&null), errors);
    }
}

pub fn spec(spec: &Value, context: Context<'_>, path: &Path, errors: &mut Errors) {
    let inline = context == Context::Inline;
    if inline {
        let forbid = |field, errors: &mut Errors| {
            errors.forbidden(&path.child(field), &format!("may not be specified {INLINE}"));
        };
        if at(spec, "claimRef").is_some() {
            forbid("claimRef", errors);
        }
        if entries(spec, "capacity").next().is_some() {
            forbid("capacity", errors);
        }
        if at(spec, "csi").is_none() {
            errors.required(&path.child("csi"), &format!("has to be specified {INLINE}"));
        }
    }
    let at_modes = path.child("accessModes");
    let modes: Vec<&str> = list(spec, "accessModes").iter().filter_map(Value::as_str).collect();
    if modes.is_empty() {
        errors.required(&at_modes, "");
    }
    access_modes(&at_modes, &modes, errors);
    if !inline {
        capacity(spec, &path.child("capacity"), errors);
    }
    policy(spec, context, &path.child("persistentVolumeReclaimPolicy"), errors);
    if let Some(nodes) = at(spec, "nodeAffinity") {
        let here = path.child("nodeAffinity");
        match at(nodes, "required") {
            _ if inline => errors.forbidden(&here, &format!("may not be specified {INLINE}")),
            Some(selector) => affinity::node_selector(selector, &here.child("required"), errors),
            None => {
                errors.required(&here.child("required"), "must specify required node constraints")
            }
        }
    }
    if let (Context::Volume(name), Some(target)) = (context, at(spec, "iscsi")) {
        initiator_fits(name, target, &path.child("iscsi"), errors);
    }
    sources::one(spec, path, errors);
    if root(text(spec, "hostPath.path")) && text(spec, "persistentVolumeReclaimPolicy") == "Recycle"
    {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden(&path.child("persistentVolumeReclaimPolicy"), why);
    }
    classes(spec, context, path, errors);
}

/// The root folder, however it is written.
fn root(path: &str) -> bool {
    path.starts_with('/') && path.split('/').all(|part| matches!(part, "" | "." | ".."))
}

fn capacity(spec: &Value, path: &Path, errors: &mut Errors) {
    let amounts: Vec<(&str, &Value)> = entries(spec, "capacity").collect();
    if amounts.is_empty() {
        errors.required(path, "");
    }
    if amounts.len() != 1 || amounts[0].0 != "storage" {
        let shown = at(spec, "capacity").unwrap_or(&Value::Null);
        let body = format!("Unsupported value: {shown}: supported values: \"storage\"");
        errors.push(ErrorType::NotSupported, path, body);
    }
    for (name, amount) in amounts {
        let shown = amount.as_str().unwrap_or("");
        let Ok(amount) = Quantity::parse(shown) else { continue };
        if amount.is_negative() {
            errors.invalid(&path.key(name), amount.value(), "must be a valid resource quantity");
        }
        if amount.is_negative() || amount.is_zero() {
            errors.invalid(&path.key(name), shown, "must be greater than zero");
        }
    }
}

fn policy(spec: &Value, context: Context<'_>, path: &Path, errors: &mut Errors) {
    let inline = context == Context::Inline;
    match text(spec, "persistentVolumeReclaimPolicy") {
        "" => {}
        "Retain" if inline => {}
        _ if inline => errors.forbidden(path, &format!("may only be Retain {INLINE}")),
        policy if !POLICIES.contains(&policy) => errors.not_supported(path, policy, POLICIES),
        _ => {}
    }
}

/// An initiator of its own is named after the volume.
fn initiator_fits(name: &str, target: &Value, path: &Path, errors: &mut Errors) {
    let portal = text(target, "targetPortal");
    if at(target, "initiatorName").is_some() && name.len() + 1 + portal.len() > 64 {
        let why = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
                   iscsi.initiatorName is specified.";
        errors.invalid(&path.child("targetportal"), portal, why);
    }
}

fn classes(spec: &Value, context: Context<'_>, path: &Path, errors: &mut Errors) {
    let inline = context == Context::Inline;
    match text(spec, "storageClassName") {
        "" => {}
        _ if inline => {
            let why = format!("may not be specified {INLINE}");
            errors.forbidden(&path.child("storageClassName"), &why);
        }
        class => subdomain(&path.child("storageClassName"), class, errors),
    }
    match text(spec, "volumeMode") {
        "" => {}
        "Filesystem" if inline => {}
        _ if inline => {
            let why = format!("may not specify volumeMode other than Filesystem {INLINE}");
            errors.forbidden(&path.child("volumeMode"), &why);
        }
        _ => one_of_if_set(spec, "volumeMode", VOLUME_MODES, path, errors),
    }
    let given = at(spec, "volumeAttributesClassName").and_then(Value::as_str);
    let Some(class) = given.filter(|_| !inline) else { return };
    let here = path.child("volumeAttributesClassName");
    match class {
        "" => errors.required(&here, "an empty string is disallowed"),
        class => subdomain(&here, class, errors),
    }
    if at(spec, "csi").is_none() {
        let why = "has to be specified when using volumeAttributesClassName";
        errors.required(&path.child("csi"), why);
    }
}

/// What a volume is made of stays; where it can be reached may still be said once.
fn update(after: &Value, before: &Value, errors: &mut Errors) {
    let (mut is, was) = (sources::of(after), sources::of(before));
    let expands = "csi.controllerExpandSecretRef";
    if at(&was, "csi").is_some() && at(&was, expands).is_none() {
        skiff_api::object::remove(&mut is, expands);
    }
    if is != was {
        let [was, is] = [was, is].map(|it| internal::pretty("PersistentVolumeSource", &it));
        let difference = diff::unified(&was, &is);
        let why = format!("spec.persistentvolumesource is immutable after creation\n{difference}");
        errors.forbidden(&Path::new("spec.persistentvolumesource"), &why);
    }
    let shown = |field| at(after, field).cloned().unwrap_or(Value::Null);
    let changed = |field| at(after, field) != at(before, field);
    if changed("volumeMode") {
        errors.invalid(&Path::new("volumeMode"), shown("volumeMode"), "field is immutable");
    }
    if at(before, "nodeAffinity").is_some() && changed("nodeAffinity") {
        node_affinity(after, before, errors);
    }
    let attributes = "volumeAttributesClassName";
    if at(before, attributes).is_some() && at(after, attributes).is_none() {
        let why = "update from non-nil value to nil is forbidden";
        errors.forbidden(&Path::new("spec.volumeAttributesClassName"), why);
    }
}

/// Labels of nodes that became others; an affinity may be told the new ones.
const RENAMED: &[(&str, &str)] = &[
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
];

fn node_affinity(after: &Value, before: &Value, errors: &mut Errors) {
    let (null, field) = (Value::Null, "nodeAffinity");
    let (is, was) = (at(after, field).unwrap_or(&null), at(before, field).unwrap_or(&null));
    if same_but_names(is, was) {
        return;
    }
    let why = "field is immutable, except for updating from beta label to GA";
    match is {
        Value::Null => errors.invalid(&Path::new(field), Value::Null, why),
        is => internal::invalid(errors, &Path::new(field), "VolumeNodeAffinity", is, why),
    }
}

fn same_but_names(is: &Value, was: &Value) -> bool {
    match (is, was) {
        (Value::Object(is), Value::Object(was)) => {
            let same = |(field, is): (&String, &Value)| {
                let Some(was) = was.get(field) else { return false };
                let renamed = field == "key" && RENAMED.iter().any(|it| was == it.0 && is == it.1);
                renamed || same_but_names(is, was)
            };
            is.len() == was.len() && is.iter().all(same)
        }
        (Value::Array(is), Value::Array(was)) => {
            is.len() == was.len() && is.iter().zip(was).all(|(is, was)| same_but_names(is, was))
        }
        (is, was) => is == was,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    fn check(new: Value, old: Option<Value>) -> String {
        let (mut errors, old) = (Errors::new(), old.map(Object::new));
        volume(&Object::new(new), old.as_ref(), &mut errors);
        errors.text()
    }

    fn spec(more: Value) -> Value {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}});
        for (field, value) in more.as_object().expect("fields") {
            spec[field] = value.clone();
        }
        json!({"metadata": {"name": "a"}, "spec": spec})
    }

    #[test]
    fn a_volume_has_one_source_and_local_ones_a_place() {
        assert_eq!(check(spec(json!({"hostPath": {"path": "/a"}})), None), "[]");
        assert_eq!(
            check(spec(json!({})), None),
            "spec: Required value: must specify a volume type"
        );
        assert_eq!(
            check(spec(json!({"hostPath": {"path": "/a"}, "local": {"path": "/a"}})), None),
            "spec.local: Forbidden: may not specify more than 1 volume type"
        );
        assert_eq!(
            check(spec(json!({"local": {"path": "/a/../b"}})), None),
            "[spec.local.path: Invalid value: \"/a/../b\": must not contain '..', spec.nodeAffinity: \
             Required value: Local volume requires node affinity]"
        );
        let root = json!({"hostPath": {"path": "/./"}, "persistentVolumeReclaimPolicy": "Recycle"});
        assert_eq!(
            check(spec(root), None),
            "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"
        );
    }

    #[test]
    fn what_it_is_made_of_stays() {
        let [one, other] = ["/a", "/b"].map(|path| spec(json!({"hostPath": {"path": path}})));
        let text = check(other, Some(one));
        assert!(text.starts_with("spec.persistentvolumesource: Forbidden: "), "{text}");
        assert!(text.contains("-  \"Path\": \"/a\",\n+  \"Path\": \"/b\","), "{text}");
    }

    #[test]
    fn a_beta_label_may_become_the_stable_one() {
        let at = |key: &str| {
            let term =
                json!({"matchExpressions": [{"key": key, "operator": "In", "values": ["a"]}]});
            let nodes = json!({"required": {"nodeSelectorTerms": [term]}});
            spec(json!({"hostPath": {"path": "/a"}, "nodeAffinity": nodes}))
        };
        let (beta, stable) = ("beta.kubernetes.io/os", "kubernetes.io/os");
        assert_eq!(check(at(stable), Some(at(beta))), "[]");
        assert!(check(at(beta), Some(at(stable))).starts_with("nodeAffinity: Invalid value: "));
    }
}
