//! Configuration that only drivers understand, and expressions that select devices.

use super::expression;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::at;
use skiff_json::Value;

const PARAMETERS_MOST: usize = 10 * 1024;
const EXPRESSION_MOST: usize = 10 * 1024;

/// `opaque` of a configuration: a driver, and an object of its own.
pub fn opaque(config: &Value, path: &Path, errors: &mut Errors) {
    let here = path.child("opaque");
    match at(config, "opaque") {
        None => errors.required(&here, ""),
        Some(opaque) => raw(opaque.get("parameters"), &here.child("parameters"), errors),
    }
}

/// An object that nobody here looks into.
pub fn raw(value: Option<&Value>, path: &Path, errors: &mut Errors) {
    match value {
        None | Some(Value::Null) => errors.required(path, ""),
        Some(value) if value.to_string().len() > PARAMETERS_MOST => {
            errors.too_long(path, PARAMETERS_MOST);
        }
        Some(Value::Object(_)) => {}
        Some(_) => errors.invalid(path, "<value omitted>", "must be a valid JSON object"),
    }
}

pub fn selectors(value: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("selectors");
    let selectors = list(value, "selectors");
    for (index, selector) in selectors.iter().enumerate().take(most(selectors, 32)) {
        let here = path.index(index);
        let here = here.child("cel");
        let Some(cel) = at(selector, "cel") else {
            errors.required(&here, "");
            continue;
        };
        let (here, given) = (here.child("expression"), text(cel, "expression"));
        match given.len() {
            0 => errors.invalid(&here, given, "compilation failed: it is empty"),
            length if length > EXPRESSION_MOST => errors.too_long(&here, EXPRESSION_MOST),
            _ => expression::validate(given, &here, errors),
        }
    }
}

/// How many items of a list are looked at by hand: of one that is too long none, and its declaration says so.
pub fn most(items: &[Value], most: usize) -> usize {
    if items.len() > most { 0 } else { most }
}
