//! MutatingAdmissionPolicy: expressions that change what a request brings (API reference: policy-resources; KEP-3962).

use super::expression::{Purpose, Scope};
use super::mutatingwebhookconfiguration::REINVOCATION;
use super::{policies, rules, webhooks};
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Hooks, Kind};
use skiff_api::object::{Object, at};
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource =
    super::resource("mutatingadmissionpolicies", "MutatingAdmissionPolicy");

pub fn kind() -> Kind {
    let columns =
        policies::columns("Mutations", |policy| policy.list("spec.mutations").len().into());
    policies::policy(RESOURCE, columns, Hooks { validate, ..Hooks::NONE })
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    validate_spec(new, errors);
    webhooks::own_name(new, old, errors);
}

fn validate_spec(new: &Object, errors: &mut Errors) {
    let path = Path::new("spec");
    let spec = new.at("spec").unwrap_or(&Value::Null);
    policies::head(spec, &path, errors);
    if let Some(constraints) = at(spec, "matchConstraints") {
        rules::mutable(constraints, &path.child("matchConstraints"), errors);
    }
    policies::conditions(spec, &path, errors);
    let mut scope = policies::scope(spec);
    policies::variables(spec, &mut scope, &path, errors);
    let (here, mutations) = (path.child("mutations"), list(spec, "mutations"));
    if mutations.is_empty() {
        errors.required(&here, "mutations must contain at least one item");
    }
    for (index, it) in mutations.iter().enumerate() {
        mutation(it, &mut scope, &here.index(index), errors);
    }
    one_of(
        &path.child("reinvocationPolicy"),
        text(spec, "reinvocationPolicy"),
        REINVOCATION,
        errors,
    );
}

fn mutation(mutation: &Value, scope: &mut Scope, path: &Path, errors: &mut Errors) {
    let type_ = text(mutation, "patchType");
    let (own, other, purpose) = match type_ {
        "JSONPatch" => ("jsonPatch", "applyConfiguration", Purpose::Patches),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Purpose::Configuration),
        _ => {
            let known = &["ApplyConfiguration", "JSONPatch"];
            return one_of(&path.child("patchType"), type_, known, errors);
        }
    };
    let here = path.child(own);
    match at(mutation, own) {
        None => errors.required(&here, &format!("must be specified when patchType is {type_}")),
        Some(patch) => match text(patch, "expression").trim() {
            "" => errors.required(&here.child("expression"), ""),
            it => {
                policies::compiles(scope, purpose, (it, it), &here.child("expression"), errors);
            }
        },
    }
    if at(mutation, other).is_some() {
        let why = format!("must not be specified when patchType is {type_}");
        errors.invalid(&path.child(other), format!("{{{other}}}"), &why);
    }
}
