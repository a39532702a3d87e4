//! The value of a printer column as a cell of a Table.

use skiff_json::Value;

use super::{JsonPath, show};
use crate::table::Shown;

/// The cell of a custom resource's column; null where the path finds nothing or something of
/// another type. `kind` is the column's type: `integer`, `number`, `boolean`, `string` or `date`.
pub fn cell(path: &JsonPath, kind: &str, object: &Value) -> Shown {
    let Some(value) = path.find(object).ok().and_then(|found| found.first().copied()) else {
        return Value::Null.into();
    };
    let cell = match (kind, value) {
        ("string", Value::Null) => Value::Null,
        ("string", value) => Value::String(show(value)),
        ("integer", Value::Number(number)) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().map_or(Value::Null, |number| (number as i64).into()),
        },
        ("number", Value::Number(_)) => value.clone(),
        ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) => return Shown::ago(text),
        _ => Value::Null,
    };
    cell.into()
}
