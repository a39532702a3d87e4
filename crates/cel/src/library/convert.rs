//! Conversions between types, by the names of the types (CEL language definition, conversions).

use super::Function;
use crate::run::RunError;
use crate::time;
use crate::value::Value;

type Made<'a> = Result<Value<'a>, RunError>;

pub fn find(name: &str) -> Option<Function> {
    Some(match name {
        "bool" => to_bool,
        "bytes" => to_bytes,
        "double" => to_double,
        "duration" => to_duration,
        "int" => to_int,
        "string" => |args| to_text(&args[0]).map(Value::text),
        "timestamp" => to_time,
        "uint" => to_uint,
        _ => return None,
    })
}

fn no_conversion(it: &Value, to: &str) -> RunError {
    let from = match it.type_name() {
        "google.protobuf.Duration" => "duration",
        "google.protobuf.Timestamp" => "timestamp",
        other => other,
    };
    RunError::of(format!("type conversion error from '{from}' to '{to}'"))
}

fn to_bool<'a>(args: &[Value<'a>]) -> Made<'a> {
    match &args[0] {
        it @ Value::Bool(_) => Ok(it.clone()),
        it @ Value::Text(text) => match text.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
            _ => Err(no_conversion(it, "bool")),
        },
        _ => Err(RunError::no_overload()),
    }
}

fn to_bytes<'a>(args: &[Value<'a>]) -> Made<'a> {
    match &args[0] {
        it @ Value::Bytes(_) => Ok(it.clone()),
        Value::Text(text) => Ok(Value::Bytes(text.as_str().as_bytes().into())),
        _ => Err(RunError::no_overload()),
    }
}

fn to_double<'a>(args: &[Value<'a>]) -> Made<'a> {
    Ok(Value::Double(match &args[0] {
        Value::Double(it) => *it,
        Value::Int(it) => *it as f64,
        Value::Uint(it) => *it as f64,
        it @ Value::Text(text) => match text.as_str() {
            "+Inf" | "Inf" | "inf" | "+inf" | "Infinity" | "+Infinity" => f64::INFINITY,
            "-Inf" | "-inf" | "-Infinity" => f64::NEG_INFINITY,
            text => text.parse().map_err(|_| no_conversion(it, "double"))?,
        },
        _ => return Err(RunError::no_overload()),
    }))
}

fn to_duration<'a>(args: &[Value<'a>]) -> Made<'a> {
    match &args[0] {
        it @ Value::Duration(_) => Ok(it.clone()),
        it @ Value::Text(text) => skiff_api::duration::parse(text.as_str())
            .map(Value::Duration)
            .map_err(|_| no_conversion(it, "google.protobuf.Duration")),
        _ => Err(RunError::no_overload()),
    }
}

fn to_int<'a>(args: &[Value<'a>]) -> Made<'a> {
    let overflow = || RunError::of("integer overflow");
    Ok(Value::Int(match &args[0] {
        Value::Int(it) => *it,
        Value::Uint(it) => i64::try_from(*it).map_err(|_| overflow())?,
        Value::Double(it) if it.is_finite() && it.abs() < 2f64.powi(63) => *it as i64,
        Value::Double(_) => return Err(overflow()),
        Value::Duration(it) => *it,
        Value::Time(it) => it.as_second(),
        it @ Value::Text(text) => text.as_str().parse().map_err(|_| no_conversion(it, "int"))?,
        _ => return Err(RunError::no_overload()),
    }))
}

fn to_uint<'a>(args: &[Value<'a>]) -> Made<'a> {
    let overflow = || RunError::of("unsigned integer overflow");
    Ok(Value::Uint(match &args[0] {
        Value::Uint(it) => *it,
        Value::Int(it) => u64::try_from(*it).map_err(|_| overflow())?,
        Value::Double(it) if *it >= 0.0 && *it < 2f64.powi(64) => *it as u64,
        Value::Double(_) => return Err(overflow()),
        it @ Value::Text(text) => text.as_str().parse().map_err(|_| no_conversion(it, "uint"))?,
        _ => return Err(RunError::no_overload()),
    }))
}

fn to_time<'a>(args: &[Value<'a>]) -> Made<'a> {
    match &args[0] {
        it @ Value::Time(_) => Ok(it.clone()),
        Value::Int(it) => jiff::Timestamp::from_second(*it)
            .ok()
            .filter(|it| time::in_range(*it))
            .map(Value::Time)
            .ok_or_else(|| RunError::of("timestamp overflow")),
        it @ Value::Text(text) => time::rfc3339(text.as_str())
            .map(Value::Time)
            .ok_or_else(|| no_conversion(it, "google.protobuf.Timestamp")),
        _ => Err(RunError::no_overload()),
    }
}

/// A value as `string` writes it.
pub fn to_text(it: &Value) -> Result<String, RunError> {
    Ok(match it {
        Value::Text(it) => it.as_str().to_string(),
        Value::Bool(it) => it.to_string(),
        Value::Int(it) => it.to_string(),
        Value::Uint(it) => it.to_string(),
        Value::Double(it) => double_text(*it),
        Value::Bytes(it) => String::from_utf8(it.to_vec())
            .map_err(|_| RunError::of("invalid UTF-8 in bytes, cannot convert to string"))?,
        Value::Duration(it) => time::duration_text(*it),
        Value::Time(it) => time::written(*it),
        Value::Type(it) => it.to_string(),
        Value::Ip(it) => it.to_string(),
        Value::Cidr(it, length) => format!("{it}/{length}"),
        Value::Quantity(it) => it.to_string(),
        Value::Semver(it) => it.to_string(),
        Value::Url(it) => it.text.clone(),
        _ => return Err(RunError::no_overload()),
    })
}

/// A number as Go's `%g` writes it.
pub fn double_text(it: f64) -> String {
    if it.is_nan() {
        return "NaN".to_string();
    }
    if it.is_infinite() {
        return if it > 0.0 { "+Inf" } else { "-Inf" }.to_string();
    }
    let text = format!("{it:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    // Go's %g: with an exponent from a million on.
    if exponent.parse().is_ok_and(|it: i32| (-4..6).contains(&it)) {
        return format!("{it}");
    }
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(it) => ('-', it),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}
