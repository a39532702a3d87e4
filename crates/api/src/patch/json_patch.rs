//! JSON Patch: a list of operations that are done one after the other, or not at all. (RFC 6902)
//!
//! Paths are JSON pointers; positions may count from the end (`-1`), and `replace` of a field that
//! is not there adds it, as upstream's library has it.

use skiff_json::{Map, Value};

use super::{Error, Patched, read};
use crate::json::{MAX_DEPTH, measure, type_name};

/// More operations than this are refused, as upstream refuses them.
const MAX_OPERATIONS: usize = 10_000;

/// How many bytes `copy` may add in one patch: no more than a body may have, so that a few copies
/// of copies do not fill the memory.
pub const MAX_COPIED_BYTES: usize = crate::json::MAX_BODY_BYTES;

/// How many values one patch may look at and shift: ten times what a body can hold. Each operation may move all of an
/// object, and thousands of them would keep a processor for minutes.
const MAX_WORK: usize = 10 * crate::json::MAX_BODY_BYTES;

/// Applies the patch in `bytes` to `object`.
pub fn apply(object: Value, bytes: &[u8]) -> Result<Patched, Error> {
    let parsed = read(bytes)?;
    let mut odd: Vec<String> = parsed.odd;
    let operations = operations(parsed.value, &mut odd)?;
    if operations.len() > MAX_OPERATIONS {
        let count = operations.len();
        return Err(Error::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {count}"
        )));
    }
    let mut run = Run { doc: object, copied: 0, work: 0 };
    for operation in operations {
        run.step(operation)?;
    }
    let odd = odd.into_iter().map(|text| format!("json patch {text}")).collect();
    Ok(Patched { object: run.doc, odd })
}

fn operations(patch: Value, odd: &mut Vec<String>) -> Result<Vec<Map>, Error> {
    let unreadable = |found: &Value, into: &str| {
        let found = type_name(found);
        Error::Unreadable(format!(
            "error decoding patch: json: cannot unmarshal {found} into Go {into}"
        ))
    };
    let list = match patch {
        Value::Array(list) => list,
        Value::Null => Vec::new(),
        other => return Err(unreadable(&other, "value of type []handlers.jsonPatchOp")),
    };
    let mut out = Vec::with_capacity(list.len());
    for (i, operation) in list.into_iter().enumerate() {
        let operation = match operation {
            Value::Object(operation) => operation,
            Value::Null => Map::new(),
            other => return Err(unreadable(&other, "value of type handlers.jsonPatchOp")),
        };
        for (key, value) in &operation {
            match key.as_str() {
                "op" | "path" | "from" if !value.is_string() && !value.is_null() => {
                    let field = format!("struct field jsonPatchOp.{key} of type string");
                    return Err(unreadable(value, &field));
                }
                "op" | "path" | "from" | "value" => {}
                _ => odd.push(format!("unknown field \"[{i}].{key}\"")),
            }
        }
        out.push(operation);
    }
    Ok(out)
}

const MISSING: &str = "missing value";
const BAD_INDEX: &str = "invalid index referenced";

struct Run {
    doc: Value,
    copied: usize,
    work: usize,
}

type Done = Result<(), Error>;

impl Run {
    fn step(&mut self, mut operation: Map) -> Done {
        let kind = match operation.get("op") {
            Some(Value::String(kind)) => kind.clone(),
            _ => "unknown".to_string(),
        };
        let value = operation.remove("value");
        let path = text(&operation, "path");
        let from = text(&operation, "from");
        match kind.as_str() {
            "add" => self.add(path, value),
            "remove" => self.remove(path),
            "replace" => self.replace(path, value),
            "move" => self.relocate(from, path),
            "test" => self.test(path, value),
            "copy" => self.copy(from, path),
            other => Err(format!("Unexpected kind: {other}").into()),
        }
    }

    fn add(&mut self, path: Option<String>, value: Option<Value>) -> Done {
        let path = path.ok_or(format!("add operation failed to decode path: {MISSING}"))?;
        self.put(&path, value.unwrap_or(Value::Null), "add")
    }

    /// Puts a value in its place.
    fn put(&mut self, path: &str, value: Value, operation: &str) -> Done {
        let size = bounded(path, &value)?;
        let Some((place, key)) = find(&mut self.doc, path) else {
            let lacks = match operation {
                "add" => format!("path: \"{path}\""),
                _ => format!("destination path: {path}"),
            };
            return Err(format!(
                "{operation} operation does not apply: doc is missing {lacks}: {MISSING}"
            )
            .into());
        };
        let shifted = place.as_array().map_or(0, Vec::len);
        insert(place, &key, value)
            .map_err(|e| format!("error in {operation} for path: '{path}': {e}"))?;
        self.count(size + shifted)
    }

    fn count(&mut self, work: usize) -> Done {
        self.work += work;
        if self.work > MAX_WORK {
            return Err(Error::TooLarge(format!(
                "The operations of the JSON patch move more than {MAX_WORK} values"
            )));
        }
        Ok(())
    }

    fn remove(&mut self, path: Option<String>) -> Done {
        let path = path.ok_or(format!("remove operation failed to decode path: {MISSING}"))?;
        let Some((place, key)) = find(&mut self.doc, &path) else {
            return Err(format!(
                "remove operation does not apply: doc is missing path: \"{path}\": {MISSING}"
            )
            .into());
        };
        let shifted = place.as_array().map_or(0, Vec::len);
        take(place, &key).map_err(|e| format!("error in remove for path: '{path}': {e}"))?;
        self.count(shifted)
    }

    fn replace(&mut self, path: Option<String>, value: Option<Value>) -> Done {
        let path = path.ok_or(format!(
            "replace operation failed to decode path: operation missing path field: {MISSING}"
        ))?;
        let value = value.unwrap_or(Value::Null);
        bounded(&path, &value)?;
        if path.is_empty() {
            if !value.is_object() && !value.is_array() {
                let why = "replace operation value must be object or array: %!w(<nil>)";
                return Err(why.to_string().into());
            }
            self.doc = value;
            return Ok(());
        }
        let Some((place, key)) = find(&mut self.doc, &path) else {
            return Err(format!(
                "replace operation does not apply: doc is missing path: {path}: {MISSING}"
            )
            .into());
        };
        match place {
            Value::Object(map) => {
                map.insert(key, value);
            }
            Value::Array(items) => match index(items.len(), &key) {
                Ok(at) => items[at] = value,
                Err(_) => {
                    return Err(format!(
                        "replace operation does not apply: doc is missing key: {path}: {MISSING}"
                    )
                    .into());
                }
            },
            _ => {}
        }
        Ok(())
    }

    fn relocate(&mut self, from: Option<String>, path: Option<String>) -> Done {
        let from = from.ok_or(format!(
            "move operation failed to decode from: operation, missing from field: {MISSING}"
        ))?;
        let Some((place, key)) = find(&mut self.doc, &from) else {
            return Err(format!(
                "move operation does not apply: doc is missing from path: {from}: {MISSING}"
            )
            .into());
        };
        let shifted = place.as_array().map_or(0, Vec::len);
        let value =
            take(place, &key).map_err(|e| format!("error in move for path: '{key}': {e}"))?;
        self.count(shifted)?;
        let path = path.ok_or(format!(
            "move operation failed to decode path: operation missing path field: {MISSING}"
        ))?;
        self.put(&path, value, "move")
    }

    fn test(&mut self, path: Option<String>, value: Option<Value>) -> Done {
        let path = path.ok_or(format!(
            "test operation failed to decode path: operation missing path field: {MISSING}"
        ))?;
        let value = value.unwrap_or(Value::Null);
        let failed = format!("testing value {path} failed: test failed");
        if path.is_empty() {
            return if self.doc == value { Ok(()) } else { Err(Error::Untrue(failed)) };
        }
        let Some((place, key)) = find(&mut self.doc, &path) else {
            return Err(format!(
                "test operation does not apply: is missing path: {path}: {MISSING}"
            )
            .into());
        };
        let found =
            get(place, &key).map_err(|e| format!("error in test for path: '{path}': {e}"))?;
        if *found.unwrap_or(&Value::Null) == value { Ok(()) } else { Err(Error::Untrue(failed)) }
    }

    fn copy(&mut self, from: Option<String>, path: Option<String>) -> Done {
        let from = from.ok_or(format!(
            "copy operation failed to decode from: operation, missing from field: {MISSING}"
        ))?;
        let Some((place, key)) = find(&mut self.doc, &from) else {
            return Err(format!(
                "copy operation does not apply: doc is missing from path: {from}: {MISSING}"
            )
            .into());
        };
        let value = get(place, &key)
            .map_err(|e| format!("error in copy for from: '{from}': {e}"))?
            .cloned()
            .unwrap_or(Value::Null);
        let path = path.ok_or(format!("copy operation failed to decode path: {MISSING}"))?;
        self.copied += crate::json::write(&value).len();
        if self.copied > MAX_COPIED_BYTES {
            return Err(format!(
                "Unable to complete the copy, the accumulated size increase of copy is {}, \
                 exceeding the limit {MAX_COPIED_BYTES}",
                self.copied
            )
            .into());
        }
        self.put(&path, value, "copy")
    }
}

/// The size of a value that may stand at this path: nothing may become deeper than anything may be, not even on the
/// way, for a tree of any depth cannot even be dropped.
fn bounded(path: &str, value: &Value) -> Result<usize, Error> {
    let (depth, size) = measure(value);
    let above = path.matches('/').count();
    if above + depth > MAX_DEPTH {
        return Err(Error::TooDeep(path.trim_start_matches('/').replace('/', ".")));
    }
    Ok(size)
}

fn text(operation: &Map, key: &str) -> Option<String> {
    operation.get(key).and_then(Value::as_str).map(str::to_string)
}

/// The container that a pointer leads to, and the last key.
fn find<'v>(doc: &'v mut Value, path: &str) -> Option<(&'v mut Value, String)> {
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.len() < 2 {
        return None;
    }
    let key = unescape(parts.pop()?);
    let mut at = doc;
    for part in &parts[1..] {
        let part = unescape(part);
        at = match at {
            Value::Object(map) => map.get_mut(&part)?,
            Value::Array(items) => {
                let at = index(items.len(), &part).ok()?;
                &mut items[at]
            }
            _ => return None,
        };
    }
    (at.is_object() || at.is_array()).then_some((at, key))
}

fn unescape(part: &str) -> String {
    if part.contains('~') { part.replace("~1", "/").replace("~0", "~") } else { part.to_string() }
}

fn number(key: &str) -> Result<i64, String> {
    key.parse().map_err(|_| format!("strconv.Atoi: parsing {key:?}: invalid syntax"))
}

/// A position that exists.
fn index(length: usize, key: &str) -> Result<usize, String> {
    let at = number(key)?;
    let out_of_range = || format!("Unable to access invalid index: {at}: {BAD_INDEX}");
    let place = if at < 0 { at + length as i64 } else { at };
    usize::try_from(place).ok().filter(|at| *at < length).ok_or_else(out_of_range)
}

fn get<'v>(place: &'v Value, key: &str) -> Result<Option<&'v Value>, String> {
    match place {
        Value::Array(items) => index(items.len(), key).map(|at| items.get(at)),
        other => Ok(other.get(key)),
    }
}

fn insert(place: &mut Value, key: &str, value: Value) -> Result<(), String> {
    match place {
        Value::Object(map) => {
            map.insert(key.to_string(), value);
        }
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let at = number(key)
                .map_err(|e| format!("value was not a proper array index: '{key}': {e}"))?;
            let room = items.len() as i64 + 1;
            let place = if at < 0 { at + room } else { at };
            if !(0..room).contains(&place) {
                return Err(format!("Unable to access invalid index: {at}: {BAD_INDEX}"));
            }
            items.insert(place as usize, value);
        }
        _ => {}
    }
    Ok(())
}

fn take(place: &mut Value, key: &str) -> Result<Value, String> {
    match place {
        Value::Object(map) => map
            .remove(key)
            .ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}")),
        Value::Array(items) => index(items.len(), key).map(|at| items.remove(at)),
        _ => Ok(Value::Null),
    }
}
