//! ResourceQuota: how much of what the objects of a namespace may use together (API reference: policy-resources).
//!
//! What an object uses is said in [`crate::quota`]; the admission plugin ResourceQuota holds it against what is left.

use super::pod::validate::internal;
use super::pod::validate::resources::{is_extended, is_standard, name_of};
use skiff_api::check::{entries, list, text};
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column, status};
use skiff_api::object::Object;
use skiff_api::quantity::Quantity;
use skiff_api::view::Resource;
use skiff_json::{Value, json};
use std::collections::BTreeSet;

pub const RESOURCE: Resource = Resource::core("resourcequotas", "ResourceQuota");

/// What is counted in whole numbers, besides extended resources.
const WHOLE: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
const POD_SCOPES: [&str; 6] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
];
const CLASS_SCOPE: &str = "VolumeAttributesClass";
const COMPUTE: [&str; 6] =
    ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

pub fn kind() -> Kind {
    Kind {
        short: vec!["quota".into()],
        subresources: vec![status()],
        columns: vec![
            name_column(),
            column("Request", Cell::With(|quota| shown(quota, Side::Requests))),
            column("Limit", Cell::With(|quota| shown(quota, Side::Limits))),
            age_column(),
        ],
        hooks: Hooks { validate, validate_part, warn, ..Hooks::NONE },
        shows_deleted: true,
        ..Kind::new(RESOURCE)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Requests,
    Limits,
}

/// `cpu: 1/2, pods: 0/4`.
fn shown(quota: &Object, side: Side) -> Value {
    let used = quota.map("status.used");
    let of = |name: &str| name.starts_with("limits.") == (side == Side::Limits);
    let hard = entries(quota.value(), "status.hard").filter(|(name, _)| of(name));
    let line = |(name, hard): (&str, &Value)| {
        let used = used.get(name).and_then(Value::as_str).unwrap_or("0");
        format!("{name}: {used}/{}", hard.as_str().unwrap_or("0"))
    };
    hard.map(line).collect::<Vec<_>>().join(", ").into()
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let spec = Path::new("spec");
    limits(new, "spec.hard", errors);
    let hard: Vec<&str> = entries(new.value(), "spec.hard").map(|(name, _)| name).collect();
    scopes(new, &hard, &spec.child("scopes"), errors);
    if let Some(selector) = new.at("spec.scopeSelector") {
        let shown = new.at("spec.scopes").cloned().unwrap_or(Value::Null);
        expressions(selector, shown, &hard, &spec.child("scopeSelector"), errors);
    }
    let Some(old) = old else { return };
    let set = |quota: &Object| -> BTreeSet<String> {
        quota.list("spec.scopes").iter().filter_map(|it| it.as_str().map(str::to_owned)).collect()
    };
    if set(new) != set(old) {
        let given = new.at("spec.scopes").cloned().unwrap_or(Value::Null);
        errors.invalid(&spec.child("scopes"), given, "field is immutable");
    }
}

fn validate_part(_: &str, new: &Object, _: &Object, errors: &mut Errors) {
    limits(new, "status.hard", errors);
    limits(new, "status.used", errors);
}

/// Names and amounts of a map.
fn limits(quota: &Object, field: &'static str, errors: &mut Errors) {
    let path = Path::new(field);
    for (name, amount) in entries(quota.value(), field) {
        let here = path.key(name);
        name_of(name, &here, errors);
        if !name.contains('/') && (!is_standard(name) || name == "storage") {
            errors.invalid(&here, name, "must be a standard resource for quota");
        }
        let Ok(amount) = Quantity::parse(amount.as_str().unwrap_or("")) else { continue };
        if amount.is_negative() {
            errors.invalid(&here, amount.to_string(), "must be greater than or equal to 0");
        }
        let whole = WHOLE.contains(&name) || is_extended(name);
        if whole && amount.milli_value() % 1000 != 0 {
            errors.invalid(&here, amount.to_string(), "must be an integer");
        }
    }
}

/// Whether a quota of this scope can limit this resource.
fn fits(scope: &str, name: &str) -> bool {
    match scope {
        "BestEffort" => name == "pods",
        CLASS_SCOPE => ["persistentvolumeclaims", "requests.storage"].contains(&name),
        scope if POD_SCOPES.contains(&scope) => name == "pods" || COMPUTE.contains(&name),
        _ => true,
    }
}

fn is_scope(scope: &str) -> bool {
    scope == CLASS_SCOPE || POD_SCOPES.contains(&scope)
}

/// Names that quotas know without a domain, and so are held against scopes.
fn held<'h>(hard: &'h [&'h str]) -> impl Iterator<Item = &'h str> {
    hard.iter().copied().filter(|name| is_standard(name) && *name != "storage")
}

fn conflict(scopes: &BTreeSet<&str>) -> usize {
    let pairs = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
    pairs.iter().filter(|pair| pair.iter().all(|scope| scopes.contains(scope))).count()
}

fn scopes(quota: &Object, hard: &[&str], path: &Path, errors: &mut Errors) {
    let given = quota.list("spec.scopes");
    let scopes: Vec<&str> = given.iter().filter_map(Value::as_str).collect();
    for scope in &scopes {
        if !is_scope(scope) {
            errors.invalid(path, json!(scopes), "unsupported scope");
        }
        for _ in held(hard).filter(|name| !fits(scope, name)) {
            errors.invalid(path, json!(scopes), "unsupported scope applied to resource");
        }
    }
    for _ in 0..conflict(&scopes.iter().copied().collect()) {
        errors.invalid(path, json!(scopes), "conflicting scopes");
    }
}

/// `shown`: the scopes of the quota, which is what is told of expressions that contradict each other.
fn expressions(selector: &Value, shown: Value, hard: &[&str], path: &Path, errors: &mut Errors) {
    let path = path.child("matchExpressions");
    let mut seen = BTreeSet::new();
    for expression in list(selector, "matchExpressions") {
        let (scope, operator) = (text(expression, "scopeName"), text(expression, "operator"));
        if !is_scope(scope) {
            errors.invalid(&path.child("scopeName"), scope, "unsupported scope");
        }
        for _ in held(hard).filter(|name| !fits(scope, name)) {
            let why = "unsupported scope applied to resource";
            internal::invalid(errors, &path, "ScopeSelector", selector, why);
        }
        let selects = ["PriorityClass", CLASS_SCOPE].contains(&scope);
        if is_scope(scope) && !selects && operator != "Exists" {
            let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                       ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                       ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.invalid(&path.child("operator"), operator, why);
        }
        let values = list(expression, "values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.required(&path.child("values"), why);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.invalid(&path.child("values"), values.to_vec(), why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => {
                let why = "not a valid selector operator";
                errors.invalid(&path.child("operator"), operator, why);
            }
        }
        seen.insert(scope);
    }
    for _ in 0..conflict(&seen) {
        errors.invalid(&path, shown.clone(), "conflicting scopes");
    }
}

/// Requests that are above limits leave the rest of the requests unusable.
fn warn(new: &Object, old: Option<&Object>) -> Vec<String> {
    let hard = new.map("spec.hard");
    let amount = |name: &str| {
        let text = hard.get(name)?.as_str()?;
        Quantity::parse(text).ok().map(|amount| (name.to_owned(), amount))
    };
    let mut warnings = Vec::new();
    for resource in
        ["cpu", "memory", "storage", "ephemeral-storage"].iter().filter(|_| old.is_none())
    {
        let bare = || Some(*resource).filter(|it| ["cpu", "memory"].contains(it)).and_then(amount);
        let request = amount(&format!("requests.{resource}")).or_else(bare);
        let limit = amount(&format!("limits.{resource}"));
        if let (Some((request, wanted)), Some((limit, most))) = (request, limit)
            && wanted > most
        {
            warnings.push(format!(
                "ResourceQuota {request} ({wanted}) should be less than {limit} ({most})"
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: Value) -> String {
        let mut errors = Errors::new();
        validate(&Object::new(json!({ "spec": spec })), None, &mut errors);
        errors.text()
    }

    #[test]
    fn names_amounts_and_scopes() {
        let fine =
            json!({"hard": {"pods": "3", "count/boats.x.example.com": "1", "requests.cpu": "1"}});
        assert_eq!(check(fine), "[]");
        assert_eq!(
            check(json!({"hard": {"pods": "1500m"}})),
            "spec.hard[pods]: Invalid value: \"1500m\": must be an integer"
        );
        assert_eq!(
            check(json!({"hard": {"storage": "1"}})),
            "spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota"
        );
        assert_eq!(
            check(json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]})),
            "spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource"
        );
    }

    #[test]
    fn columns_show_use_beside_limit() {
        let quota = Object::new(json!({"status": {"hard": {"pods": "3", "limits.cpu": "1"},
            "used": {"pods": "2"}}}));
        assert_eq!(shown(&quota, Side::Requests), "pods: 2/3");
        assert_eq!(shown(&quota, Side::Limits), "limits.cpu: 0/1");
    }
}
