//! What may change in a pod: nearly nothing, and what else is shown as a difference.

use super::{annotations, diff, internal, resize, status, whole};
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::{Object, at};
use skiff_json::{Map, Value};

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                         `spec.tolerations` (only additions to existing tolerations),\
                         `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// A create or an update of a pod.
pub fn pod(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    whole(new, errors);
    match old {
        None => create(new, errors),
        Some(old) => update(new, old, errors),
    }
}

/// A write through an entry of the pod.
pub fn part(entry: &str, new: &Object, old: &Object, errors: &mut Errors) {
    match entry {
        "status" => status::status(new, old, errors),
        "ephemeralcontainers" => ephemeral(new, old, errors),
        "resize" => {
            whole(new, errors);
            resize::resize(new, old, errors);
        }
        _ => {}
    }
}

fn create(pod: &Object, errors: &mut Errors) {
    let (null, path) = (Value::Null, Path::new("spec"));
    let spec = pod.at("spec").unwrap_or(&null);
    if !list(spec, "ephemeralContainers").is_empty() {
        errors.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
    }
    if !text(spec, "nodeName").is_empty() && !list(spec, "schedulingGates").is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.forbidden(&path.child("nodeName"), why);
    }
    annotations::agree(pod.at("metadata").unwrap_or(&null), spec, &path, errors);
}

fn update(new: &Object, old: &Object, errors: &mut Errors) {
    let (null, path) = (Value::Null, Path::new("spec"));
    let (before, after) = (old.at("spec").unwrap_or(&null), new.at("spec").unwrap_or(&null));
    let metadata = [new, old].map(|pod| pod.at("metadata").unwrap_or(&null));
    annotations::update(metadata[0], metadata[1], &Path::new("metadata.annotations"), errors);
    for field in ["containers", "initContainers"] {
        if !same_containers(after, before, field, &path, errors) {
            return;
        }
    }
    if !deadline(after, before, &path.child("activeDeadlineSeconds"), errors) {
        return;
    }
    added_tolerations(after, before, &path.child("tolerations"), errors);
    deleted_gates(after, before, &path.child("schedulingGates"), errors);
    if after == before {
        return;
    }
    let mut munged = after.clone();
    restore(&mut munged, before);
    if !list(before, "schedulingGates").is_empty() {
        gated(&mut munged, before, &path, errors);
    }
    let (before, munged) =
        (internal::pretty("PodSpec", before), internal::pretty("PodSpec", &munged));
    if before != munged {
        let difference = diff::unified(&before, &munged);
        let why = format!("pod updates may not change fields other than {UPDATABLE}\n{difference}");
        errors.forbidden(&path, &why);
    }
}

/// Whether there are as many containers as before; their images may have changed, but not to nothing.
fn same_containers(
    after: &Value,
    before: &Value,
    field: &str,
    path: &Path,
    errors: &mut Errors,
) -> bool {
    let path = path.child(field);
    if list(after, field).len() != list(before, field).len() {
        errors.forbidden(&path, "pod updates may not add or remove containers");
        return false;
    }
    for (index, container) in list(after, field).iter().enumerate() {
        let here = path.index(index);
        let image = text(container, "image");
        if image.is_empty() {
            errors.required(&here.child("image"), "");
        }
        if image.trim() != image {
            let why = "must not have leading or trailing whitespace";
            errors.invalid(&here.child("image"), image, why);
        }
    }
    true
}

/// A deadline may come and may come nearer; whether the rest is worth looking at.
fn deadline(after: &Value, before: &Value, path: &Path, errors: &mut Errors) -> bool {
    let field = "activeDeadlineSeconds";
    match (int(after, field), int(before, field)) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            let why = format!("must be between 0 and {}, inclusive", i32::MAX);
            errors.invalid(path, new, &why);
            false
        }
        (Some(new), Some(old)) if old < new => {
            errors.invalid(path, new, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            errors.invalid(
                path,
                Value::Null,
                "must not update from a positive integer to nil value",
            );
            true
        }
        _ => true,
    }
}

fn added_tolerations(after: &Value, before: &Value, path: &Path, errors: &mut Errors) {
    let without_seconds = |toleration: &Value| {
        let mut map = toleration.as_object().cloned().unwrap_or_else(Map::new);
        map.remove("tolerationSeconds");
        map
    };
    let now: Vec<_> = list(after, "tolerations").iter().map(without_seconds).collect();
    if list(before, "tolerations").iter().any(|old| !now.contains(&without_seconds(old))) {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        return errors.forbidden(path, why);
    }
    super::placement::tolerations(after, &Path::new("spec"), errors);
}

fn deleted_gates(after: &Value, before: &Value, path: &Path, errors: &mut Errors) {
    let known: Vec<&str> =
        list(before, "schedulingGates").iter().map(|gate| text(gate, "name")).collect();
    for (index, gate) in list(after, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        if !known.contains(&name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(&path.index(index).child("name"), &why);
        }
    }
}

/// Puts back what may change, so that only what may not is left to differ.
fn restore(munged: &mut Value, before: &Value) {
    for field in ["containers", "initContainers"] {
        let images: Vec<Option<Value>> =
            list(before, field).iter().map(|container| at(container, "image").cloned()).collect();
        let containers = super::super::default::items(munged, field);
        for (container, image) in containers.zip(images) {
            put(container, "image", image);
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        put(munged, field, at(before, field).cloned());
    }
    let field = "terminationGracePeriodSeconds";
    if int(before, field).is_some_and(|seconds| seconds < 0) && int(munged, field) == Some(1) {
        put(munged, field, at(before, field).cloned());
    }
}

fn put(value: &mut Value, field: &str, to: Option<Value>) {
    let Some(map) = value.as_object_mut() else { return };
    match to {
        Some(to) => drop(map.insert(field.to_owned(), to)),
        None => drop(map.remove(field)),
    }
}

/// While a pod is gated, its choice of nodes may become narrower (KEP-3838).
fn gated(munged: &mut Value, before: &Value, path: &Path, errors: &mut Errors) {
    let kept = |key: &str, value: &Value| {
        at(munged, "nodeSelector").and_then(|selector| selector.get(key)) == Some(value)
    };
    if !entries(before, "nodeSelector").all(|(key, value)| kept(key, value)) {
        let shown = at(munged, "nodeSelector").cloned().unwrap_or(Value::Null);
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.invalid(&path.child("nodeSelector"), shown, why);
    }
    put(munged, "nodeSelector", at(before, "nodeSelector").cloned());
    let field = "affinity.nodeAffinity";
    let (was, is) = (at(before, field).cloned(), at(munged, field).cloned());
    if was == is {
        return;
    }
    narrower(is.as_ref(), was.as_ref(), &path.child(field), errors);
    match (at(munged, "affinity").is_some(), at(before, "affinity").is_some(), was) {
        (false, _, None) => {}
        (false, _, Some(was)) => {
            put(munged, "affinity", Some(skiff_json::json!({"nodeAffinity": was})))
        }
        (true, false, _)
            if at(munged, "affinity.podAffinity").is_none()
                && at(munged, "affinity.podAntiAffinity").is_none() =>
        {
            put(munged, "affinity", None);
        }
        (true, _, was) => put(&mut munged["affinity"], "nodeAffinity", was),
    }
}

fn narrower(new: Option<&Value>, old: Option<&Value>, path: &Path, errors: &mut Errors) {
    let field = "requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let terms = |affinity: Option<&Value>| affinity.map_or(Vec::new(), |a| list(a, field).to_vec());
    let (new, old) = (terms(new), terms(old));
    let path = path.child(field);
    if !old.is_empty() && old.len() != new.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return internal::invalid_list(errors, &path, "NodeSelectorTerm", &new, why);
    }
    for (index, (new, old)) in new.iter().zip(&old).enumerate() {
        let fields = ["matchExpressions", "matchFields"];
        let empty = fields.iter().all(|field| list(old, field).is_empty());
        let filled = fields.iter().any(|field| !list(new, field).is_empty());
        let begins = fields.iter().all(|field| list(new, field).starts_with(list(old, field)));
        if !begins || (empty && filled) {
            let why = "only additions are allowed (no mutations or deletions)";
            internal::invalid(errors, &path.index(index), "NodeSelectorTerm", new, why);
        }
    }
}

fn ephemeral(new: &Object, old: &Object, errors: &mut Errors) {
    whole(new, errors);
    if old.annotation(annotations::MIRROR).is_some() {
        *errors = Errors::new();
        return errors.forbidden(&Path::new(""), "static pods do not support ephemeral containers");
    }
    let path = Path::new("spec.ephemeralContainers");
    for before in old.list("spec.ephemeralContainers") {
        let name = text(before, "name");
        let after = new.list("spec.ephemeralContainers").iter().find(|c| text(c, "name") == name);
        match after {
            None => {
                let why = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.forbidden(&path, &why);
            }
            Some(after) => {
                let [was, is] = [before, after].map(|c| internal::pretty("EphemeralContainer", c));
                if was != is {
                    let difference = diff::unified(&was, &is);
                    let why = format!(
                        "existing ephemeral containers {name:?} may not be changed\n{difference}"
                    );
                    errors.forbidden(&path, &why);
                }
            }
        }
    }
}
