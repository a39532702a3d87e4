//! Operators, and what every value can be asked: its size, its type, a part of a time.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Function;
use crate::equal;
use crate::eval::{contains, plus};
use crate::run::RunError;
use crate::time;
use crate::value::{Map, Value};

type Made<'a> = Result<Value<'a>, RunError>;

pub fn find(name: &str) -> Option<Function> {
    Some(match name {
        "!_" => not,
        "@not_strictly_false" => |args| Ok(Value::Bool(!matches!(args[0], Value::Bool(false)))),
        "_&&_" | "_||_" | "_?_:_" | "_[_]" | "_[?_]" | "_?._" | "or" | "orValue" => planned,
        "_==_" => |args| equal::equal(&args[0], &args[1]).map(Value::Bool),
        "_!=_" => |args| equal::equal(&args[0], &args[1]).map(|it| Value::Bool(!it)),
        "_<_" => |args| ordered(args, |it| it == Ordering::Less),
        "_<=_" => |args| ordered(args, |it| it != Ordering::Greater),
        "_>_" => |args| ordered(args, |it| it == Ordering::Greater),
        "_>=_" => |args| ordered(args, |it| it != Ordering::Less),
        "_+_" => add,
        "_-_" => subtract,
        "_*_" => multiply,
        "_/_" => divide,
        "_%_" => modulo,
        "-_" => negate,
        "@in" => |args| contains(&args[1], &args[0]).map(Value::Bool),
        "size" => size,
        "type" => |args| Ok(Value::kind(args[0].type_name())),
        "dyn" => |args| Ok(args[0].clone()),
        "optional.of" => |args| Ok(Value::some(args[0].clone())),
        "optional.ofNonZeroValue" => |args| {
            Ok(if args[0].is_zero() { Value::Optional(None) } else { Value::some(args[0].clone()) })
        },
        "optional.none" => |_| Ok(Value::Optional(None)),
        "value" => value,
        "hasValue" => has_value,
        "optional.unwrap" | "unwrapOpt" => unwrap,
        "cel.@mapInsert" => map_insert,
        "getFullYear" => |args| time::part("getFullYear", &args[0], args.get(1)),
        "getMonth" => |args| time::part("getMonth", &args[0], args.get(1)),
        "getDayOfYear" => |args| time::part("getDayOfYear", &args[0], args.get(1)),
        "getDayOfMonth" => |args| time::part("getDayOfMonth", &args[0], args.get(1)),
        "getDate" => |args| time::part("getDate", &args[0], args.get(1)),
        "getDayOfWeek" => |args| time::part("getDayOfWeek", &args[0], args.get(1)),
        "getHours" => |args| time::part("getHours", &args[0], args.get(1)),
        "getMinutes" => |args| time::part("getMinutes", &args[0], args.get(1)),
        "getSeconds" => |args| time::part("getSeconds", &args[0], args.get(1)),
        "getMilliseconds" => |args| time::part("getMilliseconds", &args[0], args.get(1)),
        // What a value of the caller answers itself.
        "path" | "group" | "serviceAccount" | "resource" | "subresource" | "namespace" | "name"
        | "fieldSelector" | "labelSelector" | "check" | "errored" | "error" | "allowed"
        | "reason" => planned,
        _ => return None,
    })
}

/// These are steps of their own, or are answered by a value of the caller.
fn planned<'a>(_: &[Value<'a>]) -> Made<'a> {
    Err(RunError::no_overload())
}

fn overflow() -> RunError {
    RunError::of("integer overflow")
}

fn not<'a>(args: &[Value<'a>]) -> Made<'a> {
    match args[0] {
        Value::Bool(it) => Ok(Value::Bool(!it)),
        _ => Err(RunError::no_overload()),
    }
}

fn ordered<'a>(args: &[Value], holds: fn(Ordering) -> bool) -> Made<'a> {
    match equal::compare(&args[0], &args[1]) {
        Some(found) => Ok(Value::Bool(holds(found))),
        None if matches!((&args[0], &args[1]), (Value::Double(_), _) | (_, Value::Double(_))) => {
            Err(RunError::of("NaN values cannot be ordered"))
        }
        None => Err(RunError::no_overload()),
    }
}

fn add<'a>(args: &[Value<'a>]) -> Made<'a> {
    let time = |it: &jiff::Timestamp, nanos: i64| {
        it.checked_add(jiff::SignedDuration::from_nanos(nanos))
            .ok()
            .filter(|it| time::in_range(*it))
            .map(Value::Time)
            .ok_or_else(|| RunError::of("timestamp overflow"))
    };
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => a.checked_add(*b).map(Value::Int).ok_or_else(overflow),
        (Value::Uint(a), Value::Uint(b)) => a
            .checked_add(*b)
            .map(Value::Uint)
            .ok_or_else(|| RunError::of("unsigned integer overflow")),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        (Value::Text(a), Value::Text(b)) => {
            let (a, b) = (a.as_str(), b.as_str());
            if a.len() + b.len() > super::LARGEST {
                return Err(RunError::Cost);
            }
            Ok(Value::text(format!("{a}{b}")))
        }
        (Value::Bytes(a), Value::Bytes(b)) => {
            if a.len() + b.len() > super::LARGEST {
                return Err(RunError::Cost);
            }
            Ok(Value::Bytes([&**a, &**b].concat().into()))
        }
        (Value::List(a), Value::List(b)) => plus(a, b),
        (Value::Duration(a), Value::Duration(b)) => {
            a.checked_add(*b).map(Value::Duration).ok_or_else(|| RunError::of("duration overflow"))
        }
        (Value::Time(a), Value::Duration(b)) | (Value::Duration(b), Value::Time(a)) => time(a, *b),
        _ => Err(RunError::no_overload()),
    }
}

fn subtract<'a>(args: &[Value<'a>]) -> Made<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => a.checked_sub(*b).map(Value::Int).ok_or_else(overflow),
        (Value::Uint(a), Value::Uint(b)) => a
            .checked_sub(*b)
            .map(Value::Uint)
            .ok_or_else(|| RunError::of("unsigned integer overflow")),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a - b)),
        (Value::Duration(a), Value::Duration(b)) => {
            a.checked_sub(*b).map(Value::Duration).ok_or_else(|| RunError::of("duration overflow"))
        }
        (Value::Time(a), Value::Time(b)) => {
            let nanos = a.as_nanosecond() - b.as_nanosecond();
            i64::try_from(nanos).map(Value::Duration).map_err(|_| RunError::of("duration overflow"))
        }
        (Value::Time(_), Value::Duration(b)) => {
            let b = b.checked_neg().ok_or_else(|| RunError::of("timestamp overflow"))?;
            add(&[args[0].clone(), Value::Duration(b)])
        }
        _ => Err(RunError::no_overload()),
    }
}

fn multiply<'a>(args: &[Value<'a>]) -> Made<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => a.checked_mul(*b).map(Value::Int).ok_or_else(overflow),
        (Value::Uint(a), Value::Uint(b)) => a
            .checked_mul(*b)
            .map(Value::Uint)
            .ok_or_else(|| RunError::of("unsigned integer overflow")),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
        _ => Err(RunError::no_overload()),
    }
}

fn divide<'a>(args: &[Value<'a>]) -> Made<'a> {
    let by_zero = || RunError::of("division by zero");
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => Err(by_zero()),
        (Value::Int(a), Value::Int(b)) => a.checked_div(*b).map(Value::Int).ok_or_else(overflow),
        (Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a / b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
        _ => Err(RunError::no_overload()),
    }
}

fn modulo<'a>(args: &[Value<'a>]) -> Made<'a> {
    let by_zero = || RunError::of("modulus by zero");
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => Err(by_zero()),
        (Value::Int(a), Value::Int(b)) => a.checked_rem(*b).map(Value::Int).ok_or_else(overflow),
        (Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a % b)),
        _ => Err(RunError::no_overload()),
    }
}

fn negate<'a>(args: &[Value<'a>]) -> Made<'a> {
    match args[0] {
        Value::Int(it) => it.checked_neg().map(Value::Int).ok_or_else(overflow),
        Value::Double(it) => Ok(Value::Double(-it)),
        _ => Err(RunError::no_overload()),
    }
}

fn size<'a>(args: &[Value<'a>]) -> Made<'a> {
    match &args[0] {
        it @ (Value::Text(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_)) => {
            Ok(Value::Int(i64::try_from(it.size()).unwrap_or(i64::MAX)))
        }
        _ => Err(RunError::no_overload()),
    }
}

fn value<'a>(args: &[Value<'a>]) -> Made<'a> {
    match &args[0] {
        Value::Optional(Some(it)) => Ok((**it).clone()),
        Value::Optional(None) => Err(RunError::of("optional.none() dereference")),
        _ => Err(RunError::no_overload()),
    }
}

fn has_value<'a>(args: &[Value<'a>]) -> Made<'a> {
    match &args[0] {
        Value::Optional(it) => Ok(Value::Bool(it.is_some())),
        _ => Err(RunError::no_overload()),
    }
}

fn unwrap<'a>(args: &[Value<'a>]) -> Made<'a> {
    let Value::List(list) = &args[0] else { return Err(RunError::no_overload()) };
    let mut all = Vec::new();
    list.each(|it| {
        match it {
            Value::Optional(it) => all.extend(it.map(|it| (*it).clone())),
            other => return Err(RunError::of(format!("value {other:?} is not optional"))),
        }
        Ok(true)
    })?;
    Ok(Value::list(all))
}

/// Only the macros call it, and they do it themselves; by hand it makes a new map.
fn map_insert<'a>(args: &[Value<'a>]) -> Made<'a> {
    let Value::Map(map) = &args[0] else { return Err(RunError::no_overload()) };
    let mut all = std::collections::BTreeMap::new();
    for (key, value) in map.entries()? {
        all.insert(key, value?);
    }
    let key = args[1].to_key().ok_or_else(RunError::no_overload)?;
    if let Some(value) = args.get(2) {
        all.insert(key, value.clone());
    }
    Ok(Value::Map(Map::Owned(Arc::new(all))))
}
