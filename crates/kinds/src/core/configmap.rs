//! ConfigMap: texts and bytes that pods read as files or environment (API reference: config-and-storage-resources).
//!
//! The exemplar of a simple kind: its value, then one function for each hook that it has.

use skiff_api::check;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column};
use skiff_api::names;
use skiff_api::object::Object;
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource = Resource::core("configmaps", "ConfigMap");

/// All keys and values together: what fits into a store record of upstream.
pub const DATA_MOST: usize = 1024 * 1024;

pub fn kind() -> Kind {
    Kind {
        short: vec!["cm".into()],
        columns: vec![name_column(), column("Data", Cell::With(count)), age_column()],
        hooks: Hooks { validate, ..Hooks::NONE },
        ..Kind::new(RESOURCE)
    }
}

fn count(map: &Object) -> Value {
    (map.map("data").len() + map.map("binaryData").len()).into()
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let (data, binary) = (Path::new("data"), Path::new("binaryData"));
    let mut size = 0;
    for (key, value) in new.map("data") {
        validate_key(&data.key(key), key, errors);
        if new.map("binaryData").contains_key(key) {
            errors.invalid(&data.key(key), key.as_str(), "duplicate of key present in binaryData");
        }
        size += value.as_str().map_or(0, str::len);
    }
    for (key, value) in new.map("binaryData") {
        validate_key(&binary.key(key), key, errors);
        size += value.as_str().map_or(0, |text| text.len() / 4 * 3);
    }
    if size > DATA_MOST {
        errors.too_long(&Path::new("[]"), DATA_MOST);
    }
    if let Some(old) = old {
        validate_immutable(new, old, &["data", "binaryData"], errors);
    }
}

/// The rule of `immutable: true`, which Secret shares.
pub fn validate_immutable(
    new: &Object,
    old: &Object,
    fields: &[&'static str],
    errors: &mut Errors,
) {
    if !old.flag("immutable") {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    if !new.flag("immutable") {
        errors.forbidden(&Path::new("immutable"), why);
    }
    for field in fields {
        if new.map(field) != old.map(field) {
            errors.forbidden(&Path::new(field), why);
        }
    }
}

/// A key becomes a file name: the rule that Secret and the volumes share.
pub fn validate_key(path: &Path, key: &str, errors: &mut Errors) {
    check::refuse(path, key, key_problems(key), errors);
}

/// What is wrong with a key of a ConfigMap or Secret.
pub fn key_problems(key: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if key.len() > names::SUBDOMAIN_MOST {
        wrong.push(format!("must be no more than {} bytes", names::SUBDOMAIN_MOST));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if key.is_empty() || !key.chars().all(allowed) {
        wrong.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
             'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                .into(),
        );
    }
    match key {
        "." => wrong.push("must not be '.'".into()),
        ".." => wrong.push("must not be '..'".into()),
        _ if key.starts_with("..") => wrong.push("must not start with '..'".into()),
        _ => {}
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    fn check(new: Value, old: Option<Value>) -> String {
        let mut errors = Errors::new();
        validate(&Object::new(new), old.map(Object::new).as_ref(), &mut errors);
        if errors.is_empty() { "valid".into() } else { errors.text() }
    }

    #[test]
    fn keys_and_immutability_are_checked() {
        assert_eq!(check(json!({"data": {"a.b": "c"}}), None), "valid");
        assert!(
            check(json!({"data": {"a b": "c"}}), None)
                .starts_with("data[a b]: Invalid value: \"a b\": a valid")
        );
        let old = json!({"immutable": true, "data": {"a": "1"}});
        assert_eq!(check(old.clone(), Some(old.clone())), "valid");
        assert_eq!(
            check(json!({"immutable": true, "data": {"a": "2"}}), Some(old)),
            "data: Forbidden: field is immutable when `immutable` is set"
        );
    }
}
