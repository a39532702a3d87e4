//! The functions of the language and of Kubernetes' libraries: one file each, one line here.
//!
//! A function is given its arguments, the receiver first, and is pure. What it does is bounded by the
//! size of its arguments; what it makes by `LARGEST`.

pub mod convert;
pub mod format;
pub mod lists;
pub mod net;
pub mod operators;
pub mod pattern;
pub mod print;
pub mod quantity;
pub mod semver;
pub mod strings;
pub mod url;

use crate::run::RunError;
use crate::value::Value;

/// A function of the table.
pub type Function = for<'a> fn(&[Value<'a>]) -> Result<Value<'a>, RunError>;

/// Their results for constants are constants.
pub const CONVERSIONS: &[&str] =
    &["bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"];

/// No text that a function makes may be longer: a request has 3 MiB, and costs are reckoned by what
/// goes in.
pub const LARGEST: usize = 16 << 20;

/// The code of a function.
pub fn find(name: &str) -> Option<Function> {
    operators::find(name)
        .or_else(|| convert::find(name))
        .or_else(|| strings::find(name))
        .or_else(|| lists::find(name))
        .or_else(|| net::find(name))
        .or_else(|| url::find(name))
        .or_else(|| quantity::find(name))
        .or_else(|| semver::find(name))
        .or_else(|| format::find(name))
}

/// A text argument.
pub fn text<'v>(args: &'v [Value], at: usize) -> Result<&'v str, RunError> {
    args.get(at).and_then(Value::as_text).ok_or_else(RunError::no_overload)
}

/// A whole argument.
pub fn int(args: &[Value], at: usize) -> Result<i64, RunError> {
    match args.get(at) {
        Some(Value::Int(it)) => Ok(*it),
        _ => Err(RunError::no_overload()),
    }
}
