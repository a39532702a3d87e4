//! Converted: what a webhook that converts objects may answer (API reference: ConversionReview). It is a stranger's:
//! what comes back must be the same objects in the same order, and of their metadata it changes labels and
//! annotations alone. Pure.

use skiff_api::errors::{Errors, Path};
use skiff_api::json::{MAX_DEPTH, too_deep};
use skiff_api::meta::{validate_annotations, validate_labels};
use skiff_api::object::{Object, text};
use skiff_json::Value;

/// The converted objects of an answer.
pub fn read(mut review: Value, version: &str, uid: &str) -> Result<Vec<Value>, String> {
    let told = |key: &str| text(&review, key).to_owned();
    let (given, kind) = (told("apiVersion"), told("kind"));
    let wanted = format!("apiextensions.k8s.io/{version}");
    if version == "v1" && (&*given, &*kind) != (&*wanted, "ConversionReview") {
        let shown = if given.is_empty() { "/" } else { &*given };
        return Err(format!(
            "expected webhook response of {wanted}, Kind=ConversionReview, got {shown}, Kind={kind}"
        ));
    }
    let response = match review.get_mut("response") {
        None | Some(Value::Null) => return Err("no response provided".into()),
        Some(response) => response,
    };
    let given = text(response, "uid");
    if version == "v1" && given != uid {
        return Err(format!("expected response.uid={uid:?}, got {given:?}"));
    }
    match (text(response, "result.status"), text(response, "result.message")) {
        ("Success", _) => {}
        (status, "") => {
            return Err(format!("response.result.status was '{status}', not 'Success'"));
        }
        (_, message) => return Err(message.to_owned()),
    }
    match response.get_mut("convertedObjects").map(Value::take) {
        Some(Value::Array(objects)) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

/// What is wrong with a converted object.
pub enum Wrong {
    Object(String),
    Metadata(String),
}

/// A converted object with the metadata that it had.
pub fn check(
    mut made: Object,
    sent: &Object,
    (kind, version): (&str, &str),
) -> Result<Object, Wrong> {
    let (given, given_kind) = (made.text("apiVersion"), made.text("kind"));
    if given != version {
        let why = format!("invalid groupVersion (expected {version}, received {given})");
        return Err(Wrong::Object(why));
    }
    if given_kind != kind {
        let why = format!("invalid kind (expected {kind}, received {given_kind})");
        return Err(Wrong::Object(why));
    }
    // What it becomes is stored and shown.
    if let Some(path) = too_deep(made.value()) {
        let why = format!("{path} must not be nested more than {MAX_DEPTH} levels deep");
        return Err(Wrong::Object(why));
    }
    for (what, field) in
        [("name", "metadata.name"), ("namespace", "metadata.namespace"), ("UID", "metadata.uid")]
    {
        let (had, has) = (sent.text(field), made.text(field));
        if had != has {
            return Err(Wrong::Object(format!("must have the same {what}: {had} != {has}")));
        }
    }
    let has = match made.at("metadata") {
        Some(Value::Object(has)) => has.clone(),
        Some(_) => return Err(Wrong::Metadata("invalid metadata in converted object".into())),
        None => return Err(Wrong::Metadata("missing metadata in converted object".into())),
    };
    made.copy_from(sent, "metadata");
    for field in ["labels", "annotations"] {
        let (path, had) = (format!("metadata.{field}"), sent.at(&format!("metadata.{field}")));
        match has.get(field) {
            None | Some(Value::Null) => drop(made.remove(&path)),
            Some(value) => {
                if Some(value) != had {
                    check_texts(value, field).map_err(Wrong::Metadata)?;
                }
                made.set(&path, value.clone());
            }
        }
    }
    Ok(made)
}

fn check_texts(value: &Value, field: &str) -> Result<(), String> {
    let Value::Object(texts) = value else {
        return Err(format!("invalid metadata.{field} in converted object"));
    };
    if let Some((key, _)) = texts.iter().find(|(_, text)| !text.is_string()) {
        return Err(format!("metadata.{field}[{key}] must be a string"));
    }
    let mut errors = Errors::new();
    match field {
        "labels" => validate_labels(&Path::new("metadata.labels"), texts, &mut errors),
        _ => validate_annotations(&Path::new("metadata.annotation"), texts, &mut errors),
    }
    if errors.is_empty() { Ok(()) } else { Err(errors.text()) }
}
