//! Which requests are meant: rules, selectors and conditions, in webhooks and policies alike (API reference:
//! policy-resources).

use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::names;
use skiff_api::object::at;
use skiff_json::{Value, json};
use std::collections::HashSet;

const CONDITIONS_MOST: usize = 64;
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
pub const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
/// What is deleted cannot be changed.
pub const MUTABLE_OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "UPDATE"];

/// Sets the fields of an object that it does not have.
pub fn fill(value: &mut Value, fields: &[(&str, Value)]) {
    let Some(map) = value.as_object_mut() else { return };
    for (field, default) in fields {
        let place = map.entry(*field).or_insert(Value::Null);
        if place.is_null() {
            *place = default.clone();
        }
    }
}

/// How requests are matched, where nothing is said.
pub fn default_matching(value: &mut Value) {
    let all = json!({});
    let fields = [("namespaceSelector", all.clone()), ("objectSelector", all)];
    fill(value, &[("matchPolicy", "Equivalent".into())]);
    fill(value, &fields);
}

/// The rules of a webhook or policy mean every scope.
pub fn default_rules(value: &mut Value, field: &str) {
    for rule in value.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
        fill(rule, &[("scope", "*".into())]);
    }
}

pub fn default_resources(value: &mut Value) {
    default_matching(value);
    default_rules(value, "resourceRules");
    default_rules(value, "excludeResourceRules");
}

/// A value that has to be there, and one of these.
pub fn chosen(value: &Value, field: &str, known: &[&str], path: &Path, errors: &mut Errors) {
    if at(value, field).is_none() {
        errors.required(&path.child(field), "");
    }
    one_of_if_set(value, field, known, path, errors);
}

pub fn matching(value: &Value, path: &Path, errors: &mut Errors) {
    one_of_if_set(value, "matchPolicy", MATCH_POLICIES, path, errors);
}

/// `matchConstraints` and `matchResources`.
pub fn resources(value: &Value, path: &Path, errors: &mut Errors) {
    chosen(value, "matchPolicy", MATCH_POLICIES, path, errors);
    for field in ["namespaceSelector", "objectSelector"] {
        if at(value, field).is_none() {
            errors.required(&path.child(field), "");
        }
        label_selector(value, field, path, errors);
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        let path = path.child(field);
        for (index, rule) in list(value, field).iter().enumerate() {
            named_rule(rule, &path.index(index), errors);
        }
    }
}

/// Rules of what is changed name no deletion.
pub fn mutable(value: &Value, path: &Path, errors: &mut Errors) {
    let (path, rules) = (path.child("resourceRules"), list(value, "resourceRules").iter());
    for operation in rules.flat_map(|rule| list(rule, "operations")).filter_map(Value::as_str) {
        if !MUTABLE_OPERATIONS.contains(&operation) {
            errors.not_supported(&path.child("operations"), operation, MUTABLE_OPERATIONS);
        }
    }
}

fn named_rule(rule: &Value, path: &Path, errors: &mut Errors) {
    let (mut seen, names_path) = (HashSet::new(), path.child("resourceNames"));
    for (index, name) in texts(rule, "resourceNames").into_iter().enumerate() {
        let here = names_path.index(index);
        refuse(&here, name, names::segment(name), errors);
        unique(&here, name, &mut seen, errors);
    }
    rule_with_operations(rule, path, errors);
}

fn texts<'a>(value: &'a Value, field: &str) -> Vec<&'a str> {
    list(value, field).iter().map(|it| it.as_str().unwrap_or("")).collect()
}

pub fn rule_with_operations(rule: &Value, path: &Path, errors: &mut Errors) {
    let operations = texts(rule, "operations");
    let here = path.child("operations");
    all_or_some(&here, &operations, "operations", errors);
    for (index, operation) in operations.iter().enumerate() {
        if !OPERATIONS.contains(operation) {
            errors.not_supported(&here.index(index), *operation, OPERATIONS);
        }
    }
    all_or_some(&path.child("apiGroups"), &texts(rule, "apiGroups"), "API groups", errors);
    let versions = texts(rule, "apiVersions");
    let here = path.child("apiVersions");
    all_or_some(&here, &versions, "API versions", errors);
    for (index, _) in versions.iter().enumerate().filter(|(_, version)| version.is_empty()) {
        errors.required(&here.index(index), "");
    }
    with_subresources(&texts(rule, "resources"), &path.child("resources"), errors);
    one_of_if_set(rule, "scope", SCOPES, path, errors);
}

/// At least one, and the one that means all stands alone.
fn all_or_some(path: &Path, given: &[&str], what: &str, errors: &mut Errors) {
    if given.is_empty() {
        errors.required(path, "");
    }
    if given.len() > 1 && given.contains(&"*") {
        let why = format!("if '*' is present, must not specify other {what}");
        errors.invalid(path, given.to_vec(), &why);
    }
}

fn with_subresources(given: &[&str], path: &Path, errors: &mut Errors) {
    if given.is_empty() {
        errors.required(path, "");
    }
    let (mut every_entry, mut every_resource) = (HashSet::new(), HashSet::new());
    let mut without_entry = false;
    for (index, name) in given.iter().enumerate() {
        let here = path.index(index);
        let Some((resource, entry)) = name.split_once('/') else {
            match *name {
                "" => errors.required(&here, ""),
                name => without_entry = name != "*",
            }
            continue;
        };
        if every_entry.contains(resource) {
            let why = format!("if '{resource}/*' is present, must not specify {name}");
            errors.invalid(&here, *name, &why);
        }
        if every_resource.contains(entry) {
            let why = format!("if '*/{entry}' is present, must not specify {name}");
            errors.invalid(&here, *name, &why);
        }
        if entry == "*" {
            every_entry.insert(resource);
        }
        if resource == "*" {
            every_resource.insert(entry);
        }
    }
    if given.len() > 1 && given.contains(&"*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        errors.invalid(path, given.to_vec(), why);
    }
    if given.contains(&"*") && without_entry {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(path, given.to_vec(), why);
    }
}

/// What is wrong with an expression.
pub type Look<'a> = &'a mut dyn FnMut(&str, &Path, &mut Errors);

/// Further conditions on a request, each under a name of its own.
pub fn conditions(value: &Value, look: Look<'_>, path: &Path, errors: &mut Errors) {
    let path = path.child("matchConditions");
    let conditions = list(value, "matchConditions");
    // Upstream looks at each all the same; it bounds the whole by the size of a body.
    at_most(&path, conditions.len(), CONDITIONS_MOST, errors);
    let mut seen = HashSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let here = path.index(index);
        match text(condition, "expression").trim() {
            "" => errors.required(&here.child("expression"), ""),
            it => look(it, &here.child("expression"), errors),
        }
        let at_name = here.child("name");
        match text(condition, "name") {
            "" => errors.required(&at_name, ""),
            name => {
                qualified(&at_name, name, errors);
                unique(&at_name, name, &mut seen, errors);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_all_stands_alone() {
        let rule = json!({"operations": ["*", "CREATE"], "apiGroups": [""], "apiVersions": ["v1", ""],
            "resources": ["pods/*", "pods/log", "*/scale", "a/scale", "*"], "scope": "x"});
        let mut errors = Errors::new();
        rule_with_operations(&rule, &Path::new("r"), &mut errors);
        assert_eq!(
            errors.text(),
            "[r.operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify other operations, \
             r.apiVersions[1]: Required value, \
             r.resources[1]: Invalid value: \"pods/log\": if 'pods/*' is present, must not specify pods/log, \
             r.resources[3]: Invalid value: \"a/scale\": if '*/scale' is present, must not specify a/scale, \
             r.scope: Unsupported value: \"x\": supported values: \"*\", \"Cluster\", \"Namespaced\"]"
        );
    }
}
