//! Drops from a custom resource what its schema does not name, and says what was dropped.
//!
//! Metadata, of the object and of embedded resources, goes through the built-in decoder: it has the
//! same fields and errors everywhere. Types are not checked here (`validate` does); a number with a
//! fraction of zero becomes an integer, as it does on its way through Go.

use skiff_json::{Map, Value};

use super::decode::{DecodeError, Mode, decode};
use super::fault::Fault;
use super::{Node, Shape, Struct};

/// Prunes a whole custom resource of that root struct; the answer lists `unknown field "spec.x"`.
pub fn prune(value: &mut Value, root: &Struct, mode: Mode) -> Result<Vec<String>, DecodeError> {
    let mut walk = Walk { unknown: Vec::new() };
    walk.structure(value, root, "")?;
    match mode {
        Mode::Ignore => Ok(Vec::new()),
        Mode::Strict if !walk.unknown.is_empty() => Err(DecodeError::Strict(walk.unknown)),
        Mode::Strict | Mode::Warn => Ok(walk.unknown),
    }
}

/// Whether a default holds only what the schema names.
pub(super) fn is_pruned(value: &Value, node: &Node) -> bool {
    let mut copy = value.clone();
    let mut walk = Walk { unknown: Vec::new() };
    walk.node(&mut copy, Some(node), "").is_ok() && walk.unknown.is_empty()
}

struct Walk {
    unknown: Vec<String>,
}

impl Walk {
    fn node(&mut self, value: &mut Value, node: Option<&Node>, path: &str) -> Done {
        canonical_number(value);
        let open = node.is_some_and(|it| it.rules.as_ref().is_none_or(|it| !it.pruned));
        match (node.map(|it| &it.shape), &mut *value) {
            (Some(Shape::Any), _) if open => {
                canonical_numbers(value);
                Ok(())
            }
            (Some(Shape::Struct(of)), Value::Object(_)) => self.structure(value, of, path),
            (Some(Shape::Map(element)), Value::Object(map)) => {
                for (key, item) in map.iter_mut() {
                    self.node(item, Some(element), &join(path, key))?;
                }
                Ok(())
            }
            (shape, Value::Array(items)) => {
                let element = match shape {
                    Some(Shape::List(element)) => Some(&**element),
                    _ => None,
                };
                for (index, item) in items.iter_mut().enumerate() {
                    self.node(item, element, &format!("{path}[{index}]"))?;
                }
                Ok(())
            }
            (_, Value::Object(map)) => {
                for key in std::mem::take(map).keys() {
                    self.drop_field(&join(path, key));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn structure(&mut self, value: &mut Value, of: &Struct, path: &str) -> Done {
        let Value::Object(map) = value else { return Ok(()) };
        let embedded =
            !path.is_empty() && of.field("metadata").is_some_and(|it| is_metadata(&it.node));
        let fields = std::mem::take(map);
        for (name, mut value) in fields {
            let place = join(path, &name);
            if embedded && ["apiVersion", "kind"].contains(&name.as_str()) && !value.is_string() {
                let fault = Fault::invalid(place, &value, "must be a string");
                return Err(DecodeError::Type(fault.to_string()));
            }
            match of.field(&name) {
                Some(field) if is_metadata(&field.node) => {
                    self.metadata(&mut value, &field.node, &place)?;
                }
                Some(field) => self.node(&mut value, Some(&field.node), &place)?,
                None if of.open => canonical_numbers(&mut value),
                None => {
                    self.drop_field(&place);
                    continue;
                }
            }
            map.insert(name, value);
        }
        Ok(())
    }

    fn metadata(&mut self, value: &mut Value, node: &Node, path: &str) -> Done {
        let Shape::Struct(of) = &node.shape else { return Ok(()) };
        for text in decode(value, of, Mode::Warn)? {
            // The decoder's paths start at the metadata itself.
            let field = text.split('"').nth(1).unwrap_or_default();
            self.drop_field(&join(path, field));
        }
        Ok(())
    }

    fn drop_field(&mut self, path: &str) {
        self.unknown.push(format!("unknown field {path:?}"));
    }
}

type Done = Result<(), DecodeError>;

fn is_metadata(node: &Node) -> bool {
    matches!(&node.shape, Shape::Struct(of) if !of.go.is_empty())
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}

/// Numbers up to here are exact in a double.
const MOST_EXACT: f64 = 9_007_199_254_740_992.0;

fn canonical_number(value: &mut Value) {
    if let Value::Number(number) = value
        && let (true, Some(float)) = (number.is_f64(), number.as_f64())
        && float.fract() == 0.0
        && float.abs() <= MOST_EXACT
    {
        *value = Value::from(float as i64);
    }
}

fn canonical_numbers(value: &mut Value) {
    canonical_number(value);
    match value {
        Value::Array(items) => items.iter_mut().for_each(canonical_numbers),
        Value::Object(map) => Map::values_mut(map).for_each(canonical_numbers),
        _ => {}
    }
}
