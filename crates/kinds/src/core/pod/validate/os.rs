//! What a pod may say depends on the operating system that it names.

use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::at;
use skiff_json::Value;

const POD_FIELDS: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];
const SPEC_FIELDS: &[&str] = &["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"];
const CONTAINER_FIELDS: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

pub fn os(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(os) = at(spec, "os") else { return };
    let here = path.child("os");
    match text(os, "name") {
        "" => errors.required(&here.child("name"), ""),
        "linux" => linux(spec, path, errors),
        "windows" => windows(spec, path, errors),
        other => errors.not_supported(&here, other, &["linux", "windows"]),
    }
}

fn linux(spec: &Value, path: &Path, errors: &mut Errors) {
    let why = "windows options cannot be set for a linux pod";
    let field = "securityContext.windowsOptions";
    if at(spec, field).is_some() {
        errors.forbidden(&path.child(field), why);
    }
    super::visit(spec, path, &mut |container, here| {
        if at(container, field).is_some() {
            errors.forbidden(&here.child(field), why);
        }
    });
}

fn windows(spec: &Value, path: &Path, errors: &mut Errors) {
    let why = "cannot be set for a windows pod";
    let context = path.child("securityContext");
    for field in POD_FIELDS {
        let found = at(spec, "securityContext").and_then(|context| at(context, field));
        if found.is_some_and(|value| value.as_array().is_none_or(|items| !items.is_empty())) {
            errors.forbidden(&context.child(field), why);
        }
    }
    for field in SPEC_FIELDS {
        let unset =
            |value: &Value| matches!(*field, "hostPID" | "hostIPC") && value == &Value::Bool(false);
        if at(spec, field).is_some_and(|value| !unset(value)) {
            errors.forbidden(&path.child(field), why);
        }
    }
    super::visit(spec, path, &mut |container, here| {
        let context = here.child("securityContext");
        for field in CONTAINER_FIELDS {
            if at(container, "securityContext").is_some_and(|found| at(found, field).is_some()) {
                errors.forbidden(&context.child(field), why);
            }
        }
    });
}

/// Containers that are processes of a Windows host: all of a pod or none (KEP-1981).
pub fn host_process(spec: &Value, path: &Path, errors: &mut Errors) {
    let field = "securityContext.windowsOptions.hostProcess";
    let of_pod = at(spec, field).and_then(Value::as_bool);
    let (mut all, mut processes) = (0, 0);
    super::visit(spec, path, &mut |container, here| {
        all += 1;
        let own = at(container, field).and_then(Value::as_bool);
        if let (Some(of_pod), Some(own)) = (of_pod, own)
            && of_pod != own
        {
            let why = format!(
                "pod hostProcess value must be identical if both are specified, was {of_pod}"
            );
            errors.invalid(&here.child(field), own, &why);
        }
        processes += usize::from(own.or(of_pod) == Some(true));
    });
    if processes == 0 {
        return;
    }
    if processes != all {
        let why = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.invalid(path, "", why);
    }
    if !flag(spec, "hostNetwork") {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(&path.child("hostNetwork"), false, why);
    }
}
