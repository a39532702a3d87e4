//! Bindings: where a policy holds, and with which parameters.

use super::{rules, webhooks};
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column};
use skiff_api::names;
use skiff_api::object::{Object, at};
use skiff_api::view::Resource;
use skiff_json::Value;

pub fn binding(resource: Resource, hooks: Hooks) -> Kind {
    let name = |binding: &Object| binding.text("spec.policyName").into();
    let columns = vec![
        name_column(),
        column("PolicyName", Cell::With(name)),
        column("ParamRef", Cell::With(param_shown)),
        age_column(),
    ];
    let hooks = Hooks {
        default,
        warn: webhooks::static_suffix,
        generation: Some(Hooks::spec_changed),
        ..hooks
    };
    Kind { columns, ..super::kind(resource, hooks) }
}

fn param_shown(binding: &Object) -> Value {
    let Some(param) = binding.at("spec.paramRef") else { return "<unset>".into() };
    match (text(param, "name"), text(param, "namespace")) {
        ("", _) if at(param, "selector").is_some() => selector_shown(param).into(),
        ("", _) => "<unset>".into(),
        // Nobody can tell from here whether it is of a cluster-wide kind.
        (name, "") => format!("*/{name}").into(),
        (name, namespace) => format!("{namespace}/{name}").into(),
    }
}

/// As Go prints a LabelSelector.
fn selector_shown(param: &Value) -> String {
    let labels = entries(param, "selector.matchLabels");
    let labels: String =
        labels.map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or(""))).collect();
    let expressions = list(param, "selector.matchExpressions").iter();
    let expressions: String = expressions
        .map(|it| {
            let values = list(it, "values").iter().filter_map(Value::as_str);
            let values = values.collect::<Vec<_>>().join(" ");
            let (key, operator) = (text(it, "key"), text(it, "operator"));
            format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]\
         LabelSelectorRequirement{{{expressions}}},}}"
    )
}

fn default(new: &mut Object) {
    if let Some(resources) = new.value_mut().pointer_mut("/spec/matchResources")
        && resources.is_object()
    {
        rules::default_resources(resources);
    }
}

/// What both sorts say first; an absent name of the policy is said by the one that says it here.
pub fn head(spec: &Value, path: &Path, errors: &mut Errors) {
    let name = text(spec, "policyName");
    if !name.is_empty() {
        subdomain(&path.child("policyName"), name, errors);
    }
    if let Some(param) = at(spec, "paramRef") {
        param_ref(param, &path.child("paramRef"), errors);
    }
    if let Some(resources) = at(spec, "matchResources") {
        rules::resources(resources, &path.child("matchResources"), errors);
    }
}

fn param_ref(param: &Value, path: &Path, errors: &mut Errors) {
    const EITHER: &str = "name and selector are mutually exclusive";
    let (name, selects) = (text(param, "name"), at(param, "selector").is_some());
    if !name.is_empty() {
        refuse(&path.child("name"), name, names::segment(name), errors);
        if selects {
            errors.forbidden(&path.child("name"), EITHER);
        }
    }
    label_selector(param, "selector", path, errors);
    if selects && !name.is_empty() {
        errors.forbidden(&path.child("selector"), EITHER);
    }
    if name.is_empty() && !selects {
        errors.required(path, "one of name or selector must be specified");
    }
    let (here, action) =
        (path.child("parameterNotFoundAction"), text(param, "parameterNotFoundAction"));
    one_of(&here, action, &["Deny", "Allow"], errors);
}
