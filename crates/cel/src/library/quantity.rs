//! Quantities (Kubernetes' `quantity`): parsed, compared, added.

use std::cmp::Ordering;
use std::sync::Arc;

use skiff_api::quantity::{Format, Quantity};

use super::{Function, text};
use crate::run::RunError;
use crate::value::Value;

type Made<'a> = Result<Value<'a>, RunError>;

pub fn find(name: &str) -> Option<Function> {
    Some(match name {
        "quantity" => |args| {
            Quantity::parse(text(args, 0)?)
                .map(|it| Value::Quantity(Arc::new(it)))
                .map_err(|error| RunError::of(error.to_string()))
        },
        "isQuantity" => |args| Ok(Value::Bool(Quantity::parse(text(args, 0)?).is_ok())),
        "sign" => |args| {
            let it = quantity(args, 0)?;
            let positive = i64::from(!it.is_zero());
            Ok(Value::Int(if it.is_negative() { -1 } else { positive }))
        },
        "isInteger" => |args| Ok(Value::Bool(whole(quantity(args, 0)?).is_some())),
        "asInteger" => |args| match whole(quantity(args, 0)?) {
            Some(it) => Ok(Value::Int(it)),
            None => Err(RunError::of("cannot convert value to integer")),
        },
        "asApproximateFloat" => |args| Ok(Value::Double(quantity(args, 0)?.approximate())),
        "add" => |args| combined(args, Quantity::add),
        "sub" => |args| combined(args, Quantity::sub),
        "isGreaterThan" => |args| Ok(Value::Bool(order(args)? == Ordering::Greater)),
        "isLessThan" => |args| Ok(Value::Bool(order(args)? == Ordering::Less)),
        "compareTo" => |args| Ok(Value::Int(order(args)? as i64)),
        _ => return None,
    })
}

fn quantity<'v>(args: &'v [Value], at: usize) -> Result<&'v Quantity, RunError> {
    match args.get(at) {
        Some(Value::Quantity(it)) => Ok(it),
        _ => Err(RunError::no_overload()),
    }
}

/// Quantities and versions are compared by the same names.
fn order(args: &[Value]) -> Result<Ordering, RunError> {
    match (&args[0], &args[1]) {
        (Value::Quantity(a), Value::Quantity(b)) => Ok(a.cmp(b)),
        (Value::Semver(a), Value::Semver(b)) => Ok(a.compare(b)),
        _ => Err(RunError::no_overload()),
    }
}

fn whole(it: &Quantity) -> Option<i64> {
    let value = it.value();
    (Quantity::new(value, Format::Decimal) == *it).then_some(value)
}

fn combined<'a>(args: &[Value<'a>], by: fn(&mut Quantity, &Quantity)) -> Made<'a> {
    let mut it = quantity(args, 0)?.clone();
    match &args[1] {
        Value::Quantity(other) => by(&mut it, other),
        Value::Int(other) => by(&mut it, &Quantity::new(*other, Format::DecimalExponent)),
        _ => return Err(RunError::no_overload()),
    }
    Ok(Value::Quantity(Arc::new(it)))
}
