//! Makes a parsed body what Go's decoder would have made of it, in place.
//!
//! Names are matched by case, unknown fields are collected and dropped, nulls are absent, and every
//! scalar becomes canonical: quantities, times, durations, base64. What does not fit its type is
//! refused in the words of Go's encoding/json, which users know from answers of 1.37. Values stay
//! as they are otherwise: what an empty value means in an answer is `emit`'s business.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use skiff_json::{Map, Value};

use super::{Field, Node, Shape, Struct};
use crate::json::type_name;
use crate::quantity::Quantity;
use crate::time::Precision;
use crate::{duration, time};

/// What happens to unknown fields (`fieldValidation` of a request).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Strict,
    Warn,
    Ignore,
}

/// Why a body cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A value does not fit its type, in Go's words.
    #[error("{0}")]
    Type(String),
    /// `unknown field "spec.foo"`, one text each; duplicates found by the reader may be added.
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
}

/// Unknown fields beyond this many are dropped in silence, as upstream does.
const MOST_UNKNOWN: usize = 100;

/// Go reads base64 whose last symbol carries stray bits, and so do we.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Decodes an object of that type and returns the warnings: `unknown field "spec.foo"`.
pub fn decode(value: &mut Value, of: &Struct, mode: Mode) -> Result<Vec<String>, DecodeError> {
    let mut walk = Walk { unknown: Vec::new(), places: Vec::new(), names: Vec::new(), within: "" };
    walk.structure(value, of, &go_path(of))?;
    match mode {
        Mode::Ignore => Ok(Vec::new()),
        Mode::Strict if !walk.unknown.is_empty() => Err(DecodeError::Strict(walk.unknown)),
        Mode::Strict | Mode::Warn => Ok(walk.unknown),
    }
}

/// The value of a place that was null inside a list or map, where null cannot be absent.
pub fn empty(shape: &Shape) -> Value {
    match shape {
        Shape::Bool => Value::Bool(false),
        Shape::Int32 | Shape::Int64 | Shape::Float | Shape::IntOrString => Value::from(0),
        Shape::String => Value::from(""),
        Shape::Duration => Value::from("0s"),
        Shape::Quantity => Value::from("0"),
        Shape::Struct(_) => Value::Object(Map::new()),
        Shape::Any
        | Shape::Bytes
        | Shape::Time
        | Shape::MicroTime
        | Shape::Map(_)
        | Shape::List(_) => Value::Null,
    }
}

struct Walk<'a> {
    unknown: Vec<String>,
    /// The path as unknown fields print it: `spec`, `.containers`, `[0]`.
    places: Vec<String>,
    /// The path as type errors print it: field names and embedded structs, without indices.
    names: Vec<&'a str>,
    /// The Go struct whose field is being read; empty at the root.
    within: &'a str,
}

impl<'a> Walk<'a> {
    fn structure(&mut self, value: &mut Value, of: &'a Struct, go: &str) -> Done {
        let Value::Object(map) = value else { return self.mismatch(value, go) };
        for (name, mut value) in std::mem::take(map) {
            let Some(field) = of.field(&name) else {
                self.unknown_field(&name);
                if of.open {
                    map.insert(name, value);
                }
                continue;
            };
            let outer = self.within;
            let depth = self.names.len();
            self.within = &of.go;
            self.names.extend(field.inline.iter().map(|it| it.go));
            self.names.push(&field.name);
            self.enter(&name);
            if !value.is_null() {
                self.field(&mut value, field)?;
            }
            if !value.is_null() {
                map.insert(name, value);
            }
            self.places.pop();
            self.names.truncate(depth);
            self.within = outer;
        }
        Ok(())
    }

    fn field(&mut self, value: &mut Value, field: &'a Field) -> Done {
        self.node(value, &field.node, &field.go)
    }

    fn node(&mut self, value: &mut Value, node: &'a Node, go: &str) -> Done {
        match &node.shape {
            Shape::Any => Ok(()),
            Shape::Struct(of) => self.structure(value, of, go),
            Shape::List(element) => self.list(value, element, go),
            Shape::Map(element) => self.map(value, element, go),
            scalar => self.scalar(value, scalar, go),
        }
    }

    fn list(&mut self, value: &mut Value, element: &'a Node, go: &str) -> Done {
        let Value::Array(items) = value else { return self.mismatch(value, go) };
        let go = element_type(go, element);
        for (index, item) in items.iter_mut().enumerate() {
            self.places.push(format!("[{index}]"));
            self.element(item, element, &go)?;
            self.places.pop();
        }
        Ok(())
    }

    fn map(&mut self, value: &mut Value, element: &'a Node, go: &str) -> Done {
        let Value::Object(map) = value else { return self.mismatch(value, go) };
        let go = element_type(go, element);
        for (key, item) in map.iter_mut() {
            self.enter(key);
            self.element(item, element, &go)?;
            self.places.pop();
        }
        Ok(())
    }

    fn element(&mut self, item: &mut Value, element: &'a Node, go: &str) -> Done {
        if item.is_null() {
            *item = match &element.shape {
                Shape::Bytes => Value::from(""),
                shape => empty(shape),
            };
            return Ok(());
        }
        self.node(item, element, go)
    }

    fn scalar(&mut self, value: &mut Value, shape: &Shape, go: &str) -> Done {
        match (shape, &*value) {
            (Shape::Bool, Value::Bool(_))
            | (Shape::String, Value::String(_))
            | (Shape::IntOrString, Value::String(_))
            | (Shape::Float, Value::Number(_)) => Ok(()),
            (Shape::Int32, Value::Number(it)) => {
                self.integer(it, it.as_i64().is_some_and(|it| i32::try_from(it).is_ok()), go)
            }
            (Shape::Int64, Value::Number(it)) => self.integer(it, it.as_i64().is_some(), go),
            (Shape::IntOrString, Value::Number(it)) => {
                self.integer(it, it.as_i64().is_some_and(|it| i32::try_from(it).is_ok()), "int32")
            }
            (Shape::IntOrString, _) => self.mismatch(value, "int32"),
            (Shape::Bytes, Value::String(text)) => {
                *value = Value::from(bytes(text)?);
                Ok(())
            }
            (Shape::Time, Value::String(text)) => {
                *value = moment(text, Precision::Seconds)?;
                Ok(())
            }
            (Shape::MicroTime, Value::String(text)) => {
                *value = moment(text, Precision::Micros)?;
                Ok(())
            }
            (Shape::Duration, Value::String(text)) => {
                *value = duration::format(duration::parse(text).map_err(DecodeError::Type)?).into();
                Ok(())
            }
            // These three read a string by themselves and complain about that type.
            (Shape::Time | Shape::MicroTime | Shape::Duration, _) => self.mismatch(value, "string"),
            (Shape::Quantity, _) => {
                *value = quantity(value)?;
                Ok(())
            }
            _ => self.mismatch(value, go),
        }
    }

    fn integer(&self, number: &skiff_json::Number, fits: bool, go: &str) -> Done {
        if fits {
            return Ok(());
        }
        Err(self.error(&format!("number {number}"), go))
    }

    fn mismatch(&self, value: &Value, go: &str) -> Done {
        match value {
            // A null that got here stands for the whole body.
            Value::Null => Ok(()),
            other => Err(self.error(type_name(other), go)),
        }
    }

    fn error(&self, found: &str, go: &str) -> DecodeError {
        DecodeError::Type(if self.names.is_empty() {
            format!("json: cannot unmarshal {found} into Go value of type {go}")
        } else {
            let place = format!("{}.{}", self.within, self.names.join("."));
            format!("json: cannot unmarshal {found} into Go struct field {place} of type {go}")
        })
    }

    fn enter(&mut self, name: &str) {
        let dot = if self.places.is_empty() { "" } else { "." };
        self.places.push(format!("{dot}{name}"));
    }

    fn unknown_field(&mut self, name: &str) {
        // Paths may be as long as the body, and are not written out for nothing.
        if self.unknown.len() >= MOST_UNKNOWN {
            return;
        }
        self.enter(name);
        let text = format!("unknown field {:?}", self.places.concat());
        self.places.pop();
        if !self.unknown.contains(&text) {
            self.unknown.push(text);
        }
    }
}

type Done = Result<(), DecodeError>;

/// The canonical base64 of a text, or Go's error about it.
fn bytes(text: &str) -> Result<String, DecodeError> {
    let plain: String = text.chars().filter(|it| !matches!(it, '\r' | '\n')).collect();
    let decoded = BASE64.decode(&plain).map_err(|_| {
        let at = corrupt_at(text.as_bytes());
        DecodeError::Type(format!("illegal base64 data at input byte {at}"))
    })?;
    Ok(BASE64.encode(decoded))
}

/// Where Go says that a text stops being base64: at the stray byte, or at the start of the last
/// group where that has no end.
fn corrupt_at(text: &[u8]) -> usize {
    let mut symbols = 0;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'\r' | b'\n' => {}
            b'=' if symbols % 4 < 2 => return at,
            b'=' => {
                let after = |from: usize| {
                    let mut rest = text.iter().enumerate().skip(from);
                    rest.find(|(_, it)| !matches!(it, b'\r' | b'\n'))
                };
                return match (symbols % 4, after(at + 1)) {
                    (2, None) => text.len(),
                    (2, Some((second, b'='))) => after(second + 1).map_or(0, |(it, _)| it),
                    (2, Some((second, _))) => second - 1,
                    (_, rest) => rest.map_or(0, |(it, _)| it),
                };
            }
            it if it.is_ascii_alphanumeric() || matches!(it, b'+' | b'/') => symbols += 1,
            _ => return at,
        }
    }
    text.len() - symbols % 4
}

fn moment(text: &str, precision: Precision) -> Result<Value, DecodeError> {
    let canonical = time::canonical(text, precision).map_err(DecodeError::Type)?;
    Ok(canonical.map_or(Value::Null, Value::from))
}

fn quantity(value: &Value) -> Result<Value, DecodeError> {
    let text = match value {
        Value::String(text) => text.trim().to_string(),
        other => other.to_string(),
    };
    let parsed = Quantity::parse(&text).map_err(|it| DecodeError::Type(it.to_string()))?;
    Ok(Value::from(parsed.to_string()))
}

/// `[]v1.Container` holds `v1.Container`; a named list or map does not say what it holds.
fn element_type(go: &str, element: &Node) -> String {
    let inner =
        go.strip_prefix("[]").or_else(|| go.strip_prefix("map[")?.split_once(']').map(|it| it.1));
    match (inner, &element.shape) {
        (Some(inner), _) => inner.trim_start_matches('*').to_string(),
        (None, Shape::Struct(of)) => go_path(of),
        (None, Shape::Bool) => "bool".into(),
        (None, Shape::Int32) => "int32".into(),
        (None, Shape::Int64) => "int64".into(),
        (None, Shape::Float) => "float64".into(),
        (None, _) => "string".into(),
    }
}

/// A definition's type as Go prints it: package and name.
fn go_path(of: &Struct) -> String {
    let package = of.name.rsplit('.').nth(1).unwrap_or("v1");
    format!("{package}.{}", of.go)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use skiff_json::json;

    fn check(kind: (&str, &str, &str), mut body: Value, wanted: Result<&[&str], &str>) {
        let of = schema::gvk(kind.0, kind.1, kind.2).expect("a kind");
        let got = decode(&mut body, of, Mode::Warn);
        match (&got, wanted) {
            (Ok(got), Ok(wanted)) => assert_eq!(got, wanted),
            (Err(got), Err(wanted)) => assert_eq!(got.to_string(), wanted),
            _ => panic!("{got:?}, wanted {wanted:?}"),
        }
    }

    #[test]
    fn unknown_fields_have_paths() {
        let body = json!({
            "Kind": 1, "spec": {"foo": 1, "template": {"spec": {"containers": [{"imagee": "x"}]}}},
        });
        check(
            ("apps", "v1", "Deployment"),
            body,
            Ok(&[
                "unknown field \"Kind\"",
                "unknown field \"spec.foo\"",
                "unknown field \"spec.template.spec.containers[0].imagee\"",
            ]),
        );
    }

    #[test]
    fn strict_mode_lists_them_all() {
        let of = schema::gvk("", "v1", "ConfigMap").expect("a kind");
        let error = decode(&mut json!({"a": 1, "b": 2}), of, Mode::Strict).expect_err("unknown");
        let wanted = "strict decoding error: unknown field \"a\", unknown field \"b\"";
        assert_eq!(error.to_string(), wanted);
        let mut body = json!({"a": 1, "data": null});
        assert_eq!(decode(&mut body, of, Mode::Ignore), Ok(vec![]));
        assert_eq!(body, json!({}));
    }

    #[test]
    fn scalars_become_canonical() {
        let of = schema::gvk("", "v1", "Pod").expect("a kind");
        let mut body = json!({
            "metadata": {"creationTimestamp": "2024-01-01T01:00:00.5+01:00", "labels": {"a": null}},
            "spec": {"containers": [{"name": "a", "args": [null],
                "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}]},
        });
        assert_eq!(decode(&mut body, of, Mode::Strict), Ok(vec![]));
        assert_eq!(
            body,
            json!({
                "metadata": {"creationTimestamp": "2024-01-01T00:00:00Z", "labels": {"a": ""}},
                "spec": {"containers": [{"name": "a", "args": [""],
                    "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}]},
            })
        );
    }
}
