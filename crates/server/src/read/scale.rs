//! Scale: one view for everything that has a number of replicas (API reference: autoscaling/v1 Scale).

use crate::request::Request;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Column, Does, ScalePaths, age_column, name_column, number};
use skiff_api::object::Object;
use skiff_api::selector::Selector;
use skiff_json::{Value, json};

/// Whether a request is about the Scale of an object.
pub fn is_asked(request: &Request) -> bool {
    let entry = request.kind.subresource(&request.resource.subresource);
    entry.is_some_and(|entry| matches!(entry.does, Does::Scale(_)))
}

/// The columns of `kubectl get --subresource=scale`.
pub fn columns() -> Vec<Column> {
    vec![
        name_column(),
        number("Desired", Cell::With(|scale| count(scale, "spec.replicas"))),
        number("Available", Cell::With(|scale| count(scale, "status.replicas"))),
        age_column(),
    ]
}

/// The Scale of an object.
pub fn show(object: &Object, paths: &ScalePaths) -> Object {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.at(&format!("metadata.{field}")) {
            metadata[field] = value.clone();
        }
    }
    let mut status = json!({"replicas": object.int(&paths.status).unwrap_or(0)});
    let selector = paths.selector.as_deref().and_then(|path| object.at(path));
    let text = match selector {
        Some(Value::String(text)) => text.clone(),
        Some(value) => match Selector::of(Some(value)) {
            Ok(selector) => selector.to_string(),
            // Validation let no such selector in; a Scale without one is still a Scale.
            Err(_) => String::new(),
        },
        None => String::new(),
    };
    if !text.is_empty() {
        status["selector"] = text.into();
    }
    let mut spec = json!({});
    if let Some(replicas) = object.int(&paths.spec).filter(|n| *n != 0) {
        spec["replicas"] = replicas.into();
    }
    Object::new(json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
                       "spec": spec, "status": status}))
}

/// Puts the numbers of a Scale back into the object.
pub fn put(object: &mut Object, scale: &Object, paths: &ScalePaths) {
    object.set(&paths.spec, scale.int("spec.replicas").unwrap_or(0));
    if !scale.resource_version().is_empty() {
        object.set("metadata.resourceVersion", scale.resource_version());
    }
}

/// The numbers of a custom resource that a Scale shows must be numbers of replicas.
pub fn validate(object: &Object, paths: &ScalePaths, errors: &mut Errors) {
    for path in [&paths.spec, &paths.status] {
        let shown = format!(".{path}");
        match object.int(path) {
            Some(negative) if negative < 0 => {
                errors.invalid(&Path::new(&shown), negative, "should be a non-negative integer");
            }
            Some(large) if large > i64::from(i32::MAX) => {
                let why = format!("should be less than or equal to {}", i32::MAX);
                errors.invalid(&Path::new(&shown), large, &why);
            }
            _ => {}
        }
    }
}

fn count(scale: &Object, path: &str) -> Value {
    scale.int(path).unwrap_or(0).into()
}
