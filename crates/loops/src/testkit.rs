//! What the cases of loops are made of.

use serde::de::DeserializeOwned;
use skiff_base::Time;
use skiff_json::Value;
use std::sync::Arc;

/// The moment of a case in which time does not matter.
pub fn now() -> Time {
    "2026-01-01T01:00:00Z".parse().expect("a time")
}

/// What loops see of an object.
pub fn view<V: DeserializeOwned>(value: Value) -> Arc<V> {
    Arc::new(skiff_json::from_value(value).expect("the case is a valid view"))
}

/// Puts what a case says over what all cases of its kind say, field by field.
pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.into_iter().for_each(|(k, v)| merge(into.entry(k).or_insert(Value::Null), v));
        }
        (into, from) => *into = from,
    }
}
