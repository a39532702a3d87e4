//! Tolerations and spreading over the topology.

use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::names;
use skiff_api::object::at;
use skiff_json::Value;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub fn tolerations(spec: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("tolerations");
    for (index, toleration) in list(spec, "tolerations").iter().enumerate() {
        one_toleration(toleration, &path.index(index), errors);
    }
}

fn one_toleration(toleration: &Value, path: &Path, errors: &mut Errors) {
    let [key, operator, value, effect] =
        ["key", "operator", "value", "effect"].map(|field| text(toleration, field));
    let (at_operator, at_effect) = (path.child("operator"), path.child("effect"));
    if !key.is_empty() {
        qualified(&path.child("key"), key, errors);
    } else if operator != "Exists" {
        let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.invalid(&at_operator, operator, why);
    }
    if at(toleration, "tolerationSeconds").is_some() && effect != "NoExecute" {
        let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.invalid(&at_effect, effect, why);
    }
    match operator {
        "Equal" | "" => {
            let wrong = names::label_value(value);
            if !wrong.is_empty() {
                errors.invalid(&at_operator, value, &wrong.join(";"));
            }
        }
        "Exists" if !value.is_empty() => {
            let why = "value must be empty when `operator` is 'Exists'";
            errors.invalid(&at_operator, value, why);
        }
        "Exists" => {}
        "Lt" | "Gt" => {
            errors.not_supported(&at_operator, operator, &["Equal", "Exists", "Lt", "Gt"])
        }
        _ => errors.not_supported(&at_operator, operator, &["Equal", "Exists"]),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.not_supported(&at_effect, effect, EFFECTS);
    }
}

pub fn spread(spec: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("topologySpreadConstraints");
    let all = list(spec, "topologySpreadConstraints");
    for (index, constraint) in all.iter().enumerate() {
        let here = path.index(index);
        let identity =
            |c: &Value| format!("{{{}, {}}}", text(c, "topologyKey"), text(c, "whenUnsatisfiable"));
        let skew = int(constraint, "maxSkew").unwrap_or(0);
        if skew <= 0 {
            errors.invalid(&here.child("maxSkew"), skew, "must be greater than zero");
        }
        if text(constraint, "topologyKey").is_empty() {
            errors.required(&here.child("topologyKey"), "can not be empty");
        }
        let action = text(constraint, "whenUnsatisfiable");
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&action) {
            let at_action = here.child("whenUnsatisfiable");
            errors.not_supported(&at_action, action, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        if all[index + 1..].iter().any(|other| identity(other) == identity(constraint)) {
            errors.duplicate(&here.child("{topologyKey, whenUnsatisfiable}"), identity(constraint));
        }
        if let Some(domains) = int(constraint, "minDomains") {
            let at_domains = here.child("minDomains");
            if domains <= 0 {
                errors.invalid(&at_domains, domains, "must be greater than zero");
            }
            if action != "DoNotSchedule" {
                let why = format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                );
                errors.invalid(&at_domains, domains, &why);
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            one_of_if_set(constraint, field, &["Honor", "Ignore"], &here, errors);
        }
        label_keys(constraint, &here, errors);
        label_selector(constraint, "labelSelector", &here, errors);
    }
}

/// `matchLabelKeys` and `mismatchLabelKeys`: keys whose values come from the pod itself (KEP-3633, KEP-3243).
pub fn label_keys(term: &Value, path: &Path, errors: &mut Errors) {
    let selector = at(term, "labelSelector");
    let keys = |field: &str| list(term, field).iter().filter_map(Value::as_str).collect::<Vec<_>>();
    let (matching, mismatching) = (keys("matchLabelKeys"), keys("mismatchLabelKeys"));
    for (field, keys) in [("matchLabelKeys", &matching), ("mismatchLabelKeys", &mismatching)] {
        let here = path.child(field);
        if !keys.is_empty() && selector.is_none() {
            errors.forbidden(&here, "must not be specified when labelSelector is not set");
            continue;
        }
        for (index, key) in keys.iter().enumerate() {
            qualified(&here.index(index), key, errors);
        }
    }
    if let Some(selector) = selector {
        let mut known: Vec<&str> = entries(selector, "matchLabels").map(|(key, _)| key).collect();
        for expression in list(selector, "matchExpressions") {
            let key = text(expression, "key");
            if let Some(index) = matching.iter().rposition(|it| *it == key)
                && known.contains(&key)
            {
                let why = "exists in both matchLabelKeys and labelSelector";
                errors.invalid(&path.index(index), key, why);
            }
            known.push(key);
        }
    }
    let here = path.child("matchLabelKeys");
    for (index, key) in matching.iter().enumerate().filter(|(_, key)| mismatching.contains(key)) {
        let why = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.invalid(&here.index(index), *key, why);
    }
}
