//! PodDisruptionBudget: how many of the pods that a selector matches may be disturbed at once (API reference:
//! policy-resources).

use crate::core::pod::validate::internal;
use crate::workload;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column, number, status};
use skiff_api::object::{Object, at};
use skiff_api::view::Resource;
use skiff_json::{Map, Value, json};

pub const RESOURCE: Resource =
    Resource::of("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget");

/// What an empty selector meant in an older version: it stands alone in a selector, or not at all.
const EMPTY_SELECTOR: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";
/// What may happen to pods that are not ready.
const POLICIES: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];

pub fn kind() -> Kind {
    Kind {
        short: vec!["pdb".into()],
        subresources: vec![status()],
        conditional: true,
        columns: vec![
            name_column(),
            column("Min Available", Cell::With(|it| amount(it, "spec.minAvailable"))),
            column("Max Unavailable", Cell::With(|it| amount(it, "spec.maxUnavailable"))),
            number(
                "Allowed Disruptions",
                Cell::With(|it| it.int("status.disruptionsAllowed").unwrap_or(0).into()),
            ),
            age_column(),
        ],
        hooks: Hooks {
            prepare,
            validate,
            validate_part,
            generation: Some(Hooks::spec_changed),
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

fn amount(budget: &Object, path: &str) -> Value {
    match budget.at(path) {
        None => "N/A".into(),
        Some(Value::String(share)) => share.as_str().into(),
        Some(number) => number.to_string().into(),
    }
}

fn prepare(new: &mut Object, old: Option<&Object>) {
    let alone = json!({"matchExpressions": [{"key": EMPTY_SELECTOR, "operator": "Exists"}]});
    let selector = new.at("spec.selector");
    if selector == Some(&alone) || old.is_some_and(|old| old.at("spec.selector") == selector) {
        return;
    }
    let mut rest = new.list("spec.selector.matchExpressions").to_vec();
    let before = rest.len();
    rest.retain(|it| text(it, "key") != EMPTY_SELECTOR);
    match rest.is_empty() {
        _ if rest.len() == before => {}
        true => drop(new.remove("spec.selector.matchExpressions")),
        false => new.set("spec.selector.matchExpressions", rest),
    }
}

fn validate(new: &Object, _: Option<&Object>, errors: &mut Errors) {
    let path = Path::new("spec");
    let none = Value::Object(Map::new());
    let spec = new.at("spec").unwrap_or(&none);
    let bounds = ["minAvailable", "maxUnavailable"];
    if bounds.iter().all(|bound| at(spec, bound).is_some()) {
        let why = "minAvailable and maxUnavailable cannot be both set";
        internal::invalid(errors, &path, "PodDisruptionBudgetSpec", spec, why);
    }
    for bound in bounds {
        if let Some(amount) = at(spec, bound) {
            workload::amount(amount, &path.child(bound), errors);
            workload::at_most_all(amount, &path.child(bound), errors);
        }
    }
    label_selector(spec, "selector", &path, errors);
    one_of_if_set(spec, "unhealthyPodEvictionPolicy", &POLICIES, &path, errors);
}

fn validate_part(_: &str, new: &Object, _: &Object, errors: &mut Errors) {
    let path = Path::new("status");
    let Some(status) = new.at("status") else { return };
    conditions(list(status, "conditions"), &path.child("conditions"), errors);
    let counts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
    workload::counts(status, &counts, &path, errors);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: Value) -> String {
        let mut it = Object::new(json!({"spec": spec}));
        prepare(&mut it, None);
        let mut errors = Errors::new();
        validate(&it, None, &mut errors);
        errors.text()
    }

    #[test]
    fn one_bound_is_enough() {
        assert_eq!(check(json!({})), "[]");
        assert_eq!(check(json!({"minAvailable": "50%", "selector": {}})), "[]");
        assert_eq!(
            check(json!({"minAvailable": -1, "maxUnavailable": "101%",
                         "unhealthyPodEvictionPolicy": "Never"})),
            "[spec: Invalid value: {\"MinAvailable\":-1,\"Selector\":null,\"MaxUnavailable\":\"101%\",\
             \"UnhealthyPodEvictionPolicy\":\"Never\"}: minAvailable and maxUnavailable cannot be both \
             set, spec.minAvailable: Invalid value: -1: must be greater than or equal to 0, \
             spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%, \
             spec.unhealthyPodEvictionPolicy: Unsupported value: \"Never\": supported values: \
             \"AlwaysAllow\", \"IfHealthyBudget\"]"
        );
    }

    #[test]
    fn the_word_for_an_empty_selector_stands_alone() {
        let word = json!({"key": EMPTY_SELECTOR, "operator": "Exists"});
        let selector = |all: Value| {
            let mut it = Object::new(json!({"spec": {"selector": {"matchExpressions": all}}}));
            prepare(&mut it, None);
            it.list("spec.selector.matchExpressions").len()
        };
        assert_eq!(selector(json!([word])), 1);
        assert_eq!(selector(json!([word, {"key": "a", "operator": "Exists"}])), 1);
        assert_eq!(selector(json!([word, word])), 0);
    }
}
