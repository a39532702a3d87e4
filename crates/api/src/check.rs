//! The vocabulary of checks: what validations say of a field in the same words, wherever it stands. A check adds to the
//! errors, in the order in which it is called, and decides nothing else.

use crate::errors::{Errors, Path};
use crate::names;
use crate::object::{Object, at};
use crate::selector::{ProblemKind, validate_label_selector};
use skiff_json::Value;
use std::collections::HashSet;
use std::net::IpAddr;

pub use crate::object::{entries, flag, int, list, text};

/// Any 31-bit number is a user or group.
const ID_MOST: i64 = i32::MAX as i64;
const FILE_MODE_MOST: i64 = 0o777;
/// What a condition may be, and how much it may say.
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
const REASON_MOST: usize = 1024;
const MESSAGE_MOST: usize = 32 * 1024;

/// Refuses an absent or empty text.
pub fn required(value: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if text(value, field).is_empty() {
        errors.required(&path.child(field), "");
    }
}

/// Refuses a text that stood before; those are `seen`.
pub fn unique<'a>(path: &Path, text: &'a str, seen: &mut HashSet<&'a str>, errors: &mut Errors) {
    if !seen.insert(text) {
        errors.duplicate(path, text);
    }
}

/// Refuses that a field is not what it was.
pub fn immutable(path: &str, new: &Object, old: &Object, errors: &mut Errors) {
    if new.at(path) != old.at(path) {
        let shown = new.at(path).cloned().unwrap_or(Value::Null);
        errors.invalid(&Path::new(path), shown, "field is immutable");
    }
}

/// The same where it is a rule of the schema (`k8s:immutable` in the Go types): no value is shown then.
pub fn fixed(path: &str, new: &Object, old: &Object, errors: &mut Errors) {
    if new.at(path) != old.at(path) {
        errors.invalid(&Path::new(path), Value::Null, "field is immutable");
    }
}

/// Refuses more items than that; says whether they may be looked at.
pub fn at_most(path: &Path, count: usize, most: usize, errors: &mut Errors) -> bool {
    if count > most {
        errors.too_many(path, count, most);
    }
    count <= most
}

/// One error for each thing that is wrong with a text.
pub fn refuse(path: &Path, text: &str, wrong: Vec<String>, errors: &mut Errors) {
    for why in wrong {
        errors.invalid(path, text, &why);
    }
}

pub fn label(path: &Path, text: &str, errors: &mut Errors) {
    refuse(path, text, names::label(text), errors);
}

pub fn subdomain(path: &Path, text: &str, errors: &mut Errors) {
    refuse(path, text, names::subdomain(text), errors);
}

/// The key of a label or annotation: `prefix/name`.
pub fn qualified(path: &Path, text: &str, errors: &mut Errors) {
    refuse(path, text, names::qualified(text), errors);
}

/// A text out of a closed set; absent and empty are refused as required.
pub fn one_of(path: &Path, text: &str, known: &[&str], errors: &mut Errors) {
    if text.is_empty() {
        errors.required(path, "");
    } else if !known.contains(&text) {
        errors.not_supported(path, text, known);
    }
}

/// A text out of a closed set, where it is there at all.
pub fn one_of_if_set(value: &Value, field: &str, known: &[&str], path: &Path, errors: &mut Errors) {
    if let Some(found) = at(value, field).and_then(Value::as_str)
        && !known.contains(&found)
    {
        errors.not_supported(&path.child(field), found, known);
    }
}

pub fn port_number(path: &Path, port: i64, errors: &mut Errors) {
    if !(1..=65535).contains(&port) {
        errors.invalid(path, port, "must be between 1 and 65535, inclusive");
    }
}

/// What is wrong with the name of a port.
pub fn port_name_problems(name: &str) -> Vec<String> {
    let charset = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
    let mut wrong: Vec<String> = names::port_name(name).into_iter().map(str::to_owned).collect();
    if name.is_empty() {
        wrong.insert(0, charset.to_owned());
    }
    wrong
}

/// A port by its number or its name.
pub fn port(path: &Path, port: Option<&Value>, errors: &mut Errors) {
    match port {
        Some(Value::String(name)) => refuse(path, name, port_name_problems(name), errors),
        Some(number) => port_number(path, number.as_i64().unwrap_or(0), errors),
        None => port_number(path, 0, errors),
    }
}

/// A name within a domain: `example.com/name`.
pub fn domain_prefixed(path: &Path, text: &str, errors: &mut Errors) {
    if text.is_empty() {
        return errors.required(path, "");
    }
    let parts =
        text.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty());
    let Some((domain, rest)) = parts else {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return errors.invalid(path, text, why);
    };
    subdomain(path, domain, errors);
    if !rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b)) {
        let why = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        errors.invalid(path, rest, why);
    }
}

/// The name of an environment variable (KEP-4369).
pub fn env_name(path: &Path, name: &str, errors: &mut Errors) {
    if !name.chars().all(|c| (' '..='~').contains(&c) && c != '=') {
        let why = "a valid environment variable name must consist only of printable ASCII characters other than '='";
        errors.invalid(path, name, why);
    }
}

/// A user or group id, where it is set.
pub fn id(value: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if let Some(id) = int(value, field) {
        id_number(&path.child(field), id, errors);
    }
}

pub fn id_number(path: &Path, id: i64, errors: &mut Errors) {
    if !(0..=ID_MOST).contains(&id) {
        errors.invalid(path, id, "must be between 0 and 2147483647, inclusive");
    }
}

/// The mode of a file, where it is set.
pub fn file_mode(value: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if let Some(mode) = int(value, field).filter(|mode| !(0..=FILE_MODE_MOST).contains(mode)) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.invalid(&path.child(field), mode, why);
    }
}

/// An address; leading zeros and mapped ones are refused, for programs read them differently (KEP-4858).
pub fn ip(path: &Path, text: &str, errors: &mut Errors) {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            errors.invalid(path, text, "must not be an IPv4-mapped IPv6 address");
        }
        Ok(_) => {}
        Err(_) if without_zeros(text).parse::<IpAddr>().is_ok() => {
            errors.invalid(path, text, "must not have leading 0s");
        }
        Err(_) => {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            errors.invalid(path, text, why);
        }
    }
}

fn without_zeros(text: &str) -> String {
    let strip = |part: &str| match part.trim_start_matches('0') {
        "" if !part.is_empty() => "0".to_owned(),
        rest => rest.to_owned(),
    };
    text.split('.').map(strip).collect::<Vec<_>>().join(".")
}

/// No part of the path leads up.
pub fn no_backsteps(path: &Path, text: &str, errors: &mut Errors) {
    if text.split('/').any(|part| part == "..") {
        errors.invalid(path, text, "must not contain '..'");
    }
}

/// A path that stays below where it starts.
pub fn descending(path: &Path, text: &str, errors: &mut Errors) {
    if text.starts_with('/') {
        errors.invalid(path, text, "must be a relative path");
    }
    no_backsteps(path, text, errors);
}

/// A descending path that does not look like the hidden folders in which volumes are swapped.
pub fn descending_unreserved(path: &Path, text: &str, errors: &mut Errors) {
    descending(path, text, errors);
    if text.starts_with("..") && !text.starts_with("../") {
        errors.invalid(path, text, "must not start with '..'");
    }
}

pub fn not_negative(path: &Path, number: i64, errors: &mut Errors) {
    if number < 0 {
        errors.invalid(path, number, "must be greater than or equal to 0");
    }
}

/// What is wrong with conditions (API reference: Condition of meta/v1).
pub fn conditions(conditions: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let here = path.index(index);
        let type_ = text(condition, "type");
        unique(&here, type_, &mut seen, errors);
        match type_ {
            "" => errors.required(&here.child("type"), "is required"),
            type_ => qualified(&here.child("type"), type_, errors),
        }
        one_of(&here.child("status"), text(condition, "status"), &STATUSES, errors);
        if let Some(number) = int(condition, "observedGeneration").filter(|number| *number < 0) {
            let why = "must be greater than or equal to zero";
            errors.invalid(&here.child("observedGeneration"), number, why);
        }
        required(condition, "lastTransitionTime", &here, errors);
        reason(text(condition, "reason"), &here.child("reason"), errors);
        if text(condition, "message").len() > MESSAGE_MOST {
            errors.too_long(&here.child("message"), MESSAGE_MOST);
        }
    }
}

fn reason(reason: &str, path: &Path, errors: &mut Errors) {
    if reason.is_empty() {
        return errors.required(path, "");
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ',' | ':');
    let whole = reason.chars().all(inner)
        && reason.starts_with(|c: char| c.is_ascii_alphabetic())
        && !reason.ends_with([',', ':']);
    if !whole {
        let why = "a condition reason must start with alphabetic character, optionally followed by a string of \
                   alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. \
                   'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used \
                   for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
        errors.invalid(path, reason, why);
    }
    if reason.len() > REASON_MOST {
        errors.too_long(path, REASON_MOST);
    }
}

/// What is wrong with a LabelSelector, where it is set.
pub fn label_selector(value: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if let Some(given) = at(value, field) {
        selector(given, &path.child(field), errors);
    }
}

/// What is wrong with the LabelSelector at this path.
pub fn selector(given: &Value, path: &Path, errors: &mut Errors) {
    for problem in validate_label_selector(given) {
        let at = path.child(&problem.path);
        match problem.kind {
            ProblemKind::Required => errors.required(&at, &problem.detail),
            ProblemKind::Forbidden => errors.forbidden(&at, &problem.detail),
            ProblemKind::Invalid => errors.invalid(&at, problem.value, &problem.detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn every_part_is_looked_at() {
        let mut errors = Errors::new();
        let conditions = [json!({"type": "A", "status": "x", "reason": "1"}), json!({"type": "A"})];
        super::conditions(&conditions, &Path::new("c"), &mut errors);
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
