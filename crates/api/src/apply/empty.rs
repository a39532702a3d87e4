//! An object of a kind that holds nothing: what is shown even so.
//!
//! Ownership of a new object is measured against it, so that fields which every object shows (an
//! empty `strategy`) belong to nobody. (The emit rule of the schema: omitempty and pointers in the
//! API's types.)

use skiff_json::{Map, Value};

use crate::schema::{Emit, Field, Shape, Struct};

/// The empty object of a kind.
pub(super) fn empty(it: &Struct) -> Value {
    let mut out = Map::new();
    for field in it.fields.iter() {
        if let Some(value) = shown(field) {
            out.insert(field.name.to_string(), value);
        }
    }
    Value::Object(out)
}

fn shown(field: &Field) -> Option<Value> {
    match (field.emit, &field.node.shape) {
        (Emit::Present | Emit::NotEmpty, _) => None,
        (Emit::Null, _) => Some(Value::Null),
        (Emit::Always, Shape::Struct(it)) => Some(empty(it)),
        (Emit::Always, Shape::Bool) => Some(Value::Bool(false)),
        (Emit::Always, Shape::Int32 | Shape::Int64 | Shape::Float | Shape::IntOrString) => {
            Some(Value::from(0))
        }
        (Emit::Always, Shape::String | Shape::Duration) => Some(Value::String(String::new())),
        (Emit::Always, Shape::Quantity) => Some(Value::String("0".to_string())),
        (Emit::Always, _) => Some(Value::Null),
    }
}
