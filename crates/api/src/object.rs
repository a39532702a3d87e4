//! Object: one Kubernetes object as a JSON tree, with the accessors that everything needs.
//!
//! A tree lives for one request; what is kept is the encoded body. Paths are dotted field names (`spec.replicas`);
//! label and annotation keys hold dots themselves and have accessors of their own.

use crate::quantity::Quantity;
use skiff_json::{Map, Value};

/// A JSON object with `metadata`; `apiVersion` and `kind` may be there or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Object(Value);

/// The empty map that absent maps read as.
static EMPTY: std::sync::LazyLock<Map> = std::sync::LazyLock::new(Map::new);

impl Object {
    /// Takes a tree; anything but a JSON object becomes an empty one (the decoder refuses those before).
    pub fn new(value: Value) -> Object {
        Object(if value.is_object() { value } else { Value::Object(Map::new()) })
    }

    pub fn value(&self) -> &Value {
        &self.0
    }

    pub fn value_mut(&mut self) -> &mut Value {
        &mut self.0
    }

    pub fn into_value(self) -> Value {
        self.0
    }

    /// The value at a dotted path; null counts as absent.
    pub fn at(&self, path: &str) -> Option<&Value> {
        at(&self.0, path)
    }

    /// The text at a path; empty when absent.
    pub fn text(&self, path: &str) -> &str {
        self.at(path).and_then(Value::as_str).unwrap_or("")
    }

    pub fn int(&self, path: &str) -> Option<i64> {
        self.at(path).and_then(Value::as_i64)
    }

    pub fn flag(&self, path: &str) -> bool {
        self.at(path).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The list at a path; empty when absent.
    pub fn list(&self, path: &str) -> &[Value] {
        self.at(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The map at a path; empty when absent.
    pub fn map(&self, path: &str) -> &Map {
        self.at(path).and_then(Value::as_object).unwrap_or(&EMPTY)
    }

    /// Sets a value, making the objects on the way.
    pub fn set(&mut self, path: &str, value: impl Into<Value>) {
        set(&mut self.0, path, value.into());
    }

    /// Sets a value where there is none yet.
    pub fn set_absent(&mut self, path: &str, value: impl Into<Value>) {
        if self.at(path).is_none() {
            self.set(path, value);
        }
    }

    /// Takes a value out.
    pub fn remove(&mut self, path: &str) -> Option<Value> {
        remove(&mut self.0, path)
    }

    /// Makes `path` what it is in `other` (absent if absent there).
    pub fn copy_from(&mut self, other: &Object, path: &str) {
        match other.at(path) {
            Some(value) => self.set(path, value.clone()),
            None => {
                self.remove(path);
            }
        }
    }

    pub fn api_version(&self) -> &str {
        self.text("apiVersion")
    }
    pub fn kind(&self) -> &str {
        self.text("kind")
    }
    pub fn name(&self) -> &str {
        self.text("metadata.name")
    }
    pub fn namespace(&self) -> &str {
        self.text("metadata.namespace")
    }
    pub fn uid(&self) -> &str {
        self.text("metadata.uid")
    }
    pub fn resource_version(&self) -> &str {
        self.text("metadata.resourceVersion")
    }
    pub fn deleting(&self) -> bool {
        self.at("metadata.deletionTimestamp").is_some()
    }
    pub fn finalizers(&self) -> impl Iterator<Item = &str> {
        self.list("metadata.finalizers").iter().filter_map(Value::as_str)
    }
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        texts(self.map("metadata.labels"))
    }
    pub fn label(&self, key: &str) -> Option<&str> {
        self.map("metadata.labels").get(key).and_then(Value::as_str)
    }
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.map("metadata.annotations").get(key).and_then(Value::as_str)
    }

    /// Sets an annotation (its key may hold dots).
    pub fn annotate(&mut self, key: &str, value: &str) {
        self.set_absent("metadata.annotations", Value::Object(Map::new()));
        if let Some(Value::Object(map)) = at_mut(&mut self.0, "metadata.annotations") {
            map.insert(key.to_owned(), value.into());
        }
    }

    /// The owner that controls this object, if any.
    pub fn controller(&self) -> Option<&Value> {
        self.list("metadata.ownerReferences")
            .iter()
            .find(|owner| owner.get("controller") == Some(&Value::Bool(true)))
    }
}

/// The value at a dotted path below `value`; null counts as absent.
pub fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .try_fold(value, |value, field| value.get(field))
        .filter(|value| !value.is_null())
}

/// A text of a value; empty where there is none.
pub fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or("")
}

/// An amount of a value.
pub fn quantity(value: &Value, path: &str) -> Option<Quantity> {
    Quantity::parse(at(value, path)?.as_str()?).ok()
}

/// A whole number of a value.
pub fn int(value: &Value, path: &str) -> Option<i64> {
    at(value, path).and_then(Value::as_i64)
}

/// Whether a flag of a value is set.
pub fn flag(value: &Value, path: &str) -> bool {
    at(value, path) == Some(&Value::Bool(true))
}

/// The items of a list of a value.
pub fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The entries of a map of a value, in the order of their keys.
pub fn entries<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let map = at(value, path).and_then(Value::as_object).into_iter().flatten();
    let mut all: Vec<(&str, &Value)> = map.map(|(key, value)| (key.as_str(), value)).collect();
    all.sort_by_key(|(key, _)| *key);
    all.into_iter()
}

/// The same, to be changed.
pub fn at_mut<'a>(value: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('.')
        .try_fold(value, |value, field| value.get_mut(field))
        .filter(|value| !value.is_null())
}

/// Sets the value at a dotted path, making (or replacing non-objects by) objects on the way.
pub fn set(root: &mut Value, path: &str, value: Value) {
    let mut place = root;
    for field in path.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let map = place.as_object_mut().expect("it was just made an object");
        place = map.entry(field).or_insert(Value::Null);
    }
    *place = value;
}

/// Takes the value at a dotted path out.
pub fn remove(root: &mut Value, path: &str) -> Option<Value> {
    match path.rsplit_once('.') {
        Some((parent, field)) => at_mut(root, parent)?.as_object_mut()?.remove(field),
        None => root.as_object_mut()?.remove(path),
    }
}

/// The entries of a map whose values are texts.
pub fn texts(map: &Map) -> impl Iterator<Item = (&str, &str)> {
    map.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

/// The texts of a list.
pub fn strings(list: &[Value]) -> Vec<&str> {
    list.iter().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn paths_read_and_write() {
        let mut it = Object::new(json!({"metadata": {"name": "a", "labels": {"x.y/z": "1"}}}));
        it.set("spec.replicas", 3);
        it.set_absent("spec.replicas", 4);
        it.annotate("example.com/why", "because");
        assert_eq!((it.name(), it.int("spec.replicas")), ("a", Some(3)));
        assert_eq!(
            (it.label("x.y/z"), it.annotation("example.com/why")),
            (Some("1"), Some("because"))
        );
        assert_eq!(it.remove("spec.replicas"), Some(json!(3)));
        assert_eq!(it.at("spec.replicas"), None);
        assert_eq!(it.remove("no.such.path"), None);
    }
}
