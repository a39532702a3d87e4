//! The names of a custom resource, as wished for and as accepted.

use skiff_api::errors::{Errors, Path};
use skiff_api::names;
use skiff_api::object::at;
use skiff_json::Value;

/// The rules that hold wherever names stand; that some must be there is a rule of `spec` alone.
pub fn validate(path: &Path, given: &Value, errors: &mut Errors) {
    let text = |field: &str| at(given, field).and_then(Value::as_str).unwrap_or("");
    for field in ["plural", "singular"] {
        label(&path.child(field), text(field), errors);
    }
    for field in ["kind", "listKind"] {
        let wrong = names::label1035(&text(field).to_lowercase());
        if !text(field).is_empty() && !wrong.is_empty() {
            let why = "may have mixed case, but should otherwise match: ";
            errors.invalid(&path.child(field), text(field), &format!("{why}{}", wrong.join(",")));
        }
    }
    list(&path.child("shortNames"), given, "shortNames", errors);
    if !text("kind").is_empty() && text("kind") == text("listKind") {
        let why = "kind and listKind may not be the same";
        errors.invalid(&path.child("listKind"), text("listKind"), why);
    }
    list(&path.child("categories"), given, "categories", errors);
}

fn list(path: &Path, given: &Value, field: &str, errors: &mut Errors) {
    let list = at(given, field).and_then(Value::as_array);
    for (index, name) in list.into_iter().flatten().enumerate() {
        let name = name.as_str().unwrap_or("");
        let wrong = names::label1035(name);
        if !wrong.is_empty() {
            errors.invalid(&path.index(index), name, &wrong.join(","));
        }
    }
}

fn label(path: &Path, name: &str, errors: &mut Errors) {
    let wrong = names::label1035(name);
    if !name.is_empty() && !wrong.is_empty() {
        errors.invalid(path, name, &wrong.join(","));
    }
}
