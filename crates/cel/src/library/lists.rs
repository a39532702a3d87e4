//! Lists: Kubernetes' own functions, the list extension (version 3) and sets.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::{Function, int, strings};
use crate::equal;
use crate::eval::contains;
use crate::run::RunError;
use crate::value::{List, Value};

type Made<'a> = Result<Value<'a>, RunError>;

/// The most elements that `lists.range` makes.
const LONGEST_RANGE: i64 = 10_000_000;
/// The most pairs that are compared: each costs at least one, and an evaluation may cost no more.
const MOST_PAIRS: usize = 4_000_000;

pub fn find(name: &str) -> Option<Function> {
    Some(match name {
        "isSorted" => is_sorted,
        "sum" => sum,
        "max" => |args| extreme(args, "max", Ordering::Less),
        "min" => |args| extreme(args, "min", Ordering::Greater),
        "indexOf" => index_of,
        "lastIndexOf" => last_index_of,
        "slice" => slice,
        "flatten" => flatten,
        "sort" => |args| sorted(&args[0], &args[0]),
        "@sortByAssociatedKeys" => |args| sorted(&args[0], &args[1]),
        "lists.range" => range,
        "reverse" => reverse,
        "distinct" => distinct,
        "first" => |args| at(list(args, 0)?, 0),
        "last" => |args| at(list(args, 0)?, list(args, 0)?.len().wrapping_sub(1)),
        "sets.contains" => |args| holds_all(list(args, 0)?, list(args, 1)?).map(Value::Bool),
        "sets.equivalent" => |args| {
            let (a, b) = (list(args, 0)?, list(args, 1)?);
            Ok(Value::Bool(holds_all(a, b)? && holds_all(b, a)?))
        },
        "sets.intersects" => intersects,
        _ => return None,
    })
}

fn list<'v, 'a>(args: &'v [Value<'a>], at: usize) -> Result<&'v List<'a>, RunError> {
    match args.get(at) {
        Some(Value::List(it)) => Ok(it),
        _ => Err(RunError::no_overload()),
    }
}

fn at<'a>(list: &List<'a>, index: usize) -> Made<'a> {
    match list.get(index) {
        Some(found) => Ok(Value::some(found?)),
        None => Ok(Value::Optional(None)),
    }
}

fn is_sorted<'a>(args: &[Value<'a>]) -> Made<'a> {
    let (mut before, mut sorted) = (None, true);
    list(args, 0)?.each(|it| {
        if let Some(before) = &before {
            let order = equal::compare(before, &it).ok_or_else(RunError::no_overload)?;
            sorted = order != Ordering::Greater;
        }
        before = Some(it);
        Ok(sorted)
    })?;
    Ok(Value::Bool(sorted))
}

fn sum<'a>(args: &[Value<'a>]) -> Made<'a> {
    let add = super::find("_+_").ok_or_else(RunError::no_overload)?;
    let mut total: Option<Value> = None;
    list(args, 0)?.each(|it| {
        total = Some(match total.take() {
            Some(before) => add(&[before, it])?,
            None => it,
        });
        Ok(true)
    })?;
    Ok(total.unwrap_or(Value::Int(0)))
}

fn extreme<'a>(args: &[Value<'a>], name: &str, replaced: Ordering) -> Made<'a> {
    let mut found: Option<Value> = None;
    list(args, 0)?.each(|it| {
        let better = match &found {
            None => true,
            Some(best) => equal::compare(best, &it).ok_or_else(RunError::no_overload)? == replaced,
        };
        if better {
            found = Some(it);
        }
        Ok(true)
    })?;
    found.ok_or_else(|| RunError::of(format!("{name} called on empty list")))
}

fn index_of<'a>(args: &[Value<'a>]) -> Made<'a> {
    if let Value::Text(_) = &args[0] {
        return strings::index_of(args).map(Value::Int);
    }
    place(args, Which::First)
}

fn last_index_of<'a>(args: &[Value<'a>]) -> Made<'a> {
    if let Value::Text(_) = &args[0] {
        return strings::last_index_of(args).map(Value::Int);
    }
    place(args, Which::Last)
}

#[derive(PartialEq)]
enum Which {
    First,
    Last,
}

fn place<'a>(args: &[Value<'a>], which: Which) -> Made<'a> {
    let (mut found, mut index) = (-1, 0);
    list(args, 0)?.each(|it| {
        if equal::equal(&it, &args[1])? {
            found = index;
        }
        index += 1;
        Ok(which == Which::Last || found < 0)
    })?;
    Ok(Value::Int(found))
}

fn slice<'a>(args: &[Value<'a>]) -> Made<'a> {
    let (of, start, end) = (list(args, 0)?, int(args, 1)?, int(args, 2)?);
    let cannot = |why: String| Err(RunError::of(format!("cannot slice({start}, {end}), {why}")));
    let (Ok(from), Ok(to)) = (usize::try_from(start), usize::try_from(end)) else {
        return cannot("negative indexes not supported".to_string());
    };
    if from > to {
        return cannot("start index must be less than or equal to end index".to_string());
    }
    if to > of.len() {
        return cannot(format!("list is length {}", of.len()));
    }
    let mut all = of.to_vec()?;
    all.truncate(to);
    Ok(Value::list(all.split_off(from)))
}

fn flatten<'a>(args: &[Value<'a>]) -> Made<'a> {
    let depth = if args.len() > 1 { int(args, 1)? } else { 1 };
    if depth < 0 {
        return Err(RunError::of("level must be non-negative"));
    }
    let mut all = Vec::new();
    flat(list(args, 0)?, depth, &mut all)?;
    Ok(Value::list(all))
}

fn flat<'a>(of: &List<'a>, depth: i64, into: &mut Vec<Value<'a>>) -> Result<(), RunError> {
    of.each(|it| {
        if into.len() > MOST_PAIRS {
            return Err(RunError::Cost);
        }
        match it {
            Value::List(inner) if depth > 0 => flat(&inner, depth - 1, into)?,
            other => into.push(other),
        }
        Ok(true)
    })
}

fn sorted<'a>(of: &Value<'a>, by: &Value<'a>) -> Made<'a> {
    let (Value::List(of), Value::List(by)) = (of, by) else {
        return Err(RunError::no_overload());
    };
    if of.len() != by.len() {
        return Err(RunError::of(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys \
             list, but got {} and {} elements respectively",
            of.len(),
            by.len()
        )));
    }
    let keys = by.to_vec()?;
    if let Some(first) = keys.first() {
        if equal::compare(first, first).is_none() && !matches!(first, Value::Double(_)) {
            return Err(RunError::of("list elements must be comparable"));
        }
        if keys.iter().any(|it| it.type_name() != first.type_name()) {
            return Err(RunError::of("list elements must have the same type"));
        }
    }
    let mut all: Vec<(Value, Value)> = keys.into_iter().zip(of.to_vec()?).collect();
    all.sort_by(|a, b| equal::compare(&a.0, &b.0).unwrap_or(Ordering::Equal));
    Ok(Value::list(all.into_iter().map(|it| it.1).collect()))
}

fn range<'a>(args: &[Value<'a>]) -> Made<'a> {
    let size = int(args, 0)?;
    if size < 0 {
        let message = format!("lists.range: size must be non-negative, got {size}");
        return Err(RunError::of(message));
    }
    if size > LONGEST_RANGE {
        return Err(RunError::of(format!(
            "lists.range: size {size} exceeds maximum allowed ({LONGEST_RANGE})"
        )));
    }
    // It costs its length, and an evaluation may cost no more than this.
    if size > crate::run::PER_CALL_LIMIT as i64 {
        return Err(RunError::Cost);
    }
    Ok(Value::list((0..size).map(Value::Int).collect()))
}

fn reverse<'a>(args: &[Value<'a>]) -> Made<'a> {
    let mut all = list(args, 0)?.to_vec()?;
    all.reverse();
    Ok(Value::list(all))
}

fn distinct<'a>(args: &[Value<'a>]) -> Made<'a> {
    let all = list(args, 0)?.to_vec()?;
    let (mut seen, mut kept): (HashSet<String>, Vec<Value>) = Default::default();
    for it in all {
        let known = match &it {
            Value::Text(text) => !seen.insert(text.as_str().to_string()),
            other => {
                if kept.len() > MOST_PAIRS / 1000 {
                    return Err(RunError::Cost);
                }
                let mut found = false;
                for before in &kept {
                    found = found || equal::equal(before, other)?;
                }
                found
            }
        };
        if !known {
            kept.push(it);
        }
    }
    Ok(Value::list(kept))
}

/// Comparing each with each is refused before it is begun, if it would cost too much anyway.
fn bounded(a: &List, b: &List) -> Result<(), RunError> {
    match a.len().saturating_mul(b.len()) > MOST_PAIRS {
        true => Err(RunError::Cost),
        false => Ok(()),
    }
}

fn holds_all(of: &List, sought: &List) -> Result<bool, RunError> {
    bounded(of, sought)?;
    let (of, mut all) = (Value::List(of.clone()), true);
    sought.each(|it| {
        all = contains(&of, &it)?;
        Ok(all)
    })?;
    Ok(all)
}

fn intersects<'a>(args: &[Value<'a>]) -> Made<'a> {
    let (a, b) = (list(args, 0)?, list(args, 1)?);
    bounded(a, b)?;
    let (b, mut found) = (Value::List(b.clone()), false);
    a.each(|it| {
        found = contains(&b, &it)?;
        Ok(!found)
    })?;
    Ok(Value::Bool(found))
}
