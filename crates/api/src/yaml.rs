//! YAML bodies: read as upstream reads them (YAML 1.1 words and octals, keys that become strings),
//! written in block style.
//!
//! Only what JSON can say passes. Documents after the first are ignored, as upstream ignores them.

use std::fmt::Write as _;

use serde::Deserialize;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use skiff_json::{Map, Value};

use crate::json::{self, MAX_DUPLICATES, Parsed, check_head, excerpt, float};

mod write;

pub use write::write;

/// Aliases may stand this often in a body, and bring back so many parts in all: enough for any
/// manifest, and far below what a bomb of aliases needs.
const MAX_ALIASES: usize = 1_000;
const MAX_REPLAYED: usize = 100_000;

/// Collections may be nested this deep: the reader takes some 15 KiB of stack for each level, and a
/// thread that has none left ends the process. It is far beyond manifests; what is written as JSON
/// goes deeper.
const MAX_DEPTH: usize = 60;

/// Reads one YAML value. The error is upstream's text without any prefix.
pub fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    // JSON is YAML; it is read as such where it can be, which is faster and finds every repeated
    // field.
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{')
        && let Ok(parsed) = json::parse(bytes)
    {
        return Ok(parsed);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "yaml: invalid UTF-8".to_string())?;
    let Tree { value, odd } = read(text).map_err(|error| describe(&error))?;
    Ok(Parsed { value, odd })
}

/// What is odd about a body, as one refusal says it: what the reader of YAML says is one text.
pub fn in_one_text(mut odd: Vec<String>) -> Vec<String> {
    let lines = odd.iter().take_while(|text| text.starts_with("line ")).count();
    if lines > 0 {
        let told: Vec<String> = odd.drain(..lines).collect();
        odd.insert(0, format!("yaml: unmarshal errors:\n  {}", told.join("\n  ")));
    }
    odd
}

/// Reads the body of a create or update: an object, whose version and kind can be told.
pub fn read_object(bytes: &[u8]) -> Result<Parsed, String> {
    let parsed = parse(bytes).map_err(|error| format!("{error} ({})", excerpt(bytes)))?;
    check_head(&parsed.value).map_err(|error| json::unrecognized(&error, bytes))?;
    Ok(parsed)
}

fn read(text: &str) -> Result<Tree, serde_saphyr::Error> {
    let mut options = serde_saphyr::Options::default();
    options.duplicate_keys = serde_saphyr::options::DuplicateKeyPolicy::LastWins;
    options.legacy_octal_numbers = true;
    options.with_snippet = false;
    options.alias_limits.max_total_replayed_events = MAX_REPLAYED;
    let mut budget = serde_saphyr::budget::Budget::default();
    budget.max_aliases = MAX_ALIASES;
    budget.max_depth = MAX_DEPTH;
    options.budget = Some(budget);
    let mut documents = serde_saphyr::from_multiple_with_options::<Tree>(text, options)?;
    if documents.is_empty() {
        return Ok(Value::Null.into());
    }
    Ok(documents.swap_remove(0))
}

fn describe(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    let mut bare = error;
    while let Error::AliasError { error, .. } | Error::WithSnippet { error, .. } = bare {
        bare = error;
    }
    let text = bare.to_string();
    match bare {
        Error::AliasReplayLimitExceeded { .. } | Error::AliasExpansionLimitExceeded { .. } => {
            return "yaml: document contains excessive aliasing".to_string();
        }
        Error::Budget { .. } => return format!("yaml: document exceeds a limit: {text}"),
        _ => {}
    }
    if let Some(rest) = text.strip_prefix("unclosed bracket '") {
        let close = if rest.starts_with('{') { '}' } else { ']' };
        let line = error.location().map_or(1, |at| at.line());
        return format!("yaml: line {line}: did not find expected ',' or '{close}'");
    }
    let mut out = String::from("yaml: ");
    if let Some(line) = error.location().map(|at| at.line()).filter(|line| *line > 1) {
        write!(out, "line {line}: ").expect("writing to a string cannot fail");
    }
    out.push_str(&text);
    out
}

/// A tree as the detour through JSON makes it: floats without fraction are integers, keys are
/// strings. With it comes what is odd about it.
struct Tree {
    value: Value,
    odd: Vec<String>,
}

impl<T: Into<Value>> From<T> for Tree {
    fn from(value: T) -> Tree {
        Tree { value: value.into(), odd: Vec::new() }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(i64::try_from(value).map_or_else(|_| Value::from(value as f64), Value::from).into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        // 2^63 itself is no 64-bit integer any more.
        if value.fract() == 0.0 && value.abs() < 9_223_372_036_854_775_808.0 {
            return Ok((value as i64).into());
        }
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Tree, E> {
        Ok(Value::from(String::from_utf8_lossy(value)).into())
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Value::Null.into())
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Value::Null.into())
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Tree, D::Error> {
        reader.deserialize_any(TreeVisitor)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let (mut out, mut odd) = (Vec::new(), Vec::new());
        while let Some(mut item) = items.next_element::<Tree>()? {
            odd.append(&mut item.odd);
            out.push(item.value);
        }
        Ok(Tree { value: Value::Array(out), odd })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Tree, A::Error> {
        let (mut out, mut odd) = (Map::new(), Vec::new());
        while let Some(key) = fields.next_key::<Spanned<Tree>>()? {
            let line = key.referenced.line();
            let key = match key.value.value {
                Value::String(key) => key,
                Value::Number(number) => match number.as_f64() {
                    Some(value) if number.is_f64() => float(value),
                    _ => number.to_string(),
                },
                Value::Bool(value) => value.to_string(),
                other => return Err(A::Error::custom(format!("invalid map key: {other}"))),
            };
            if out.contains_key(&key) && odd.len() < MAX_DUPLICATES {
                odd.push(format!("line {line}: key {key:?} already set in map"));
            }
            let mut field = fields.next_value::<Tree>()?;
            odd.append(&mut field.odd);
            out.insert(key, field.value);
        }
        Ok(Tree { value: Value::Object(out), odd })
    }
}

/// YAML 1.1's words for true and false.
fn word(text: &str) -> Option<&'static str> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "True" | "TRUE" => Some("true"),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "False" | "FALSE" => Some("false"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
