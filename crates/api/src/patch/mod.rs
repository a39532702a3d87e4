//! Patches: JSON Patch (RFC 6902), JSON merge patch (RFC 7386) and strategic merge patch, on trees.
//!
//! A patch makes a new tree out of the current one; decoding, defaults, ownership and validation
//! come after it. The fourth type, server-side apply, is `crate::apply`.

pub mod json_patch;
pub mod merge;
pub mod shown;
pub mod strategic;

use skiff_json::Value;

use crate::json::{self, MAX_DEPTH};

/// Why a patch was refused, by the status code that it earns.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// 400: the patch cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// 413: too many operations, or too much that they ask for.
    #[error("{0}")]
    TooLarge(String),
    /// 422: this path would become deeper than anything may be.
    #[error("{0}: would be nested more than {MAX_DEPTH} levels deep")]
    TooDeep(String),
    /// 422: the patch does not fit the object. Upstream keeps the reason to itself; it is for the
    /// log.
    #[error("the server rejected our request due to an error in our request")]
    Unfit(String),
    /// 422: a test of the patch does not hold.
    #[error("the server rejected our request due to an error in our request")]
    Untrue(String),
    /// 500: the patch and the object contradict each other in a way that upstream gives no code.
    #[error("{0}")]
    Failed(String),
}

impl From<String> for Error {
    fn from(why: String) -> Error {
        Error::Unfit(why)
    }
}

/// The outcome of a patch.
#[derive(Debug, Clone, PartialEq)]
pub struct Patched {
    pub object: Value,
    /// Repeated fields of the patch: warnings, or errors under `fieldValidation=Strict`.
    pub odd: Vec<String>,
}

/// What is said about a patch that is not JSON.
const INVALID: &str = "invalid JSON patch";

fn read(bytes: &[u8]) -> Result<json::Parsed, Error> {
    json::parse(bytes).map_err(|_| Error::Unreadable(INVALID.to_string()))
}

fn not_an_object(value: &Value) -> String {
    let found = json::type_name(value);
    format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}")
}

#[cfg(test)]
mod tests;
