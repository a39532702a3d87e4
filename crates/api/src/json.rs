//! JSON bodies: reading what clients send, and writing what is stored and sent.
//!
//! Reading notes fields that stand twice, with their paths, because strict validation names them;
//! the last one counts. Errors are worded as upstream words them, by a scan of the text that runs
//! only when parsing failed.

use std::fmt::Write as _;
use std::io;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::Serialize;
use skiff_json::ser::Formatter;
use skiff_json::{Map, Number, Value};

mod depth;
pub mod places;
mod scan;

pub use depth::{MAX_DEPTH, measure, readable, too_deep};
pub use scan::syntax_error;

/// A request body may be this long, as upstream's API server has it.
pub const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;

/// So many repeated fields of one body are named; more help nobody.
pub(crate) const MAX_DUPLICATES: usize = 100;
/// So many bytes of their paths are written out in finding out whether a field was named before: a long path to many
/// repeated fields would cost the square of the body.
const MAX_DUPLICATE_BYTES: usize = 1 << 20;

/// What a body says, and what is odd about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    pub value: Value,
    /// `duplicate field "spec.replicas"`: warnings, or errors under `fieldValidation=Strict`.
    pub odd: Vec<String>,
}

impl From<Value> for Parsed {
    fn from(value: Value) -> Parsed {
        Parsed { value, odd: Vec::new() }
    }
}

/// Reads one JSON value. The error is upstream's text without any prefix.
pub fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let lossy;
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // Upstream reads what is not UTF-8 as replacement characters.
        Err(_) => {
            lossy = String::from_utf8_lossy(bytes);
            &lossy
        }
    };
    read(text).or_else(|error| match scan::without_lone_surrogates(text) {
        Some(text) => read(&text).map_err(|error| describe(bytes, &error)),
        None => Err(describe(bytes, &error)),
    })
}

fn read(text: &str) -> skiff_json::Result<Parsed> {
    let mut odd = Odd::default();
    let mut reader = skiff_json::Deserializer::from_str(text);
    let value = Seed { path: None, odd: &mut odd }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))?;
    Ok(Parsed { value, odd: odd.texts })
}

/// Which bracket it was counts for nothing.
const TOO_DEEP: &str = "invalid character '[' exceeded max depth";

fn describe(bytes: &[u8], error: &skiff_json::Error) -> String {
    match syntax_error(bytes) {
        Some(_) if error.to_string().starts_with("recursion limit") => TOO_DEEP.to_string(),
        Some(text) => text,
        None if error.to_string().starts_with("number out of range") => {
            "json: cannot unmarshal number into Go value of type float64".to_string()
        }
        // The text is sound, so it was nested too deeply.
        None => TOO_DEEP.to_string(),
    }
}

/// Reads the body of a create or update: an object, whose version and kind can be told.
pub fn read_object(bytes: &[u8]) -> Result<Parsed, String> {
    let parsed = parse(bytes);
    let checked = parsed.and_then(|parsed| check_head(&parsed.value).map(|()| parsed));
    checked.map_err(|error| unrecognized(&error, bytes))
}

pub(crate) fn unrecognized(error: &str, bytes: &[u8]) -> String {
    format!("couldn't get version/kind; json parse error: {error} ({})", excerpt(bytes))
}

/// Only an object (or nothing) has a version and kind, and these are strings.
pub(crate) fn check_head(value: &Value) -> Result<(), String> {
    let head = concat!(
        r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; "#,
        r#"Kind string "json:\"kind,omitempty\"" }"#
    );
    let Value::Object(map) = value else {
        return match value {
            Value::Null => Ok(()),
            other => Err(format!(
                "json: cannot unmarshal {} into Go value of type {head}",
                type_name(other)
            )),
        };
    };
    for field in ["apiVersion", "kind"] {
        match map.get(field) {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(other) => {
                let found = type_name(other);
                return Err(format!(
                    "json: cannot unmarshal {found} into Go struct field .{field} of type string"
                ));
            }
        }
    }
    Ok(())
}

pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The start of a body as messages show it: text if it begins like JSON, else hexadecimal.
pub fn excerpt(bytes: &[u8]) -> String {
    const SHOWN: usize = 30;
    if bytes.is_empty() {
        return "<empty>".to_string();
    }
    let shown = &bytes[..bytes.len().min(SHOWN)];
    let mut out = String::new();
    if shown[0] == b'{' {
        out.push_str(&String::from_utf8_lossy(shown));
    } else {
        for byte in shown {
            write!(out, "{byte:02x}").expect("writing to a string cannot fail");
        }
    }
    if bytes.len() > SHOWN {
        out.push_str(" ...");
    }
    out
}

/// JSON text whose objects have their fields in the order that `order` gives for them, as the API
/// reference shows them; what it does not name comes last.
pub fn ordered(value: &Value, order: fn(&Map) -> &'static [&'static str]) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|it| ordered(it, order)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(map) => {
            let names = order(map);
            let place = |key: &str| names.iter().position(|it| *it == key).unwrap_or(names.len());
            let mut fields: Vec<(&String, &Value)> = map.iter().collect();
            fields.sort_by_key(|(key, _)| place(key));
            let one = |(key, value): (&String, &Value)| {
                format!("{}:{}", Value::from(key.as_str()), ordered(value, order))
            };
            format!("{{{}}}", fields.into_iter().map(one).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// Where the reader is, as a list of steps towards the root.
struct Path<'p> {
    above: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Field(&'p str),
    Index(usize),
}

fn show(path: Option<&Path>, last: &str) -> String {
    fn write_path(path: &Path, out: &mut String) {
        if let Some(above) = path.above {
            write_path(above, out);
        }
        match path.step {
            Step::Field(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Step::Index(i) => write!(out, "[{i}]").expect("writing to a string cannot fail"),
        }
    }
    let mut out = String::new();
    if let Some(path) = path {
        write_path(path, &mut out);
        out.push('.');
    }
    out.push_str(last);
    out
}

/// Repeated fields.
#[derive(Default)]
struct Odd {
    texts: Vec<String>,
    written: usize,
}

impl Odd {
    fn note(&mut self, path: Option<&Path>, field: &str) {
        if self.texts.len() >= MAX_DUPLICATES || self.written >= MAX_DUPLICATE_BYTES {
            return;
        }
        let text = format!("duplicate field {:?}", show(path, field));
        self.written += text.len();
        if !self.texts.contains(&text) {
            self.texts.push(text);
        }
    }
}

/// Builds a tree and notes repeated fields.
struct Seed<'p, 'o> {
    path: Option<&'p Path<'p>>,
    odd: &'o mut Odd,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(match i64::try_from(value) {
            Ok(value) => Value::Number(value.into()),
            // Integers beyond 64 bits with sign are floats to the API.
            Err(_) => Value::from(value as f64),
        })
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_string()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        loop {
            let path = Path { above: self.path, step: Step::Index(out.len()) };
            match items.next_element_seed(Seed { path: Some(&path), odd: self.odd })? {
                Some(item) => out.push(item),
                None => return Ok(Value::Array(out)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            let path = Path { above: self.path, step: Step::Field(&key) };
            let value = fields.next_value_seed(Seed { path: Some(&path), odd: self.odd })?;
            if out.contains_key(&key) {
                self.odd.note(self.path, &key);
            }
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }
}

/// Writes a value as it is sent.
pub fn write(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    write_into(&mut out, value);
    out
}

/// Appends a value as it is sent.
pub fn write_into(out: &mut Vec<u8>, value: &Value) {
    let mut writer = skiff_json::Serializer::with_formatter(out, Numbers);
    value.serialize(&mut writer).expect("writing a tree to memory cannot fail");
}

/// Writes an object as the store keeps it: metadata first and without resourceVersion, no
/// apiVersion, no kind. The result begins with `{"metadata":{`; the server puts head and revision
/// in when it sends it.
pub fn encode_body(object: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    out.extend_from_slice(b"{\"metadata\":{");
    let fields = |value: Option<&Value>, out: &mut Vec<u8>, skip: &[&str], mut first: bool| {
        for (key, value) in value.and_then(Value::as_object).into_iter().flatten() {
            if skip.contains(&key.as_str()) {
                continue;
            }
            if !first {
                out.push(b',');
            }
            first = false;
            skiff_json::to_writer(&mut *out, key).expect("writing a string to memory cannot fail");
            out.push(b':');
            write_into(out, value);
        }
    };
    fields(object.get("metadata"), &mut out, &["resourceVersion"], true);
    out.push(b'}');
    fields(Some(object), &mut out, &["apiVersion", "kind", "metadata"], false);
    out.push(b'}');
    out
}

/// Numbers as upstream writes them: 1 for a float without fraction, 1e+21 for a large one.
struct Numbers;

impl Formatter for Numbers {
    fn write_f64<W: ?Sized + io::Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        out.write_all(float(value).as_bytes())
    }
}

/// A float in the shortest form that reads back as the same.
pub fn float(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        return match text.split_once('e') {
            Some((digits, power)) if !power.starts_with('-') => format!("{digits}e+{power}"),
            _ => text,
        };
    }
    format!("{value}")
}

/// Reads what `write` wrote, where no client is to be told of errors.
pub fn decode(bytes: &[u8]) -> Result<Value, skiff_json::Error> {
    match parse(bytes) {
        Ok(parsed) => Ok(parsed.value),
        Err(text) => Err(skiff_json::Error::custom(text)),
    }
}

#[cfg(test)]
mod tests;
