//! Environment variables and where their values come from.

use crate::core::configmap::key_problems;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::names;
use skiff_api::object::at;
use skiff_api::quantity::Quantity;
use skiff_json::Value;

/// What variables may tell about a pod.
const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

const BYTE_DIVISORS: &[&str] =
    &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

pub fn env(container: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("env");
    for (index, variable) in list(container, "env").iter().enumerate() {
        let here = path.index(index);
        match text(variable, "name") {
            "" => errors.required(&here.child("name"), ""),
            name => env_name(&here.child("name"), name, errors),
        }
        if let Some(from) = at(variable, "valueFrom") {
            value_from(from, text(variable, "value"), &here.child("valueFrom"), errors);
        }
    }
}

fn value_from(from: &Value, value: &str, path: &Path, errors: &mut Errors) {
    let mut sources = 0;
    let fields = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    for (field, source) in fields.iter().filter_map(|field| Some((*field, at(from, field)?))) {
        sources += 1;
        let here = path.child(field);
        match field {
            "fieldRef" => field_selector(source, FIELDS, &here, errors),
            "resourceFieldRef" => resource_selector(source, &here, errors),
            "fileKeyRef" => file_key(source, &here, errors),
            _ => key(source, &here, errors),
        }
    }
    let why = match sources {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        _ if !value.is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.invalid(path, "", why);
}

/// A field of the pod, among those that may be told.
pub fn field_selector(selector: &Value, known: &[&str], path: &Path, errors: &mut Errors) {
    let (version, field) = (text(selector, "apiVersion"), text(selector, "fieldPath"));
    if version.is_empty() {
        return errors.required(&path.child("apiVersion"), "");
    }
    if field.is_empty() {
        return errors.required(&path.child("fieldPath"), "");
    }
    let unknown = |what: String, errors: &mut Errors| {
        errors.invalid(
            &path.child("fieldPath"),
            field,
            &format!("error converting fieldPath: {what}"),
        );
    };
    if version != "v1" {
        return unknown(format!("unsupported pod version: {version}"), errors);
    }
    let subscripted = field.strip_suffix("']").and_then(|rest| rest.split_once("['"));
    match subscripted {
        Some(("metadata.annotations", key)) => qualified(path, &key.to_lowercase(), errors),
        Some(("metadata.labels", key)) => qualified(path, key, errors),
        Some(_) => {
            unknown(format!("field label does not support subscript: {field}"), errors);
        }
        None => {
            let convertible = [
                "metadata.annotations",
                "metadata.labels",
                "spec.restartPolicy",
                "spec.schedulerName",
                "status.phase",
                "spec.host",
            ];
            if !FIELDS.contains(&field) && !convertible.contains(&field) {
                return unknown(format!("field label not supported: {field}"), errors);
            }
            // An old name of `spec.nodeName`.
            let field = if field == "spec.host" { "spec.nodeName" } else { field };
            if !known.contains(&field) {
                errors.not_supported(&path.child("fieldPath"), field, known);
            }
        }
    }
}

/// An amount that a container has.
pub fn resource_selector(selector: &Value, path: &Path, errors: &mut Errors) {
    let resource = text(selector, "resource");
    let huge = |prefix: &&str| resource.starts_with(*prefix);
    if resource.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !RESOURCES.contains(&resource)
        && !["limits.hugepages-", "requests.hugepages-"].iter().any(huge)
    {
        errors.not_supported(&path.child("resource"), resource, RESOURCES);
    }
    divisor(selector, path, errors);
}

/// The unit in which an amount is told.
pub fn divisor(selector: &Value, path: &Path, errors: &mut Errors) {
    let given = text(selector, "divisor");
    let Ok(quantity) = Quantity::parse(given) else { return };
    if quantity.is_zero() {
        return;
    }
    let resource = text(selector, "resource");
    let (shown, what) =
        (quantity.to_string(), resource.split_once('.').map_or("", |(_, name)| name));
    let (known, units, name): (&[&str], &str, &str) = match what {
        "cpu" => (&["1m", "1"], "1m and 1", "cpu"),
        "memory" => (BYTE_DIVISORS, "", "memory"),
        "ephemeral-storage" => (BYTE_DIVISORS, "", "local ephemeral storage"),
        _ if what.starts_with("hugepages-") => (BYTE_DIVISORS, "", "hugepages"),
        _ => return,
    };
    if known.contains(&&*shown) {
        return;
    }
    let units = if units.is_empty() { known.join(", ") } else { units.to_owned() };
    let why = format!("only divisor's values {units} are supported with the {name} resource");
    errors.invalid(&path.child("divisor"), resource, &why);
}

/// A key of a ConfigMap or Secret.
fn key(selector: &Value, path: &Path, errors: &mut Errors) {
    subdomain(&path.child("name"), text(selector, "name"), errors);
    match text(selector, "key") {
        "" => errors.required(&path.child("key"), ""),
        key => refuse(&path.child("key"), key, key_problems(key), errors),
    }
}

fn file_key(selector: &Value, path: &Path, errors: &mut Errors) {
    match text(selector, "key") {
        "" => errors.required(&path.child("key"), ""),
        key => env_name(&path.child("key"), key, errors),
    }
    match text(selector, "volumeName") {
        "" => errors.required(&path.child("volumeName"), ""),
        name => label(&path.child("volumeName"), name, errors),
    }
    match text(selector, "path") {
        "" => errors.required(&path.child("path"), ""),
        file => no_backsteps(&path.child("path"), file, errors),
    }
}

pub fn env_from(container: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("envFrom");
    for (index, source) in list(container, "envFrom").iter().enumerate() {
        let here = path.index(index);
        let prefix = text(source, "prefix");
        if !prefix.is_empty() {
            env_name(&here.child("prefix"), prefix, errors);
        }
        let mut sources = 0;
        for field in ["configMapRef", "secretRef"] {
            let Some(reference) = at(source, field) else { continue };
            sources += 1;
            let name_path = here.child(field);
            match text(reference, "name") {
                "" => errors.required(&name_path.child("name"), ""),
                name => {
                    // The name is checked like a prefix of a generated one: a dash may end it.
                    let stem =
                        name.strip_suffix('-').map_or(name.to_owned(), |stem| format!("{stem}a"));
                    refuse(&name_path.child("name"), name, names::subdomain(&stem), errors);
                }
            }
        }
        match sources {
            0 => errors.invalid(&path, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid(&path, "", "may not have more than one field specified at a time"),
        }
    }
}

/// A variable out of a file needs a volume that is an emptyDir (KEP-3721).
pub fn file_volumes(spec: &Value, path: &Path, errors: &mut Errors) {
    super::visit(spec, path, &mut |container, here| {
        let env = here.child("env");
        for (index, variable) in list(container, "env").iter().enumerate() {
            let Some(reference) = at(variable, "valueFrom.fileKeyRef") else { continue };
            let name = text(reference, "volumeName");
            let (variable, field) = (env.index(index), "valueFrom.fileKeyRef.volumeName");
            let at_name = variable.child(field);
            let volume = list(spec, "volumes").iter().find(|volume| text(volume, "name") == name);
            match volume.map(|volume| at(volume, "emptyDir")) {
                None => errors.not_found(&at_name, name),
                Some(None) => {
                    errors.invalid(&at_name, name, "referenced volume must be of type emptyDir")
                }
                Some(Some(_)) => {}
            }
        }
    });
}
