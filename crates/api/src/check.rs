//! The vocabulary of checks: what validations say of a field in the same words, wherever it stands. A check adds to the
//! errors, in the order in which it is called, and decides nothing else.

use crate::errors::{Errors, Path};
use crate::names;
use crate::object::{Object, at};
use crate::selector::{ProblemKind, validate_label_selector};
use serde_json::Value;
use std::collections::HashSet;
use std::net::IpAddr;

pub use crate::object::{entries, flag, int, list, text};

/// Any 31-bit number is a user or group.
const ID_MOST: i64 = i32::MAX as i64;
const FILE_MODE_MOST: i64 = 0o777;

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

/// What is wrong with a LabelSelector, where it is set.
pub fn label_selector(value: &Value, field: &str, path: &Path, errors: &mut Errors) {
    let Some(selector) = at(value, field) else { return };
    let here = path.child(field);
    for problem in validate_label_selector(selector) {
        let at = here.child(&problem.path);
        match problem.kind {
            ProblemKind::Required => errors.required(&at, &problem.detail),
            ProblemKind::Forbidden => errors.forbidden(&at, &problem.detail),
            ProblemKind::Invalid => errors.invalid(&at, problem.value, &problem.detail),
        }
    }
}
