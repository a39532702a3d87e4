//! Volumes: each has one source, and each source its own rules.

use super::{Owner, projected};
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::names;
use skiff_api::object::at;
use skiff_json::Value;
use std::collections::HashSet;

/// How a source is checked.
pub type Check = fn(&Value, &Path, &mut Errors);

/// All sources, in the order in which they are looked at.
const SOURCES: &[(&str, Check)] = &[
    ("emptyDir", empty_dir),
    ("hostPath", host_path),
    ("gitRepo", git_repo),
    ("gcePersistentDisk", |disk, path, errors| disk_of(disk, "pdName", path, errors)),
    ("awsElasticBlockStore", |disk, path, errors| disk_of(disk, "volumeID", path, errors)),
    ("secret", |source, path, errors| files(source, "secretName", path, errors)),
    ("nfs", super::volumes_other::nfs),
    ("iscsi", super::volumes_other::iscsi),
    ("glusterfs", |source, path, errors| needs(source, &["endpoints", "path"], path, errors)),
    ("flocker", super::volumes_other::flocker),
    ("persistentVolumeClaim", |source, path, errors| needs(source, &["claimName"], path, errors)),
    ("rbd", super::volumes_other::rbd),
    ("cinder", super::volumes_other::cinder),
    ("cephfs", super::volumes_other::cephfs),
    ("quobyte", super::volumes_other::quobyte),
    ("downwardAPI", projected::downward),
    ("fc", super::volumes_other::fc),
    ("flexVolume", super::volumes_other::flex),
    ("configMap", |source, path, errors| files(source, "name", path, errors)),
    ("azureFile", |source, path, errors| needs(source, &["secretName", "shareName"], path, errors)),
    ("vsphereVolume", |source, path, errors| needs(source, &["volumePath"], path, errors)),
    ("photonPersistentDisk", |source, path, errors| needs(source, &["pdID"], path, errors)),
    ("portworxVolume", |source, path, errors| needs(source, &["volumeID"], path, errors)),
    ("azureDisk", super::volumes_other::azure_disk),
    ("storageos", super::volumes_other::storageos),
    ("projected", projected::projected),
    ("scaleIO", |source, path, errors| {
        needs(source, &["gateway", "system", "volumeName"], path, errors)
    }),
    ("csi", super::volumes_other::csi),
    ("ephemeral", super::claim::ephemeral),
    ("image", image),
];

const HOST_PATH_TYPES: &[&str] = &[
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// The volumes that mounts may name: those without a fault.
pub struct Volumes<'a>(Vec<(&'a str, &'a Value)>);

impl<'a> Volumes<'a> {
    pub fn find(&self, name: &str) -> Option<&'a Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, volume)| *volume)
    }
}

pub fn volumes<'a>(
    spec: &'a Value,
    owner: &Owner<'_>,
    path: &Path,
    errors: &mut Errors,
) -> Volumes<'a> {
    let path = path.child("volumes");
    let volumes = list(spec, "volumes");
    let pod = owner.pod_name();
    let created: HashSet<String> = volumes
        .iter()
        .filter(|volume| !pod.is_empty() && at(volume, "ephemeral").is_some())
        .map(|volume| format!("{pod}-{}", text(volume, "name")))
        .collect();
    let mut good: Vec<(&str, &Value)> = Vec::new();
    for (index, volume) in volumes.iter().enumerate() {
        let here = path.index(index);
        let name = text(volume, "name");
        let mut found = Errors::new();
        source(volume, pod, &here, &mut found);
        if name.is_empty() {
            found.required(&here.child("name"), "");
        } else {
            label(&here.child("name"), name, &mut found);
        }
        if good.iter().any(|(known, _)| *known == name) {
            found.duplicate(&here.child("name"), name);
        }
        if found.is_empty() {
            good.push((name, volume));
        }
        errors.append(found);
        let claim = text(volume, "persistentVolumeClaim.claimName");
        if created.contains(claim) {
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            errors.invalid(&here.child("persistentVolumeClaim").child("claimName"), claim, why);
        }
    }
    Volumes(good)
}

fn source(volume: &Value, pod: &str, path: &Path, errors: &mut Errors) {
    let mut seen = false;
    for (field, check) in SOURCES {
        let Some(source) = at(volume, field) else { continue };
        if seen {
            errors.forbidden(&path.child(field), "may not specify more than 1 volume type");
            continue;
        }
        seen = true;
        // Messages know one source by an old name.
        let shown = if *field == "gcePersistentDisk" { "persistentDisk" } else { field };
        check(source, &path.child(shown), errors);
        let name = text(volume, "name");
        if *field == "ephemeral" && !pod.is_empty() && !name.is_empty() {
            let claim = format!("{pod}-{name}");
            for why in names::subdomain(&claim) {
                errors.invalid(&path.child("name"), name, &format!("PVC name {claim:?}: {why}"));
            }
        }
    }
    if !seen {
        errors.required(path, "must specify a volume type");
    }
}

/// A source that is checked for nothing but its required texts.
pub fn needs(source: &Value, fields: &[&str], path: &Path, errors: &mut Errors) {
    for field in fields {
        required(source, field, path, errors);
    }
}

fn empty_dir(source: &Value, path: &Path, errors: &mut Errors) {
    if text(source, "sizeLimit").starts_with('-') {
        errors.forbidden(
            &path.child("sizeLimit"),
            "SizeLimit field must be a valid resource quantity",
        );
    }
}

pub fn host_path(source: &Value, path: &Path, errors: &mut Errors) {
    let given = text(source, "path");
    if given.is_empty() {
        errors.required(&path.child("path"), "");
        return;
    }
    no_backsteps(&path.child("path"), given, errors);
    one_of_if_set(source, "type", HOST_PATH_TYPES, path, errors);
}

fn git_repo(source: &Value, path: &Path, errors: &mut Errors) {
    required(source, "repository", path, errors);
    descending(&path.child("directory"), text(source, "directory"), errors);
}

pub fn disk_of(source: &Value, id: &str, path: &Path, errors: &mut Errors) {
    required(source, id, path, errors);
    let partition = int(source, "partition").unwrap_or(0);
    if !(0..=255).contains(&partition) {
        errors.invalid(&path.child("partition"), partition, "must be between 1 and 255, inclusive");
    }
}

/// ConfigMap and Secret as files.
fn files(source: &Value, name: &str, path: &Path, errors: &mut Errors) {
    required(source, name, path, errors);
    file_mode(source, "defaultMode", path, errors);
    let items = path.child("items");
    for (index, item) in list(source, "items").iter().enumerate() {
        key_to_path(item, &items.index(index), errors);
    }
}

/// A key and the file that it becomes.
pub fn key_to_path(item: &Value, path: &Path, errors: &mut Errors) {
    required(item, "key", path, errors);
    required(item, "path", path, errors);
    descending_unreserved(&path.child("path"), text(item, "path"), errors);
    file_mode(item, "mode", path, errors);
}

fn image(source: &Value, path: &Path, errors: &mut Errors) {
    required(source, "reference", path, errors);
    let policy = text(source, "pullPolicy");
    one_of(&path.child("pullPolicy"), policy, super::containers::PULL_POLICIES, errors);
}
