//! Running a path over a tree. Results borrow from the tree.

use std::cmp::Ordering;

use skiff_json::Value;

use super::{Filter, Slice, Step};

/// So many values may be at hand at once: `..` and wildcards multiply.
const MAX_VALUES: usize = 100_000;

pub(super) fn run<'v>(steps: &'v [Step], object: &'v Value) -> Result<Vec<&'v Value>, String> {
    let mut values = vec![object];
    for step in steps {
        let mut next = Vec::new();
        for value in values {
            apply(step, value, &mut next)?;
            if next.len() > MAX_VALUES {
                return Err(format!("the path yields more than {MAX_VALUES} values"));
            }
        }
        values = next;
    }
    Ok(values)
}

fn apply<'v>(step: &'v Step, value: &'v Value, out: &mut Vec<&'v Value>) -> Result<(), String> {
    match step {
        Step::Field(name) => out.extend(value.as_object().and_then(|map| map.get(name))),
        Step::Wildcard => out.extend(children(value)),
        Step::Descend => descend(value, out)?,
        Step::Slice(it) => slice(it, value, out)?,
        Step::Union(paths) => {
            for path in paths {
                out.extend(run(path, value)?);
            }
        }
        Step::Filter(it) => filter(it, value, out)?,
        Step::Literal(value) => out.push(value),
        Step::Word(word) => return Err(format!("unrecognized identifier {word}")),
    }
    Ok(())
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Object(map) => Box::new(map.values()),
        Value::Array(items) => Box::new(items.iter()),
        _ => Box::new(std::iter::empty()),
    }
}

fn descend<'v>(value: &'v Value, out: &mut Vec<&'v Value>) -> Result<(), String> {
    if out.len() > MAX_VALUES {
        return Err(format!("the path yields more than {MAX_VALUES} values"));
    }
    if children(value).next().is_some() {
        out.push(value);
        for child in children(value) {
            descend(child, out)?;
        }
    }
    Ok(())
}

fn slice<'v>(it: &Slice, value: &'v Value, out: &mut Vec<&'v Value>) -> Result<(), String> {
    let items = match value {
        Value::Array(items) => items,
        Value::Null => return Ok(()),
        other => return Err(format!("{} is not array or slice", type_of(other))),
    };
    let length = items.len() as i64;
    let from_end = |at: i64| if at < 0 { at + length } else { at };
    let start = from_end(it.start.unwrap_or(0));
    let end = if it.single { start + 1 } else { from_end(it.end.unwrap_or(length)) };
    if start == end {
        return Ok(());
    }
    let outside = |at: i64| Err(format!("array index out of bounds: index {at}, length {length}"));
    if start < 0 || start >= length {
        return outside(start);
    }
    if end < 0 || end > length {
        return outside(end - 1);
    }
    if start > end {
        return Err(format!("starting index {start} is greater than ending index {end}"));
    }
    let step = it.step.unwrap_or(1);
    let Some(step) = usize::try_from(step).ok().filter(|step| *step > 0) else {
        return Err("step must be > 0".to_string());
    };
    out.extend(items[start as usize..end as usize].iter().step_by(step));
    Ok(())
}

fn filter<'v>(it: &'v Filter, value: &'v Value, out: &mut Vec<&'v Value>) -> Result<(), String> {
    let items = match value {
        Value::Array(items) => items,
        Value::Null => return Ok(()),
        other => return Err(format!("{other} is not array or slice and cannot be filtered")),
    };
    let one = |found: Vec<&'v Value>| match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        _ => Err("can only compare one element at a time".to_string()),
    };
    for item in items {
        let left = run(&it.left, item)?;
        let Some((operator, right)) = &it.right else {
            if !left.is_empty() {
                out.push(item);
            }
            continue;
        };
        let Some(left) = one(left)? else { continue };
        let Some(right) = one(run(right, item)?)? else { continue };
        if compare(operator, left, right)? {
            out.push(item);
        }
    }
    Ok(())
}

fn compare(operator: &str, left: &Value, right: &Value) -> Result<bool, String> {
    let incompatible = || "incompatible types for comparison".to_string();
    let order = match (left, right) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) if matches!(operator, "==" | "!=") => a.cmp(b),
        (Value::Number(a), Value::Number(b)) if a.is_f64() == b.is_f64() => {
            match (a.as_i64(), b.as_i64()) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => a.as_f64().partial_cmp(&b.as_f64()).ok_or_else(incompatible)?,
            }
        }
        _ => return Err(incompatible()),
    };
    match operator {
        "==" => Ok(order == Ordering::Equal),
        "!=" => Ok(order != Ordering::Equal),
        "<" => Ok(order == Ordering::Less),
        "<=" => Ok(order != Ordering::Greater),
        ">" => Ok(order == Ordering::Greater),
        ">=" => Ok(order != Ordering::Less),
        other => Err(format!("unrecognized filter operator {other}")),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
