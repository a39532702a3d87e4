//! Does an applied configuration fit the schema? Server-side apply merges before it decodes, so it
//! must know first.
//!
//! The messages are what `kubectl apply --server-side` shows; value validation is not done here.

use std::collections::BTreeSet;
use std::fmt::Write;

use skiff_json::Value;

use super::element;
use super::place::{Place, find};
use crate::schema::{Node, Shape, Struct};

/// Every way in which the object does not fit; empty when it does.
pub(super) fn check(object: &Value, root: &Struct) -> Vec<String> {
    let mut checker = Checker { path: Vec::new(), errors: Vec::new() };
    checker.fields(object, root, root.open);
    checker.errors
}

/// One message for all errors of an object.
pub(super) fn message(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        many => format!(
            "errors:\n{}",
            many.iter().map(|e| format!("  {e}")).collect::<Vec<_>>().join("\n")
        ),
    }
}

struct Checker {
    path: Vec<String>,
    errors: Vec<String>,
}

impl Checker {
    fn fail(&mut self, message: String) {
        let path = element::show_path(&self.path);
        self.errors.push(if path.is_empty() { message } else { format!("{path}: {message}") });
    }

    fn at(&mut self, key: String, below: impl FnOnce(&mut Self)) {
        self.path.push(key);
        below(self);
        self.path.pop();
    }

    /// `open` once means open all the way down: unknown fields are kept below
    /// preserve-unknown-fields.
    fn fields(&mut self, value: &Value, it: &Struct, open: bool) {
        let map = match value {
            Value::Object(map) => map,
            Value::Null => return,
            other => return self.fail(format!("expected map, got &{{{}}}", show(other))),
        };
        for (key, value) in map {
            match find(it, key) {
                Some(field) => self.at(element::field(key), |c| c.node(value, &field.node, open)),
                None if open => {}
                None => {
                    self.at(element::field(key), |c| c.fail("field not declared in schema".into()));
                    return;
                }
            }
        }
    }

    fn node(&mut self, value: &Value, node: &Node, open: bool) {
        match &node.shape {
            Shape::Any => {}
            Shape::Struct(it) => self.fields(value, it, open || it.open),
            Shape::Map(values) => match value {
                Value::Object(map) => {
                    for (key, value) in map {
                        self.at(element::field(key), |c| c.node(value, values, open));
                    }
                }
                Value::Null => {}
                other => self.fail(format!("expected map, got &{{{}}}", show(other))),
            },
            Shape::List(items) => match value {
                Value::Array(list) => self.list(list, items, Place::of(node), open),
                Value::Null => {}
                other => self.fail(format!("expected list, got &{{{}}}", show(other))),
            },
            shape => self.scalar(value, shape),
        }
    }

    fn list(&mut self, list: &[Value], items: &Node, place: Place, open: bool) {
        let mut seen = BTreeSet::new();
        for (i, item) in list.iter().enumerate() {
            let key = match place {
                Place::Set | Place::Keyed(..) => match place.key_of(item) {
                    Ok(key) => key,
                    Err(error) => return self.fail(format!("element {i}: {error}")),
                },
                _ => format!("i:{i}"),
            };
            if seen.contains(&key) {
                let mut shown = String::new();
                element::show(&mut shown, &key);
                self.fail(format!("duplicate entries for key {shown}"));
            }
            if !matches!(place, Place::Leaf) {
                seen.insert(key.clone());
            }
            self.at(key, |c| c.node(item, items, open));
        }
    }

    fn scalar(&mut self, value: &Value, shape: &Shape) {
        if value.is_null() {
            return;
        }
        let message = match shape {
            Shape::Int32 | Shape::Int64 | Shape::Float if !value.is_number() => {
                format!("expected numeric (int or float), got {}", go_type(value))
            }
            Shape::String | Shape::Bytes if !value.is_string() => {
                format!(
                    "expected string, got &value.valueUnstructured{{Value:{}}}",
                    go_syntax(value)
                )
            }
            Shape::Bool if !value.is_boolean() => {
                format!("expected boolean, got &{{{}}}", show(value))
            }
            _ if value.is_object() || value.is_array() => {
                format!("expected any scalar, got &{{{}}}", show(value))
            }
            _ => return,
        };
        self.fail(message);
    }
}

/// A value as upstream's messages show it: `map[a:1 b:[x y]]`.
pub(crate) fn show(value: &Value) -> String {
    fn write_value(out: &mut String, value: &Value) {
        match value {
            Value::Null => out.push_str("<nil>"),
            Value::String(text) => out.push_str(text),
            Value::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(' ');
                    }
                    write_value(out, item);
                }
                out.push(']');
            }
            Value::Object(map) => {
                out.push_str("map[");
                for (i, (key, value)) in map.iter().enumerate() {
                    if i > 0 {
                        out.push(' ');
                    }
                    out.push_str(key);
                    out.push(':');
                    write_value(out, value);
                }
                out.push(']');
            }
            other => write!(out, "{other}").expect("writing to a string cannot fail"),
        }
    }
    let mut out = String::new();
    write_value(&mut out, value);
    out
}

/// A value in the other spelling of upstream's messages: `map[string]interface {}{"a":1}`.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let items: Vec<String> =
                map.iter().map(|(k, v)| format!("{k:?}:{}", go_syntax(v))).collect();
            format!("map[string]interface {{}}{{{}}}", items.join(", "))
        }
        other => other.to_string(),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
        Value::Null => "<nil>",
    }
}
