//! Annotations that say something about a pod: some older than the fields that replaced them.

use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::at;
use skiff_json::Value;

pub const MIRROR: &str = "kubernetes.io/config.mirror";
pub const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// The annotations of a pod or a template, whose metadata stands at `path`'s parent.
pub fn annotations(metadata: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    let text_of = |key: &str| {
        metadata.get("annotations").and_then(|map| map.get(key)).and_then(Value::as_str)
    };
    if let Some(value) = text_of(MIRROR)
        && text(spec, "nodeName").is_empty()
    {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        errors.invalid(&path.key(MIRROR), value, why);
    }
    if let Some(cost) = text_of(DELETION_COST) {
        let signed = cost.strip_prefix('-').unwrap_or(cost);
        let canonical = !signed.starts_with('+') && (signed == "0" || !signed.starts_with('0'));
        if !canonical || cost.parse::<i32>().is_err() {
            errors.invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer");
        }
    }
    let given =
        || entries(metadata, "annotations").filter_map(|(key, value)| Some((key, value.as_str()?)));
    for (key, profile) in given() {
        if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            seccomp(&path.child(key), profile, errors);
        }
    }
    for (key, profile) in given() {
        let Some(name) = key.strip_prefix(APP_ARMOR) else { continue };
        let mut known = false;
        super::visit(spec, path, &mut |container, _| known |= text(container, "name") == name);
        if !known {
            errors.invalid(&path.key(key), name, "container not found");
        }
        let valid = matches!(profile, "" | "runtime/default" | "unconfined");
        if !valid && !profile.starts_with("localhost/") {
            let why = format!("invalid AppArmor profile name: {profile:?}");
            errors.invalid(&path.key(key), profile, &why);
        }
    }
}

fn seccomp(path: &Path, profile: &str, errors: &mut Errors) {
    match profile {
        "runtime/default" | "docker/default" | "unconfined" => {}
        _ => match profile.strip_prefix("localhost/") {
            Some(file) => descending(path, file, errors),
            None => errors.invalid(path, profile, "must be a valid seccomp profile"),
        },
    }
}

/// Annotations and the fields that replaced them say the same.
pub fn agree(metadata: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    let text_of = |key: &str| {
        metadata.get("annotations").and_then(|map| map.get(key)).and_then(Value::as_str)
    };
    if let (Some(profile), Some(given)) =
        (at(spec, "securityContext.seccompProfile"), text_of(SECCOMP_POD))
    {
        same(profile, given, "seccomp", &path.child("securityContext.seccompProfile"), errors);
    }
    super::visit(spec, path, &mut |container, here| {
        let key = format!("{SECCOMP_CONTAINER}{}", text(container, "name"));
        let profile = at(container, "securityContext.seccompProfile");
        if let (Some(profile), Some(given)) = (profile, text_of(&key)) {
            same(profile, given, "seccomp", &here.child("securityContext.seccompProfile"), errors);
        }
    });
    if text(spec, "os.name") == "windows" {
        return;
    }
    super::visit(spec, path, &mut |container, here| {
        let key = format!("{APP_ARMOR}{}", text(container, "name"));
        let field = "securityContext.appArmorProfile";
        let profile = at(container, field).or_else(|| at(spec, field));
        if let (Some(profile), Some(given)) = (profile, text_of(&key)) {
            same(profile, given, "apparmor", &here.child(field), errors);
        }
    });
}

fn same(profile: &Value, given: &str, what: &str, path: &Path, errors: &mut Errors) {
    let types = format!("{what} type in annotation and field must match");
    match text(profile, "type") {
        "Unconfined" if given != "unconfined" => errors.forbidden(&path.child("type"), &types),
        "RuntimeDefault"
            if given != "runtime/default" && !(what == "seccomp" && given == "docker/default") =>
        {
            errors.forbidden(&path.child("type"), &types);
        }
        "Localhost" => match given.strip_prefix("localhost/") {
            None => errors.forbidden(&path.child("type"), &types),
            Some(file) if file != text(profile, "localhostProfile") => {
                let why = format!("{what} profile in annotation and field must match");
                errors.forbidden(&path.child("localhostProfile"), &why);
            }
            Some(_) => {}
        },
        _ => {}
    }
}

/// What an update may not do to annotations.
pub fn update(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let value =
        |map: &Value, key: &str| map.get("annotations").and_then(|map| map.get(key)).cloned();
    for (key, before) in entries(old, "annotations") {
        if value(new, key).as_ref() == Some(before) {
            continue;
        }
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&path.key(key), "may not remove or update AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&path.key(key), "may not remove or update mirror pod annotation");
        }
    }
    for (key, _) in entries(new, "annotations").filter(|(key, _)| value(old, key).is_none()) {
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&path.key(key), "may not add AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&path.key(key), "may not add mirror pod annotation");
        }
    }
}
