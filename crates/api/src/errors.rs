//! Field errors: what is wrong with an object, where, in the words that users of Kubernetes know.
//!
//! Validation collects all errors of an object; the server turns them into one 422 answer with a cause for each.

use crate::schema::fault::{Fault, Reason};
use skiff_json::Value;
use std::fmt;

/// A place in an object, as a chain on the stack: nothing is allocated until an error is written.
#[derive(Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    part: Part<'a>,
}

#[derive(Clone, Copy)]
enum Part<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The first field; may be dotted (`metadata.labels`).
    pub const fn new(field: &'a str) -> Path<'a> {
        Path { parent: None, part: Part::Field(field) }
    }
    pub const fn child(&'a self, field: &'a str) -> Path<'a> {
        Path { parent: Some(self), part: Part::Field(field) }
    }
    pub const fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), part: Part::Index(index) }
    }
    pub const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), part: Part::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.part {
            Part::Field(field) if self.parent.is_some() => write!(f, ".{field}"),
            Part::Field(field) => f.write_str(field),
            Part::Index(index) => write!(f, "[{index}]"),
            Part::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// The type of a field error; its text begins the message, its reason names the cause in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    Required,
    Invalid,
    NotSupported,
    Duplicate,
    Forbidden,
    TooLong,
    TooMany,
    NotFound,
    TypeInvalid,
    Internal,
}

impl ErrorType {
    /// `CauseType` in the API reference (metav1.StatusCause).
    pub fn reason(self) -> &'static str {
        match self {
            ErrorType::Required => "FieldValueRequired",
            ErrorType::Invalid => "FieldValueInvalid",
            ErrorType::NotSupported => "FieldValueNotSupported",
            ErrorType::Duplicate => "FieldValueDuplicate",
            ErrorType::Forbidden => "FieldValueForbidden",
            ErrorType::TooLong => "FieldValueTooLong",
            ErrorType::TooMany => "FieldValueTooMany",
            ErrorType::NotFound => "FieldValueNotFound",
            ErrorType::TypeInvalid => "FieldValueTypeInvalid",
            ErrorType::Internal => "InternalError",
        }
    }
}

/// One error: `field: body`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    pub type_: ErrorType,
    pub field: String,
    pub body: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body)
    }
}

/// What a structural schema finds wrong.
impl From<Fault> for FieldError {
    fn from(fault: Fault) -> FieldError {
        let type_ = match fault.reason {
            Reason::Required => ErrorType::Required,
            Reason::Invalid => ErrorType::Invalid,
            Reason::TypeInvalid => ErrorType::TypeInvalid,
            Reason::Forbidden => ErrorType::Forbidden,
            Reason::NotSupported => ErrorType::NotSupported,
            Reason::TooLong => ErrorType::TooLong,
            Reason::TooMany => ErrorType::TooMany,
            Reason::Duplicate => ErrorType::Duplicate,
            Reason::Internal => ErrorType::Internal,
        };
        FieldError { type_, field: fault.path, body: fault.message }
    }
}

/// The errors of one object, in the order they were found.
#[derive(Debug, Default)]
pub struct Errors(Vec<FieldError>);

impl Errors {
    pub fn new() -> Errors {
        Errors::default()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn iter(&self) -> impl Iterator<Item = &FieldError> {
        self.0.iter()
    }
    pub fn push(&mut self, type_: ErrorType, path: &Path, body: String) {
        self.0.push(FieldError { type_, field: path.to_string(), body });
    }
    pub fn add(&mut self, error: FieldError) {
        self.0.push(error);
    }
    pub fn append(&mut self, mut other: Errors) {
        self.0.append(&mut other.0);
    }

    pub fn required(&mut self, path: &Path, detail: &str) {
        self.push(ErrorType::Required, path, with_detail("Required value", detail));
    }
    pub fn invalid(&mut self, path: &Path, value: impl Into<Value>, detail: &str) {
        let head = format!("Invalid value: {}", show(&value.into()));
        self.push(ErrorType::Invalid, path, with_detail(&head, detail));
    }
    pub fn type_invalid(&mut self, path: &Path, value: impl Into<Value>, detail: &str) {
        let head = format!("Invalid value: {}", show(&value.into()));
        self.push(ErrorType::TypeInvalid, path, with_detail(&head, detail));
    }
    /// `supported` is shown in the given order.
    pub fn not_supported(&mut self, path: &Path, value: impl Into<Value>, supported: &[&str]) {
        let mut body = format!("Unsupported value: {}", show(&value.into()));
        if !supported.is_empty() {
            let quoted: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
            body = format!("{body}: supported values: {}", quoted.join(", "));
        }
        self.push(ErrorType::NotSupported, path, body);
    }
    pub fn duplicate(&mut self, path: &Path, value: impl Into<Value>) {
        self.push(ErrorType::Duplicate, path, format!("Duplicate value: {}", show(&value.into())));
    }
    pub fn forbidden(&mut self, path: &Path, detail: &str) {
        self.push(ErrorType::Forbidden, path, with_detail("Forbidden", detail));
    }
    pub fn too_long(&mut self, path: &Path, most: usize) {
        self.push(ErrorType::TooLong, path, format!("Too long: may not be more than {most} bytes"));
    }
    pub fn too_many(&mut self, path: &Path, actual: usize, most: usize) {
        let body = format!("Too many: {actual}: must have at most {most} items");
        self.push(ErrorType::TooMany, path, body);
    }
    pub fn internal(&mut self, path: &Path, why: &str) {
        self.push(ErrorType::Internal, path, format!("Internal error: {why}"));
    }
    pub fn not_found(&mut self, path: &Path, value: impl Into<Value>) {
        self.push(ErrorType::NotFound, path, format!("Not found: {}", show(&value.into())));
    }

    /// All errors as one text: the error itself, or several in brackets.
    pub fn text(&self) -> String {
        match &self.0[..] {
            [one] => one.to_string(),
            many => {
                let mut seen: Vec<String> = Vec::with_capacity(many.len());
                for error in many {
                    let text = error.to_string();
                    if !seen.contains(&text) {
                        seen.push(text);
                    }
                }
                if seen.len() == 1 { seen.remove(0) } else { format!("[{}]", seen.join(", ")) }
            }
        }
    }
}

fn with_detail(head: &str, detail: &str) -> String {
    if detail.is_empty() { head.to_owned() } else { format!("{head}: {detail}") }
}

/// A value as error messages show it: texts quoted, the rest as JSON.
pub fn show(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_users_know_them() {
        let mut errors = Errors::new();
        let spec = Path::new("spec");
        let ports = spec.child("ports");
        let port = ports.index(1);
        errors.required(&port.child("port"), "");
        assert_eq!(errors.text(), "spec.ports[1].port: Required value");
        errors.invalid(&spec.child("replicas"), -1, "must be greater than or equal to 0");
        errors.not_supported(&spec.child("type"), "X", &["A", "B"]);
        errors.invalid(&Path::new("metadata.labels").key("a b"), "c", "no");
        assert_eq!(
            errors.text(),
            "[spec.ports[1].port: Required value, spec.replicas: Invalid value: -1: must be greater than \
             or equal to 0, spec.type: Unsupported value: \"X\": supported values: \"A\", \"B\", \
             metadata.labels[a b]: Invalid value: \"c\": no]"
        );
    }
}
