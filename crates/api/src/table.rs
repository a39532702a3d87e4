//! Table: what `kubectl get` shows, computed by the server from a kind's columns (API reference: meta/v1 Table).

use crate::jsonpath;
use crate::kind::{Cell, Column, Kind};
use crate::object::Object;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The column definitions of a kind.
pub fn columns(kind: &Kind) -> Value {
    let definition = |c: &Column| {
        json!({"name": c.name, "type": c.sort, "format": c.format, "description": c.description,
               "priority": c.priority})
    };
    kind.columns.iter().map(definition).collect()
}

/// The cells of one object; `now` is for ages. The columns of a built-in kind read what is stored, whatever
/// face of it is shown.
pub fn cells(kind: &Kind, object: &Object, now: Timestamp) -> Value {
    let mut stored = object.clone();
    if let (Some(convert), true) = (kind.convert, kind.manner.stored_columns) {
        (convert.to_stored)(&mut stored);
    }
    kind.columns.iter().map(|column| cell(column, &stored, now)).collect()
}

fn cell(column: &Column, object: &Object, now: Timestamp) -> Value {
    match &column.cell {
        Cell::With(show) => show(object, now),
        Cell::Age(path) => jsonpath::age(object.text(path), now).into(),
        Cell::Path(path) => {
            let absent = || if column.sort == "string" { "<none>".into() } else { Value::Null };
            object.at(path).cloned().unwrap_or_else(absent)
        }
        Cell::JsonPath(path) => jsonpath::cell(path, &column.sort, object.value(), now),
    }
}
