//! Affinity: to which nodes and other pods a pod is drawn, and from which it is kept apart.

use super::placement::label_keys;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::names;
use skiff_api::object::at;
use skiff_json::Value;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub fn affinity(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(affinity) = at(spec, "affinity") else { return };
    let path = path.child("affinity");
    if let Some(nodes) = at(affinity, "nodeAffinity") {
        node_affinity(nodes, &path.child("nodeAffinity"), errors);
    }
    for field in ["podAffinity", "podAntiAffinity"] {
        if let Some(pods) = at(affinity, field) {
            pod_affinity(pods, &path.child(field), errors);
        }
    }
}

/// Whether values of labels must be such: only required terms have ever been so strict.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    Labels,
    Anything,
}

fn node_affinity(affinity: &Value, path: &Path, errors: &mut Errors) {
    if let Some(selector) = at(affinity, REQUIRED) {
        node_selector(selector, &path.child(REQUIRED), errors);
    }
    let path = path.child(PREFERRED);
    for (index, term) in list(affinity, PREFERRED).iter().enumerate() {
        let here = path.index(index);
        weight(term, &here, errors);
        if let Some(preference) = at(term, "preference") {
            node_term(preference, Values::Anything, &here.child("preference"), errors);
        }
    }
}

/// A NodeSelector: at least one term, of which one is to match.
pub fn node_selector(selector: &Value, path: &Path, errors: &mut Errors) {
    let here = path.child("nodeSelectorTerms");
    let terms = list(selector, "nodeSelectorTerms");
    if terms.is_empty() {
        errors.required(&here, "must have at least one node selector term");
    }
    for (index, term) in terms.iter().enumerate() {
        node_term(term, Values::Labels, &here.index(index), errors);
    }
}

fn weight(term: &Value, path: &Path, errors: &mut Errors) {
    let weight = int(term, "weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), weight, "must be in the range 1-100");
    }
}

fn node_term(term: &Value, values: Values, path: &Path, errors: &mut Errors) {
    let expressions = path.child("matchExpressions");
    for (index, expression) in list(term, "matchExpressions").iter().enumerate() {
        node_expression(expression, values, &expressions.index(index), errors);
    }
    let fields = path.child("matchFields");
    for (index, expression) in list(term, "matchFields").iter().enumerate() {
        node_field(expression, &fields.index(index), errors);
    }
}

fn node_expression(expression: &Value, values: Values, path: &Path, errors: &mut Errors) {
    let (operator, given) = (text(expression, "operator"), list(expression, "values"));
    let at_values = path.child("values");
    match operator {
        "In" | "NotIn" if given.is_empty() => {
            errors.required(&at_values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !given.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.forbidden(&at_values, why);
        }
        "Gt" | "Lt" if given.len() != 1 => {
            let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.required(&at_values, why);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        _ => errors.invalid(&path.child("operator"), operator, "not a valid selector operator"),
    }
    qualified(&path.child("key"), text(expression, "key"), errors);
    if values == Values::Labels {
        for (index, value) in given.iter().enumerate() {
            let value = value.as_str().unwrap_or("");
            refuse(&at_values.index(index), value, names::label_value(value), errors);
        }
    }
}

fn node_field(expression: &Value, path: &Path, errors: &mut Errors) {
    let (operator, key) = (text(expression, "operator"), text(expression, "key"));
    let (given, at_values) = (list(expression, "values"), path.child("values"));
    match operator {
        "In" | "NotIn" if given.len() != 1 => {
            let why =
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.required(&at_values, why);
        }
        "In" | "NotIn" => {}
        _ => errors.invalid(&path.child("operator"), operator, "not a valid selector operator"),
    }
    if key != "metadata.name" {
        return errors.invalid(&path.child("key"), key, "not a valid field selector key");
    }
    for (index, value) in given.iter().enumerate() {
        subdomain(&at_values.index(index), value.as_str().unwrap_or(""), errors);
    }
}

fn pod_affinity(affinity: &Value, path: &Path, errors: &mut Errors) {
    let required = path.child(REQUIRED);
    for (index, term) in list(affinity, REQUIRED).iter().enumerate() {
        pod_term(term, &required.index(index), errors);
    }
    let preferred = path.child(PREFERRED);
    for (index, term) in list(affinity, PREFERRED).iter().enumerate() {
        let here = preferred.index(index);
        weight(term, &here, errors);
        pod_term(
            at(term, "podAffinityTerm").unwrap_or(&Value::Null),
            &here.child("podAffinityTerm"),
            errors,
        );
    }
}

fn pod_term(term: &Value, path: &Path, errors: &mut Errors) {
    label_selector(term, "labelSelector", path, errors);
    label_selector(term, "namespaceSelector", path, errors);
    for name in list(term, "namespaces").iter().filter_map(Value::as_str) {
        label(&path.child("namespace"), name, errors);
    }
    label_keys(term, path, errors);
    let key = text(term, "topologyKey");
    if key.is_empty() {
        errors.required(&path.child("topologyKey"), "can not be empty");
    }
    qualified(&path.child("topologyKey"), key, errors);
}
