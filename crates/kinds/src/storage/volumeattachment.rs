//! VolumeAttachment: that a volume is to be attached to a node, and how far that is (API reference:
//! config-and-storage-resources).

use super::bytes;
use super::csinode::only_status;
use crate::core::persistentvolume::{Context, spec as volume_spec};
use skiff_api::check::*;
use skiff_api::errors::{ErrorType, Errors, Path};
use skiff_api::kind::{Cell, Column, Hooks, Kind, age_column, column, name_column};
use skiff_api::names;
use skiff_api::object::{Object, at};
use skiff_api::view::Resource;
use skiff_json::{Value, json};

pub const RESOURCE: Resource =
    Resource::of("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment").cluster();

const MESSAGE_MOST: usize = 1024;
const VOLUME: &str = "spec.source.persistentVolumeName";

pub fn kind() -> Kind {
    Kind {
        columns: vec![
            name_column(),
            Column {
                format: "name".into(),
                ..column("Attacher", Cell::With(|it| it.text("spec.attacher").into()))
            },
            column("PV", Cell::With(|it| it.text(VOLUME).into())),
            column("Node", Cell::With(|it| it.text("spec.nodeName").into())),
            Column {
                type_: "boolean".into(),
                ..column("Attached", Cell::With(|it| it.flag("status.attached").into()))
            },
            age_column(),
        ],
        subresources: vec![only_status()],
        conditional: true,
        hooks: Hooks {
            prepare: |it, old| match old {
                Some(old) => it.copy_from(old, "status"),
                None => it.set("status", json!({"attached": false})),
            },
            validate: |new, old, errors| validate(new, old, errors),
            validate_part: |_, new, old, errors| validate(new, Some(old), errors),
            ..Hooks::NONE
        },
        shows_deleted: true,
        ..Kind::new(RESOURCE)
    }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let (null, path) = (Value::Null, Path::new("spec"));
    let spec = new.at("spec").unwrap_or(&null);
    source(spec, &path.child("source"), errors);
    subdomain(&path.child("nodeName"), text(spec, "nodeName"), errors);
    status(new.at("status").unwrap_or(&null), &Path::new("status"), errors);
    if let Some(name) = new.at(VOLUME).and_then(Value::as_str) {
        subdomain(&Path::new(VOLUME), name, errors);
    }
    attacher(&path.child("attacher"), text(spec, "attacher"), errors);
    if let Some(old) = old {
        fixed("spec", new, old, errors);
    }
}

/// The name of a driver, in the words of the schema's own rules (`k8s:format` in the Go types).
fn attacher(path: &Path, name: &str, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(path, "");
    } else if name.len() > names::LABEL_MOST {
        let why = format!("Too long: may not be more than {} characters", names::LABEL_MOST);
        errors.push(ErrorType::TooLong, path, why);
    } else if !names::subdomain(&name.to_lowercase()).is_empty() {
        errors.invalid(path, name, CASELESS);
    }
}

const CASELESS: &str = "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and \
                        end with an alphanumeric character (e.g. 'Example.com', regex used for validation is \
                        '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// A volume by its name, or what one would be made of.
fn source(spec: &Value, path: &Path, errors: &mut Errors) {
    let why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (at(spec, "source.inlineVolumeSpec"), at(spec, "source.persistentVolumeName")) {
        (None, None) => errors.required(path, why),
        (Some(_), Some(_)) => errors.forbidden(path, why),
        (None, Some(name)) if name == "" => {
            let why = "must specify non empty persistentVolumeName";
            errors.required(&path.child("persistentVolumeName"), why);
        }
        (None, Some(_)) => {}
        (Some(inline), None) => {
            volume_spec(inline, Context::Inline, &path.child("inlineVolumeSpec"), errors);
        }
    }
}

fn status(status: &Value, path: &Path, errors: &mut Errors) {
    let told: Vec<(&str, &Value)> = entries(status, "attachmentMetadata").collect();
    bytes(&told, &path.child("attachmentMetadata"), errors);
    for field in ["attachError", "detachError"] {
        let Some(error) = at(status, field) else { continue };
        let here = path.child(field);
        if text(error, "message").len() > MESSAGE_MOST {
            errors.too_long(&here.child("message"), MESSAGE_MOST);
        }
        if let Some(code) = int(error, "errorCode").filter(|code| *code < 0) {
            let why = format!("must be between 0 and {}, inclusive", i32::MAX);
            errors.invalid(&here.child("errorCode"), code, &why);
        }
    }
}
