//! Resizing a running pod: its cpu and memory, and nothing else (KEP-1287).

use super::{annotations, internal};
use crate::core::pod::prepare::qos_class;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::{Object, at};
use skiff_json::{Map, Value};

pub fn resize(new: &Object, old: &Object, errors: &mut Errors) {
    let (null, path) = (Value::Null, Path::new("spec"));
    let refused = if old.annotation(annotations::MIRROR).is_some() {
        Some("static pods cannot be resized")
    } else if old.text("spec.os.name") == "windows" {
        Some("windows pods cannot be resized")
    } else {
        None
    };
    if let Some(why) = refused {
        *errors = Errors::new();
        return errors.forbidden(&Path::new(""), why);
    }
    if old.text("status.qosClass") != qos_class(new) {
        let why = "Pod QOS Class may not change as a result of resizing";
        errors.invalid(&path, new.text("status.qosClass"), why);
    }
    let running =
        old.list("status.containerStatuses").iter().find(|s| at(s, "state.running").is_some());
    if running.is_some_and(|status| at(status, "resources").is_none()) {
        errors.forbidden(&path, "Pod running on node without support for resize");
    }
    let (before, after) = (old.at("spec").unwrap_or(&null), new.at("spec").unwrap_or(&null));
    whole(before, after, &path, errors);
    if !same_order(before, after, &path, errors) {
        return;
    }
    for field in ["initContainers", "containers"] {
        let path = path.child(field);
        for (index, (now, was)) in list(after, field).iter().zip(list(before, field)).enumerate() {
            let here = path.index(index);
            removed(now, was, &here.child("resources"), "resource", errors);
        }
    }
    others(before, after, &path, errors);
}

/// The resources of the pod as a whole.
fn whole(before: &Value, after: &Value, path: &Path, errors: &mut Errors) {
    let Some(was) = at(before, "resources") else { return };
    let here = path.child("resources");
    if at(after, "resources").is_none() {
        return errors.forbidden(&here, "pod-level resources cannot be removed");
    }
    removed(after, before, &here, "pod-level resource", errors);
    if frozen(after) != frozen(before) && !was.is_null() {
        errors.forbidden(path, "only cpu and memory resources are mutable at pod-level");
    }
}

fn same_order(before: &Value, after: &Value, path: &Path, errors: &mut Errors) -> bool {
    let mut same = true;
    for field in ["containers", "initContainers"] {
        let here = path.child(field);
        let (now, was) = (list(after, field), list(before, field));
        if now.len() != was.len() {
            errors.forbidden(&here, &format!("{field} may not be added or removed on resize"));
            same = false;
            continue;
        }
        for (index, (now, was)) in now.iter().zip(was).enumerate() {
            if text(now, "name") != text(was, "name") {
                let why = format!("{field} may not be renamed or reordered on resize");
                errors.forbidden(&here.index(index).child("name"), &why);
                same = false;
            }
        }
    }
    same
}

/// What was asked for may change, not vanish.
fn removed(now: &Value, was: &Value, path: &Path, what: &str, errors: &mut Errors) {
    for field in ["requests", "limits"] {
        let full = format!("resources.{field}");
        let kept = |name: &str| at(now, &full).is_some_and(|amounts| amounts.get(name).is_some());
        if !entries(was, &full).all(|(name, _)| kept(name)) {
            errors.forbidden(&path.child(field), &format!("{what} {field} cannot be removed"));
        }
    }
}

fn others(before: &Value, after: &Value, path: &Path, errors: &mut Errors) {
    for (now, was) in list(after, "containers").iter().zip(list(before, "containers")) {
        if container(now) != container(was) {
            errors.forbidden(path, "only cpu and memory resources are mutable");
        }
    }
    let here = path.child("initContainers");
    let pairs = list(after, "initContainers").iter().zip(list(before, "initContainers"));
    for (index, (now, was)) in pairs.enumerate() {
        if container(now) != container(was) {
            let why = "only cpu and memory resources for init or sidecar containers are mutable";
            errors.forbidden(&here.index(index), why);
        }
        let restarts = |policy: &Value| text(policy, "restartPolicy") == "RestartContainer";
        if now != was && text(now, "restartPolicy") != "Always" {
            for _ in list(now, "resizePolicy").iter().filter(|policy| restarts(policy)) {
                let why = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                errors.forbidden(&here.index(index), why);
            }
        }
    }
}

/// A container as messages print it, without what may change.
fn container(container: &Value) -> String {
    let mut rest = container.clone();
    if let Some(map) = rest.as_object_mut() {
        map.insert("resources".into(), frozen(container));
    }
    internal::pretty("Container", &rest)
}

/// Resources without cpu and memory.
fn frozen(of: &Value) -> Value {
    let mut out = Map::new();
    for field in ["limits", "requests"] {
        let mut amounts: Map = Map::new();
        for (name, amount) in entries(of, &format!("resources.{field}")) {
            if !["cpu", "memory"].contains(&name) {
                amounts.insert(name.to_owned(), amount.clone());
            }
        }
        out.insert(field.to_owned(), Value::Object(amounts));
    }
    out.insert("claims".to_owned(), at(of, "resources.claims").cloned().unwrap_or(Value::Null));
    Value::Object(out)
}
