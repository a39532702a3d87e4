//! The conditions of a status, as every kind checks them (API reference: Condition).

use serde_json::Value;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::at;
use std::collections::HashSet;

const REASON_MOST: usize = 1024;
const MESSAGE_MOST: usize = 32 * 1024;
const STATUSES: &[&str] = &["False", "True", "Unknown"];

pub fn validate(conditions: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let here = path.index(index);
        unique(&here, text(condition, "type"), &mut seen, errors);
        validate_one(condition, &here, errors);
    }
}

fn validate_one(condition: &Value, path: &Path, errors: &mut Errors) {
    match text(condition, "type") {
        "" => errors.required(&path.child("type"), "is required"),
        sort => qualified(&path.child("type"), sort, errors),
    }
    one_of(&path.child("status"), text(condition, "status"), STATUSES, errors);
    if let Some(generation) = int(condition, "observedGeneration").filter(|it| *it < 0) {
        let why = "must be greater than or equal to zero";
        errors.invalid(&path.child("observedGeneration"), generation, why);
    }
    if at(condition, "lastTransitionTime").is_none() {
        errors.required(&path.child("lastTransitionTime"), "");
    }
    let (here, reason) = (path.child("reason"), text(condition, "reason"));
    if reason.is_empty() {
        errors.required(&here, "");
    } else {
        if !is_reason(reason) {
            let why = "a condition reason must start with alphabetic character, optionally followed by a string of \
                       alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. \
                       'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex \
                       used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
            errors.invalid(&here, reason, why);
        }
        if reason.len() > REASON_MOST {
            errors.too_long(&here, REASON_MOST);
        }
    }
    if text(condition, "message").len() > MESSAGE_MOST {
        errors.too_long(&path.child("message"), MESSAGE_MOST);
    }
}

fn is_reason(reason: &str) -> bool {
    let word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    reason.starts_with(|c: char| c.is_ascii_alphabetic())
        && reason.chars().all(|c| word(c) || matches!(c, ',' | ':'))
        && reason.ends_with(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_part_is_looked_at() {
        let mut errors = Errors::new();
        let conditions = [json!({"type": "A", "status": "x", "reason": "1"}), json!({"type": "A"})];
        validate(&conditions, &Path::new("c"), &mut errors);
        let text = errors.text();
        for part in [
            "c[0].status: Unsupported value: \"x\"",
            "c[0].lastTransitionTime: Required value",
            "c[0].reason: Invalid value: \"1\": a condition reason must start",
            "c[1]: Duplicate value: \"A\"",
            "c[1].reason: Required value",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
