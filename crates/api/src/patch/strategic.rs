//! Strategic merge patch: a merge that knows from the schema which lists are merged by which key.
//!
//! Directives in the patch say more: `$patch: delete|replace`, `$retainKeys`,
//! `$setElementOrder/list`, `$deleteFromPrimitiveList/list`. Custom resources have no such schema;
//! the server refuses the media type for them. (API concepts, "Strategic merge patch")

use skiff_json::{Map, Value};

use super::{Error, Patched};
use crate::apply::show;
use crate::json;
use crate::schema::{Node, Shape, Strategy, Struct};

mod list;

const DIRECTIVE: &str = "$patch";
pub(super) const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
pub(super) const ELEMENT_ORDER: &str = "$setElementOrder";

type Object = Map;

/// Applies the patch in `bytes` to `object`, a kind of `schema`.
pub fn apply(object: Value, bytes: &[u8], schema: &Struct) -> Result<Patched, Error> {
    let parsed = json::parse(bytes).map_err(|_| Error::Unreadable(super::INVALID.to_string()))?;
    let patch = match parsed.value {
        Value::Object(patch) => patch,
        Value::Null => Object::new(),
        other => return Err(Error::Unreadable(super::not_an_object(&other))),
    };
    let Value::Object(object) = object else {
        return Err(Error::Failed("the object to patch is not a map".to_string()));
    };
    let object = merge(object, patch, Level::Struct(schema))?;
    Ok(Patched { object: Value::Object(object), odd: parsed.odd })
}

/// What the schema says about the fields of a map.
#[derive(Clone, Copy)]
enum Level<'s> {
    Struct(&'s Struct),
    Values(&'s Node),
    Unknown,
}

impl<'s> Level<'s> {
    fn of(node: &'s Node) -> Level<'s> {
        match &node.shape {
            Shape::Struct(it) => Level::Struct(it),
            Shape::Map(values) => Level::Values(values),
            _ => Level::Unknown,
        }
    }

    /// The node and the strategy of a field.
    fn field(&self, key: &str) -> Result<(Option<&'s Node>, &'s Strategy), Error> {
        match self {
            Level::Struct(it) => match crate::apply::find(it, key) {
                Some(field) => Ok((Some(&field.node), &field.strategy)),
                None => Err(Error::Failed(format!(
                    "unable to find api field in struct {} for the json field {key:?}",
                    it.go
                ))),
            },
            Level::Values(node) => Ok((Some(node), &Strategy::Default)),
            Level::Unknown => Ok((None, &Strategy::Default)),
        }
    }
}

fn level(node: Option<&Node>) -> Level<'_> {
    node.map_or(Level::Unknown, Level::of)
}

/// The level of the items of a list.
fn items(node: Option<&Node>) -> Level<'_> {
    match node.map(|node| &node.shape) {
        Some(Shape::List(item)) => Level::of(item),
        _ => Level::Unknown,
    }
}

fn merge(mut original: Object, mut patch: Object, at: Level) -> Result<Object, Error> {
    match patch.get(DIRECTIVE).and_then(Value::as_str) {
        Some("replace") => {
            patch.remove(DIRECTIVE);
            return Ok(patch);
        }
        Some("delete") => return Ok(Object::new()),
        None if !patch.contains_key(DIRECTIVE) => {}
        _ => return Err(unknown_directive(&patch)),
    }
    retain_keys(&mut original, &mut patch)?;
    order_lists(&mut original, &mut patch, at)?;
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM) {
            let Some(list) = list.strip_prefix('/') else {
                return Err(Error::Unreadable(
                    "invalid patch format of primitive list".to_string(),
                ));
            };
            list::delete_from(&mut original, list, value);
            continue;
        }
        merge_field(&mut original, key, value, at)?;
    }
    Ok(original)
}

fn merge_field(original: &mut Object, key: String, value: Value, at: Level) -> Result<(), Error> {
    if value.is_null() {
        original.remove(&key);
        return Ok(());
    }
    let merged = match (original.remove(&key), value) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            let (node, strategy) = at.field(&key)?;
            let merged = match strategy {
                Strategy::Replace => new,
                _ => merge(old, new, level(node))?,
            };
            Some(Value::Object(merged))
        }
        (Some(Value::Array(old)), Value::Array(new)) => {
            let (node, strategy) = at.field(&key)?;
            let merged = match strategy {
                Strategy::MergeSet => list::merge(old, new, None, items(node))?,
                Strategy::Merge { key, .. } => list::merge(old, new, Some(key), items(node))?,
                _ => new,
            };
            Some(Value::Array(merged))
        }
        (Some(_), scalar @ (Value::Bool(_) | Value::Number(_) | Value::String(_))) => Some(scalar),
        (_, mut value) => {
            discard_nulls(&mut value);
            without_directives(value)
        }
    };
    if let Some(merged) = merged {
        original.insert(key, merged);
    }
    Ok(())
}

fn unknown_directive(map: &Object) -> Error {
    let directive = map.get(DIRECTIVE).map(show).unwrap_or_default();
    Error::Failed(format!("unknown patch type: {directive} in map: {}", show_map(map)))
}

fn show_map(map: &Object) -> String {
    show(&Value::Object(map.clone()))
}

/// `$retainKeys`: fields of the original that the list does not name go.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), Error> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let bad = || Error::Unreadable("invalid patch format of retainKeys".to_string());
    let Value::Array(keys) = keys else { return Err(bad()) };
    let named = |key: &str| keys.iter().any(|it| it.as_str() == Some(key));
    let unnamed = patch.iter().any(|(key, value)| {
        let other = key.starts_with(DELETE_FROM) || key.starts_with(ELEMENT_ORDER);
        !value.is_null() && !other && !named(key)
    });
    if unnamed {
        return Err(bad());
    }
    original.retain(|key, _| named(key));
    Ok(())
}

/// `$setElementOrder/list`: merges that list and puts it in the order that the directive gives.
fn order_lists(original: &mut Object, patch: &mut Object, at: Level) -> Result<(), Error> {
    let directives: Vec<String> =
        patch.keys().filter(|key| key.starts_with(ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let order = match patch.remove(&directive) {
            Some(Value::Array(order)) => order,
            other => return Err(bad_type("[]interface {}", &other.unwrap_or(Value::Null))),
        };
        let Some(key) =
            directive.strip_prefix(ELEMENT_ORDER).and_then(|rest| rest.strip_prefix('/'))
        else {
            return Err(Error::Unreadable(
                "invalid patch format of setElementOrder list".to_string(),
            ));
        };
        let old = as_list(original.get(key).cloned())?;
        let new = as_list(patch.remove(key))?;
        let (node, strategy) = at.field(key)?;
        let merge_key = match strategy {
            Strategy::Merge { key, .. } => Some(key.as_ref()),
            _ => None,
        };
        list::check_order(new.as_deref().unwrap_or_default(), &order, merge_key)?;
        let merges = matches!(strategy, Strategy::Merge { .. } | Strategy::MergeSet);
        let merged = match (old.clone(), new.clone()) {
            (Some(old), None) => old,
            (None, Some(new)) => new.into_iter().filter_map(without_directives).collect(),
            (Some(old), Some(new)) if merges => list::merge(old, new, merge_key, items(node))?,
            (Some(_), Some(new)) => new,
            (None, None) => continue,
        };
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        list::one_type(&old, &new)?;
        let ordered = list::in_order(merged, &order, &old, merge_key)?;
        original.insert(key.to_string(), Value::Array(ordered));
    }
    Ok(())
}

fn as_list(value: Option<Value>) -> Result<Option<Vec<Value>>, Error> {
    match value {
        None => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(other) => Err(bad_type("[]interface {}", &other)),
    }
}

fn bad_type(expected: &str, found: &Value) -> Error {
    let found = match found {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    Error::Failed(format!("expected a {expected}, but received a {found}"))
}

fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(discard_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

/// A value that is new in the object, without what was meant for an old one; `None` if nothing is
/// left of it.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => Some(Value::Object(
            map.into_iter()
                .filter_map(|(key, value)| without_directives(value).map(|value| (key, value)))
                .collect(),
        )),
        Value::Array(items) => {
            Some(Value::Array(items.into_iter().filter_map(without_directives).collect()))
        }
        other => Some(other),
    }
}
