//! Policies: expressions that judge or change requests, of both sorts (API reference: policy-resources).

use super::expression::{self, Purpose, Scope, Types};
use super::{rules, webhooks};
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Column, Hooks, Kind, age_column, column, name_column, number};
use skiff_api::names;
use skiff_api::object::{Object, at};
use skiff_api::view::Resource;
use skiff_json::{Value, json};

/// A policy of a sort; `hooks` say what is its own.
pub fn policy(resource: Resource, columns: Vec<Column>, hooks: Hooks) -> Kind {
    let hooks = Hooks {
        default,
        warn: webhooks::static_suffix,
        generation: Some(Hooks::spec_changed),
        ..hooks
    };
    Kind { columns, ..super::kind(resource, hooks) }
}

/// The columns; `items` is what is counted.
pub fn columns(title: &'static str, count: fn(&Object) -> Value) -> Vec<Column> {
    let kind = |policy: &Object| match policy.at("spec.paramKind") {
        Some(kind) => format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind")).into(),
        None => "<unset>".into(),
    };
    let count = number(title, Cell::With(count));
    vec![name_column(), count, column("ParamKind", Cell::With(kind)), age_column()]
}

fn default(new: &mut Object) {
    if let Some(spec) = new.value_mut().get_mut("spec") {
        rules::fill(spec, &[("failurePolicy", json!("Fail"))]);
        if let Some(constraints) = spec.get_mut("matchConstraints").filter(|it| it.is_object()) {
            rules::default_resources(constraints);
        }
    }
}

/// What both sorts say first.
pub fn head(spec: &Value, path: &Path, errors: &mut Errors) {
    rules::chosen(spec, "failurePolicy", rules::FAILURE_POLICIES, path, errors);
    if let Some(kind) = at(spec, "paramKind") {
        param_kind(kind, &path.child("paramKind"), errors);
    }
    let here = path.child("matchConstraints");
    let Some(constraints) = at(spec, "matchConstraints") else {
        return errors.required(&here, "");
    };
    rules::resources(constraints, &here, errors);
    if list(constraints, "resourceRules").is_empty() {
        errors.required(&here.child("resourceRules"), "");
    }
}

/// What the expressions of this policy may name, before its variables.
pub fn scope(spec: &Value) -> Scope {
    let params = at(spec, "paramKind").map(|_| None);
    Scope::new(Types { params, ..Types::default() })
}

/// Compiles an expression, and says what is wrong with it.
pub fn compiles(
    scope: &mut Scope,
    purpose: Purpose,
    (text, shown): (&str, &str),
    path: &Path,
    errors: &mut Errors,
) {
    if let Err(why) = scope.compile(text, purpose) {
        errors.invalid(path, shown, &why);
    }
}

pub fn conditions(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut scope = scope(spec);
    let mut look = |text: &str, path: &Path, errors: &mut Errors| {
        compiles(&mut scope, Purpose::Condition, (text, text), path, errors);
    };
    rules::conditions(spec, &mut look, path, errors);
}

pub fn variables(spec: &Value, scope: &mut Scope, path: &Path, errors: &mut Errors) {
    let path = path.child("variables");
    for (index, variable) in list(spec, "variables").iter().enumerate() {
        let (here, name) = (path.index(index), text(variable, "name"));
        if name.trim().is_empty() {
            errors.required(&here.child("name"), "name is not specified");
        } else if !expression::is_identifier(name) {
            errors.invalid(&here.child("name"), name, "must be a valid CEL identifier");
        }
        let (here, given) = (here.child("expression"), text(variable, "expression"));
        if given.trim().is_empty() {
            errors.required(&here, "expression is not specified");
        } else if let Err(why) = scope.variable(name, given) {
            errors.invalid(&here, given, &why);
        }
    }
}

fn param_kind(kind: &Value, path: &Path, errors: &mut Errors) {
    let (here, given) = (path.child("apiVersion"), text(kind, "apiVersion"));
    let parts: Vec<&str> = given.split('/').collect();
    match parts[..] {
        [""] => errors.required(&here, ""),
        ["", ""] => errors.invalid(&here, given, "version must be specified"),
        [version] => group_version("", version, given, &here, errors),
        [group, version] => group_version(group, version, given, &here, errors),
        _ => {
            let why = format!("unexpected GroupVersion string: {given}");
            errors.invalid(&here, given, &why);
        }
    }
    let (here, name) = (path.child("kind"), text(kind, "kind"));
    let wrong = names::label1035(&name.to_lowercase());
    if name.is_empty() {
        errors.required(&here, "");
    } else if !wrong.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
        errors.invalid(&here, name, &why);
    }
}

fn group_version(group: &str, version: &str, given: &str, path: &Path, errors: &mut Errors) {
    let wrong = names::subdomain(group);
    if !group.is_empty() && !wrong.is_empty() {
        errors.invalid(path, group, &wrong.join(","));
    }
    let wrong = names::label1035(version);
    if version.is_empty() {
        errors.invalid(path, given, "version must be specified");
    } else if !wrong.is_empty() {
        errors.invalid(path, version, &wrong.join(","));
    }
}
