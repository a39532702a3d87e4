//! How ownership sees one place of an object: is it one piece, or owned part by part, and by which
//! names.
//!
//! This is the only file of `apply` that reads the schema tree. A place that the schema does not
//! name is *deduced*: maps are owned key by key, everything else as one piece (custom resources
//! without a schema, open structs).

use std::borrow::Cow;

use skiff_json::{Map, Value};

use super::element;
use crate::schema::{Emit, Field, Node, Shape, Struct, Topology};

/// What stands at one place.
#[derive(Clone, Copy)]
pub(super) enum Place<'s> {
    /// A scalar, or something that is owned and replaced as a whole.
    Leaf,
    Fields(&'s Struct),
    Values(&'s Node),
    /// Not in the schema: maps have parts, lists have none.
    Deduced,
    /// A list of scalars without order of ownership.
    Set,
    /// A list of structs that are found by these fields.
    Keyed(&'s [Cow<'static, str>], &'s Node),
}

impl<'s> Place<'s> {
    pub fn of(node: &'s Node) -> Place<'s> {
        match (&node.shape, &node.topology) {
            (_, Topology::Atomic) => Place::Leaf,
            (Shape::Struct(it), _) => Place::Fields(it),
            (Shape::Map(values), _) => Place::Values(values),
            (Shape::List(_), Topology::Set) => Place::Set,
            (Shape::List(items), Topology::Keyed(keys)) => Place::Keyed(keys, items),
            (Shape::Any, _) => Place::Deduced,
            _ => Place::Leaf,
        }
    }

    /// The place below a key of a map-like value, and whether the schema names that key.
    pub fn child(&self, key: &str) -> (Place<'s>, bool) {
        match self {
            Place::Fields(it) => match find(it, key) {
                Some(field) => (Place::of(&field.node), true),
                None => (Place::Deduced, false),
            },
            Place::Values(node) => (Place::of(node), false),
            _ => (Place::Deduced, false),
        }
    }

    pub fn is_map(&self) -> bool {
        matches!(self, Place::Fields(_) | Place::Values(_) | Place::Deduced)
    }

    /// The place of this list's items.
    pub fn items(&self) -> Place<'s> {
        match self {
            Place::Keyed(_, node) => Place::of(node),
            _ => Place::Leaf,
        }
    }

    /// The trie key of an item of a set or keyed list.
    pub fn key_of(&self, item: &Value) -> Result<String, String> {
        match self {
            Place::Keyed(keys, node) => keyed(keys, node, item),
            _ => match item {
                Value::Object(_) => {
                    Err("associative list without keys has an element that's a map type".into())
                }
                Value::Array(_) => {
                    Err("not supported: associative list with lists as elements".into())
                }
                Value::Null => {
                    Err("associative list without keys has an element that's an explicit null"
                        .into())
                }
                scalar => Ok(element::value(scalar)),
            },
        }
    }
}

/// The field of that name.
pub(crate) fn find<'s>(it: &'s Struct, name: &str) -> Option<&'s Field> {
    let at = it.fields.binary_search_by(|field| field.name.as_ref().cmp(name)).ok()?;
    it.fields.get(at)
}

fn keyed(keys: &[Cow<'static, str>], node: &Node, item: &Value) -> Result<String, String> {
    let item = match item {
        Value::Object(item) => item,
        Value::Null => {
            return Err("associative list with keys may not have a null element".into());
        }
        _ => return Err("associative list with keys may not have non-map elements".into()),
    };
    let mut found: Vec<(&str, Cow<Value>)> = Vec::with_capacity(keys.len());
    for key in keys {
        match item.get(key.as_ref()) {
            Some(value) => found.push((key, Cow::Borrowed(value))),
            None => {
                found.extend(default_of(node, key).map(|value| (key.as_ref(), Cow::Owned(value))))
            }
        }
    }
    if found.is_empty() {
        let names: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] \
             (and doesn't have default values for any key fields)",
            names.join(" ")
        ));
    }
    found.sort_by_key(|(name, _)| *name);
    Ok(element::keyed(found.iter().map(|(name, value)| (*name, value.as_ref()))))
}

/// The value that an absent key field stands for: its default, or the empty value of a field that
/// is always shown.
fn default_of(node: &Node, key: &str) -> Option<Value> {
    let Shape::Struct(it) = &node.shape else { return None };
    let field = find(it, key)?;
    if let Some(text) = &field.default {
        return skiff_json::from_str(text).ok();
    }
    match (&field.node.shape, field.emit) {
        (Shape::String, Emit::Always) => Some(Value::String(String::new())),
        (Shape::Int32 | Shape::Int64, Emit::Always) => Some(Value::from(0)),
        _ => None,
    }
}

/// The object as a map; null and absent are a map without entries.
pub(super) fn entries(value: Option<&Value>) -> Option<&Map> {
    value.and_then(Value::as_object).filter(|map| !map.is_empty())
}

/// The items of a list; null and absent are a list without items.
pub(super) fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Equal as the API sees it: 1 and 1.0 are the same number.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same(a, b))
        }
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len()
                && x.iter().zip(y).all(|((ka, va), (kb, vb))| ka == kb && same(va, vb))
        }
        _ => a == b,
    }
}
