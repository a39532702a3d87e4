//! Event of `events.k8s.io`: the other face of the core group's events, with other field names and stricter rules.

use crate::core::event as core;
use skiff_api::errors::{Errors, Path, show};
use skiff_api::kind::{Convert, Hooks, Kind};
use skiff_api::object::Object;
use skiff_api::schema::{builtin, emit};
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource = Resource::of("events.k8s.io", "v1", "events", "Event");

/// Names here, and in the core group.
const RENAMED: [(&str, &str); 7] = [
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];
/// Selectable names here, and those that are stored.
const SELECTABLE: [(&str, &str); 10] = [
    ("reason", "reason"),
    ("regarding.kind", "involvedObject.kind"),
    ("regarding.namespace", "involvedObject.namespace"),
    ("regarding.name", "involvedObject.name"),
    ("regarding.uid", "involvedObject.uid"),
    ("regarding.apiVersion", "involvedObject.apiVersion"),
    ("regarding.resourceVersion", "involvedObject.resourceVersion"),
    ("regarding.fieldPath", "involvedObject.fieldPath"),
    ("reportingController", "reportingComponent"),
    ("type", "type"),
];

pub fn kind() -> Kind {
    let stored = core::kind();
    Kind {
        short: vec!["ev".into()],
        creates_on_update: true,
        converts_fields: true,
        selectable: SELECTABLE.map(|(name, _)| name.into()).into(),
        columns: stored.columns,
        storage: stored.storage,
        convert: Some(Convert { to_stored, from_stored }),
        hooks: Hooks { validate, fields: Some(fields), field_name, ..Hooks::NONE },
        ..Kind::new(RESOURCE)
    }
}

fn to_stored(event: &mut Object) {
    for (here, there) in RENAMED {
        if let Some(value) = event.remove(here) {
            event.set(there, value);
        }
    }
    let schema = builtin("io.k8s.api.core.v1.Event").expect("the table has it");
    emit::emit(event.value_mut(), schema);
}

fn from_stored(event: &mut Object) {
    for (here, there) in RENAMED {
        if let Some(value) = event.remove(there) {
            event.set(here, value);
        }
    }
    let schema = builtin("io.k8s.api.events.v1.Event").expect("the table has it");
    emit::emit(event.value_mut(), schema);
}

fn field_name(name: &str) -> &str {
    SELECTABLE.iter().find(|(here, _)| *here == name).map_or(name, |(_, stored)| stored)
}

fn stored(event: &Object) -> Object {
    let mut event = event.clone();
    to_stored(&mut event);
    event
}

fn fields(event: &Object, put: &mut dyn FnMut(&'static str, &str)) {
    core::fields(&stored(event), put);
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let new = stored(new);
    core::validate_stored(&new, "reportingController", errors);
    match old {
        None => validate_new(&new, errors),
        Some(old) => validate_update(&new, &stored(old), errors),
    }
}

fn validate_new(event: &Object, errors: &mut Errors) {
    validate_series(event, errors);
    if event.text("eventTime").is_empty() {
        errors.required(&Path::new("eventTime"), "");
    }
    let type_ = event.text("type");
    if !matches!(type_, "Normal" | "Warning") {
        errors.invalid(&Path::new("type"), "", &format!("has invalid value: {type_}"));
    }
    let unset = |name: &'static str, set: bool, errors: &mut Errors| {
        if set {
            errors.invalid(&Path::new(name), "", "needs to be unset");
        }
    };
    unset("firstTimestamp", event.at("firstTimestamp").is_some(), errors);
    unset("lastTimestamp", event.at("lastTimestamp").is_some(), errors);
    unset("count", event.int("count").is_some_and(|count| count != 0), errors);
    let source = ["source.component", "source.host"].iter().any(|at| !event.text(at).is_empty());
    unset("source", source, errors);
}

fn validate_update(new: &Object, old: &Object, errors: &mut Errors) {
    if new.at("series") != old.at("series") {
        validate_series(new, errors);
    }
    for field in [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingComponent",
        "reportingInstance",
    ] {
        if new.at(field) != old.at(field) {
            let name = if field == "reportingComponent" { "reportingController" } else { field };
            let value = new.at(field).cloned().unwrap_or(Value::Null);
            let body = format!("Invalid value: {}: field is immutable", show(&value));
            errors.push(skiff_api::errors::ErrorType::Invalid, &Path::new(name), body);
        }
    }
}

fn validate_series(event: &Object, errors: &mut Errors) {
    if event.at("series").is_none() {
        return;
    }
    if event.int("series.count").unwrap_or(0) < 2 {
        errors.invalid(&Path::new("series.count"), "", "should be at least 2");
    }
    if event.text("series.lastObservedTime").is_empty() {
        errors.required(&Path::new("series.lastObservedTime"), "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn both_faces_are_one_event() {
        let mut event =
            Object::new(json!({"metadata": {"name": "a"}, "note": "n", "eventTime": null,
            "regarding": {"kind": "Pod"}, "reportingController": "c"}));
        to_stored(&mut event);
        assert_eq!((event.text("message"), event.text("involvedObject.kind")), ("n", "Pod"));
        from_stored(&mut event);
        assert_eq!((event.text("note"), event.text("regarding.kind")), ("n", "Pod"));
        assert_eq!(field_name("regarding.kind"), "involvedObject.kind");
    }
}
