//! ClusterRole: rules about resources anywhere and about paths; it may gather the rules of other
//! cluster roles, chosen by their labels (API reference: authorization-resources). The gathering is
//! a loop's.

use super::{plain_columns, validate_rules, validate_verbs};
use skiff_api::check;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Hooks, Kind, NameRule};
use skiff_api::names;
use skiff_api::object::{Object, at, list, text, texts};
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource =
    Resource::of("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole").cluster();

pub fn kind() -> Kind {
    Kind {
        name_rule: NameRule::Segment,
        columns: plain_columns(),
        hooks: Hooks { validate, ..Hooks::NONE },
        ..Kind::new(RESOURCE)
    }
}

pub(super) fn validate(new: &Object, _: Option<&Object>, errors: &mut Errors) {
    validate_rules(new, false, errors);
    if new.at("aggregationRule").is_some() {
        let selectors = Path::new("aggregationRule.clusterRoleSelectors");
        let all = new.list("aggregationRule.clusterRoleSelectors");
        if all.is_empty() {
            let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.required(&selectors, why);
        }
        for (index, selector) in all.iter().enumerate() {
            validate_selector(&selectors.index(index), selector, errors);
        }
    }
    validate_verbs(new, errors);
}

fn validate_selector(path: &Path, selector: &Value, errors: &mut Errors) {
    let mut found = Errors::new();
    let labels = path.child("matchLabels");
    if let Some(map) = at(selector, "matchLabels").and_then(Value::as_object) {
        for (key, value) in texts(map) {
            check::qualified(&labels, key, &mut found);
            check::refuse(&labels.key(key), value, names::label_value(value), &mut found);
        }
    }
    let expressions = path.child("matchExpressions");
    for (index, expression) in list(selector, "matchExpressions").iter().enumerate() {
        let here = expressions.index(index);
        let (values, given) = (here.child("values"), list(expression, "values"));
        match text(expression, "operator") {
            "In" | "NotIn" if given.is_empty() => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                found.required(&values, why);
            }
            "Exists" | "DoesNotExist" if !given.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                found.forbidden(&values, why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                found.invalid(&here.child("operator"), other, "not a valid selector operator");
            }
        }
        check::qualified(&here.child("key"), text(expression, "key"), &mut found);
        for (index, value) in given.iter().filter_map(Value::as_str).enumerate() {
            check::refuse(&values.index(index), value, names::label_value(value), &mut found);
        }
    }
    if !found.is_empty() {
        errors.append(found);
        errors.invalid(path, Value::Null, "invalid label selector.");
    }
}
