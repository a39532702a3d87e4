//! Event: what a part of the cluster tells users about an object (API reference: cluster-resources).
//!
//! The stored form of events. `events.k8s.io` shows the same objects under other field names.

use skiff_api::check;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Column, Hooks, Kind, column, wide};
use skiff_api::object::Object;
use skiff_api::table::Shown;
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource = Resource::core("events", "Event");

const TEXT_MOST: usize = 128;
const NOTE_MOST: usize = 1024;

/// What selectors may name, in the words of the core group.
const SELECTABLE: [&str; 11] = [
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

pub fn kind() -> Kind {
    Kind {
        short: vec!["ev".into()],
        creates_on_update: true,
        converts_fields: true,
        selectable: SELECTABLE.map(Into::into).into(),
        columns: columns(),
        hooks: Hooks { validate, fields: Some(fields), ..Hooks::NONE },
        ..Kind::new(RESOURCE)
    }
}

fn columns() -> Vec<Column> {
    vec![
        column("Last Seen", Cell::Since(last_seen)),
        column("Type", text("type")),
        column("Reason", text("reason")),
        column("Object", Cell::With(|event| object(event).into())),
        wide("Subobject", text("involvedObject.fieldPath")),
        wide("Source", Cell::With(|event| source(event).into())),
        column("Message", Cell::With(|event| event.text("message").trim().into())),
        wide("First Seen", Cell::Since(first_seen)),
        wide("Count", Cell::With(|event| count(event).to_string().into())),
        Column { format: "name".into(), ..wide("Name", text("metadata.name")) },
    ]
}

/// A text that shows as nothing where it is absent.
fn text(path: &'static str) -> Cell {
    match path {
        "type" => Cell::With(|event| event.text("type").into()),
        "reason" => Cell::With(|event| event.text("reason").into()),
        "metadata.name" => Cell::With(|event| event.name().into()),
        _ => Cell::With(|event| event.text("involvedObject.fieldPath").into()),
    }
}

fn first_seen(event: &Object) -> Shown {
    match event.text("firstTimestamp") {
        "" => Shown::ago(event.text("eventTime")),
        first => Shown::ago(first),
    }
}

fn last_seen(event: &Object) -> Shown {
    match (event.at("series"), event.text("lastTimestamp")) {
        (Some(_), _) => Shown::ago(event.text("series.lastObservedTime")),
        (None, "") => first_seen(event),
        (None, last) => Shown::ago(last),
    }
}

fn count(event: &Object) -> i64 {
    match event.at("series") {
        Some(_) => event.int("series.count").unwrap_or(0),
        None => event.int("count").filter(|count| *count != 0).unwrap_or(1),
    }
}

fn object(event: &Object) -> String {
    let kind = event.text("involvedObject.kind").to_lowercase();
    match event.text("involvedObject.name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Object) -> String {
    let first = |one: &'static str, other: &'static str| match event.text(one) {
        "" => event.text(other),
        text => text,
    };
    let component = first("source.component", "reportingComponent");
    match first("source.host", "reportingInstance") {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    }
}

/// The facets of an event, of its stored form.
pub fn fields(event: &Object, put: &mut dyn FnMut(&'static str, &str)) {
    for path in SELECTABLE.iter().filter(|path| **path != "source") {
        put(path, event.text(path));
    }
    let component = event.text("source.component");
    put("source", if component.is_empty() { event.text("reportingComponent") } else { component });
}

fn validate(new: &Object, _: Option<&Object>, errors: &mut Errors) {
    validate_stored(new, "reportingComponent", errors);
}

/// The rules of both groups. `controller` is what the face calls the reporting controller.
pub fn validate_stored(event: &Object, controller: &str, errors: &mut Errors) {
    let (own, involved) = (event.namespace(), event.text("involvedObject.namespace"));
    let path = Path::new("involvedObject.namespace");
    let mismatch = match (event.text("eventTime"), involved) {
        ("", "") => !matches!(own, "" | "default"),
        ("", other) => own != other,
        (_, "") => !matches!(own, "default" | "kube-system"),
        _ => false,
    };
    if mismatch {
        errors.invalid(&path, involved, "does not match event.namespace");
    }
    if event.text("eventTime").is_empty() {
        return;
    }
    let (name, path) = (event.text("reportingComponent"), Path::new(controller));
    if name.is_empty() {
        errors.required(&path, "");
    }
    check::qualified(&path, name, errors);
    for (field, most) in
        [("reportingInstance", TEXT_MOST), ("action", TEXT_MOST), ("reason", TEXT_MOST)]
    {
        if event.text(field).is_empty() {
            errors.required(&Path::new(field), "");
        }
        limit(event, field, most, errors);
    }
    limit(event, "message", NOTE_MOST, errors);
}

fn limit(event: &Object, field: &str, most: usize, errors: &mut Errors) {
    if event.text(field).len() > most {
        let why = format!("can have at most {most} characters");
        errors.invalid(&Path::new(field), Value::from(""), &why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn columns_of_old_and_new_events() {
        let now: jiff::Timestamp = "2026-01-01T00:01:00Z".parse().expect("a time");
        let old = Object::new(json!({"involvedObject": {"kind": "Pod", "name": "a"}, "count": 3,
            "source": {"component": "kubelet", "host": "n1"},
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:50Z"}));
        assert_eq!(last_seen(&old).at(now), "10s");
        assert_eq!(first_seen(&old).at(now), "60s");
        assert_eq!(
            (object(&old), source(&old), count(&old)),
            ("pod/a".into(), "kubelet, n1".into(), 3)
        );
        let new = Object::new(json!({"eventTime": "2026-01-01T00:00:30.000000Z"}));
        assert_eq!((last_seen(&new).at(now), count(&new)), ("30s".into(), 1));
    }

    #[test]
    fn namespaces_must_agree() {
        let mut errors = Errors::new();
        let event = json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "b"}});
        validate(&Object::new(event), None, &mut errors);
        assert_eq!(
            errors.text(),
            "involvedObject.namespace: Invalid value: \"b\": does not match event.namespace"
        );
    }
}
