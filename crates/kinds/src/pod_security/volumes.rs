//! The volumes that a pod may have at each level: no piece of the host at `baseline`, and at `restricted` only what
//! the cluster itself provides.

use super::Pod;
use super::checks::{Found, named, plural, quoted};
use skiff_json::Value;
use std::collections::BTreeSet;

/// What a restricted pod may mount.
const ALLOWED: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// The sources of a volume: all its fields but the name.
fn sources(volume: &Value) -> impl Iterator<Item = &str> {
    let fields = volume.as_object().into_iter().flatten();
    fields.filter(|(key, value)| *key != "name" && !value.is_null()).map(|(key, _)| key.as_str())
}

fn name(volume: &Value) -> &str {
    volume["name"].as_str().unwrap_or("")
}

pub(super) fn host_path(pod: Pod, _: u64) -> Found {
    let bad = pod.list("spec.volumes").iter().filter(|it| sources(it).any(|at| at == "hostPath"));
    let bad: Vec<&str> = bad.map(name).collect();
    (!bad.is_empty()).then(|| ("hostPath volumes".into(), named("volume", &bad)))
}

pub(super) fn restricted(pod: Pod, _: u64) -> Found {
    let (mut bad, mut sorts) = (Vec::new(), BTreeSet::new());
    for volume in pod.list("spec.volumes") {
        if !sources(volume).any(|source| ALLOWED.contains(&source)) {
            bad.push(name(volume));
            sorts.insert(sources(volume).next().unwrap_or("unknown"));
        }
    }
    (!bad.is_empty()).then(|| {
        let uses = if bad.len() == 1 { "uses" } else { "use" };
        let what = plural("restricted volume type", sorts.len());
        let detail = format!("{} {uses} {what} {}", named("volume", &bad), quoted(&sorts));
        ("restricted volume types".into(), detail)
    })
}
