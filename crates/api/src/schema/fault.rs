//! What is wrong with one field, in the words and with the reasons of upstream's field errors.
//!
//! A fault is data for the answer: the path, the reason of a Status cause, and the message that
//! follows the path. Texts follow the API conventions ("Invalid value: 11: ...").

use skiff_json::Value;

/// The reason of a Status cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Required,
    Invalid,
    TypeInvalid,
    Forbidden,
    NotSupported,
    TooLong,
    TooMany,
    Duplicate,
    Internal,
}

impl Reason {
    /// As a Status writes it.
    pub fn text(self) -> &'static str {
        match self {
            Reason::Required => "FieldValueRequired",
            Reason::Invalid => "FieldValueInvalid",
            Reason::TypeInvalid => "FieldValueTypeInvalid",
            Reason::Forbidden => "FieldValueForbidden",
            Reason::NotSupported => "FieldValueNotSupported",
            Reason::TooLong => "FieldValueTooLong",
            Reason::TooMany => "FieldValueTooMany",
            Reason::Duplicate => "FieldValueDuplicate",
            Reason::Internal => "InternalError",
        }
    }
}

/// One wrong field; shown as `path: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub path: String,
    pub reason: Reason,
    pub message: String,
}

impl Fault {
    pub fn required(path: impl Into<String>, detail: &str) -> Fault {
        Fault::new(path, Reason::Required, with("Required value", detail))
    }

    pub fn forbidden(path: impl Into<String>, detail: &str) -> Fault {
        Fault::new(path, Reason::Forbidden, with("Forbidden", detail))
    }

    pub fn invalid(path: impl Into<String>, value: &Value, detail: &str) -> Fault {
        let message = format!("Invalid value: {}: {detail}", shown(value));
        Fault::new(path, Reason::Invalid, message)
    }

    pub fn type_invalid(path: impl Into<String>, value: &Value, detail: &str) -> Fault {
        Fault { reason: Reason::TypeInvalid, ..Fault::invalid(path, value, detail) }
    }

    pub fn duplicate(path: impl Into<String>, value: &Value) -> Fault {
        Fault::new(path, Reason::Duplicate, format!("Duplicate value: {}", shown(value)))
    }

    pub fn too_long(path: impl Into<String>, most: u64) -> Fault {
        let message = format!("Too long: may not be more than {most} bytes");
        Fault::new(path, Reason::TooLong, message)
    }

    pub fn too_many(path: impl Into<String>, found: usize, most: u64) -> Fault {
        let message = format!("Too many: {found}: must have at most {most} items");
        Fault::new(path, Reason::TooMany, message)
    }

    pub fn not_supported(path: impl Into<String>, value: &Value, allowed: &[String]) -> Fault {
        let allowed: Vec<String> = allowed.iter().map(|it| format!("{it:?}")).collect();
        let message = format!(
            "Unsupported value: {}: supported values: {}",
            shown(value),
            allowed.join(", ")
        );
        Fault::new(path, Reason::NotSupported, message)
    }

    fn new(path: impl Into<String>, reason: Reason, message: String) -> Fault {
        Fault { path: path.into(), reason, message }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// A value inside a message: numbers as Go prints them, the rest as JSON.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Number(it) if it.is_f64() => number(it.as_f64().unwrap_or(f64::NAN)),
        other => other.to_string(),
    }
}

/// A floating point number as Go's `%v` prints it: an exponent from 10^21 on, and for large numbers
/// that were written with a point already from 10^6 on.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || (1e-4..1e6).contains(&size) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').expect("scientific notation has an exponent");
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

fn with(what: &str, detail: &str) -> String {
    if detail.is_empty() { what.into() } else { format!("{what}: {detail}") }
}
