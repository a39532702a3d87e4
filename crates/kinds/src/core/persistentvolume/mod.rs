//! PersistentVolume: storage that is there, whoever made it (API reference: config-and-storage-resources).

mod sources;
mod validate;

pub use validate::{Context, spec};

use super::pod::warn::old_node_label;
use skiff_api::check::{list, text};
use skiff_api::errors::Path;
use skiff_api::kind::{Cell, Column, Hooks, Kind, age_column, column, name_column, status, wide};
use skiff_api::object::Object;
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource = Resource::core("persistentvolumes", "PersistentVolume").cluster();

/// The class of a volume or claim before it had a field for it; it still comes first.
pub const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

/// Sources of which users are told that nothing serves them, in the order in which they are.
const OLD_SOURCES: &[(&str, &str, &str)] = &[
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    (
        "photonPersistentDisk",
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

pub fn kind() -> Kind {
    Kind {
        short: vec!["pv".into()],
        subresources: vec![status()],
        columns: vec![
            name_column(),
            column("Capacity", Cell::With(|volume| amount(volume, "spec.capacity").into())),
            column("Access Modes", Cell::With(|volume| modes(volume, "spec.accessModes").into())),
            text_column("Reclaim Policy", |volume| {
                volume.text("spec.persistentVolumeReclaimPolicy").into()
            }),
            column("Status", Cell::With(|volume| phase(volume).into())),
            column("Claim", Cell::With(claim)),
            column("StorageClass", Cell::With(|volume| class(volume).into())),
            column("VolumeAttributesClass", Cell::With(attributes_class)),
            text_column("Reason", |volume| volume.text("status.reason").into()),
            age_column(),
            wide("VolumeMode", Cell::With(mode)),
        ],
        hooks: Hooks { default, prepare, validate: validate::volume, warn, ..Hooks::NONE },
        shows_deleted: true,
        ..Kind::new(RESOURCE)
    }
}

fn text_column(name: &'static str, cell: fn(&Object) -> Value) -> Column {
    column(name, Cell::With(cell))
}

/// The class of a volume or claim; empty is none.
pub fn class(object: &Object) -> &str {
    object.annotation(CLASS).unwrap_or_else(|| object.text("spec.storageClassName"))
}

/// How far a volume or claim is, as columns say it.
pub fn phase(object: &Object) -> &str {
    if object.deleting() { "Terminating" } else { object.text("status.phase") }
}

pub fn attributes_class(object: &Object) -> Value {
    let name = object.at("spec.volumeAttributesClassName");
    name.cloned().unwrap_or_else(|| "<unset>".into())
}

pub fn mode(object: &Object) -> Value {
    object.at("spec.volumeMode").cloned().unwrap_or_else(|| "<unset>".into())
}

/// The storage among amounts.
pub fn amount<'a>(object: &'a Object, amounts: &str) -> &'a str {
    object.map(amounts).get("storage").and_then(Value::as_str).unwrap_or("0")
}

/// Modes of access in their short forms.
pub fn modes(object: &Object, path: &str) -> String {
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| object.list(path).iter().any(|it| it == mode);
    let short = SHORT.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short);
    short.collect::<Vec<_>>().join(",")
}

fn claim(volume: &Object) -> Value {
    match volume.at("spec.claimRef") {
        Some(claim) => format!("{}/{}", text(claim, "namespace"), text(claim, "name")).into(),
        None => "".into(),
    }
}

fn default(volume: &mut Object) {
    for (path, value) in [
        ("status.phase", "Pending"),
        ("spec.persistentVolumeReclaimPolicy", "Retain"),
        ("spec.volumeMode", "Filesystem"),
    ] {
        if volume.text(path).is_empty() {
            volume.set(path, value);
        }
    }
    if volume.at("spec.hostPath").is_some() {
        volume.set_absent("spec.hostPath.type", "");
    }
}

/// Its status is others'. A new one is pending since it was made.
fn prepare(volume: &mut Object, old: Option<&Object>) {
    match old {
        Some(old) => volume.copy_from(old, "status"),
        None => {
            volume.set("status", skiff_json::json!({"phase": "Pending"}));
            if let Some(made) = volume.at("metadata.creationTimestamp").cloned() {
                volume.set("status.lastPhaseTransitionTime", made);
            }
        }
    }
}

fn warn(volume: &Object, _: Option<&Object>) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut say = |path: &Path, why: &str| warnings.push(format!("{path}: {why}"));
    let annotations = Path::new("metadata.annotations");
    for (key, since, field) in
        [(CLASS, "v1.8", "storageClassName"), (MOUNT_OPTIONS, "v1.31", "mountOptions")]
    {
        if volume.annotation(key).is_some() {
            let why = format!("deprecated since {since}; use {field:?} attribute instead");
            say(&annotations.key(key), &why);
        }
    }
    let spec = Path::new("spec");
    if volume.text("spec.persistentVolumeReclaimPolicy") == "Recycle" {
        let why = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use \
                   dynamic provisioning.";
        say(&spec.child("persistentVolumeReclaimPolicy"), why);
    }
    let terms = spec.child("nodeAffinity.required.nodeSelectorTerms");
    let given = volume.list("spec.nodeAffinity.required.nodeSelectorTerms");
    for (index, term) in given.iter().enumerate() {
        let here = terms.index(index);
        let here = here.child("matchExpressions");
        for (index, expression) in list(term, "matchExpressions").iter().enumerate() {
            let key = text(expression, "key");
            if let Some(why) = old_node_label(key) {
                say(&here.index(index).child("key"), &format!("{key} is {why}"));
            }
        }
    }
    for (field, shown, why) in OLD_SOURCES {
        if volume.at(&format!("spec.{field}")).is_some() {
            say(&spec.child(shown), why);
        }
    }
    warnings
}
