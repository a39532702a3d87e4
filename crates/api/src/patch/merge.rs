//! JSON merge patch: objects are merged, null removes, everything else replaces. (RFC 7386)

use skiff_json::{Map, Value};

use super::{Error, Patched, not_an_object, read};

/// Applies the patch in `bytes` to `object`.
pub fn apply(object: Value, bytes: &[u8]) -> Result<Patched, Error> {
    let parsed = read(bytes)?;
    match parsed.value {
        Value::Object(patch) => Ok(Patched { object: merge(object, patch), odd: parsed.odd }),
        Value::Null => Err(Error::Unreadable("Invalid JSON Patch".to_string())),
        other => Err(Error::Unreadable(format!("error decoding patch: {}", not_an_object(&other)))),
    }
}

/// The rule of RFC 7386, section 2, for a patch that is an object. A list that replaces an object
/// keeps its nulls, as upstream's library has it.
fn merge(target: Value, patch: Map) -> Value {
    let mut out = match target {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    for (key, value) in patch {
        let merged = match (out.remove(&key), value) {
            (_, Value::Null) => continue,
            (Some(old @ Value::Object(_)), Value::Object(patch)) => merge(old, patch),
            (Some(Value::Object(_)), other) => other,
            (_, mut new) => {
                prune_nulls(&mut new);
                new
            }
        };
        out.insert(key, merged);
    }
    Value::Object(out)
}

fn prune_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(prune_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(prune_nulls),
        _ => {}
    }
}
