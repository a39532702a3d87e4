//! ValidatingAdmissionPolicy: expressions that a request has to satisfy (API reference: policy-resources; KEP-3488).

use super::expression::{Purpose, Scope};
use super::{policies, webhooks};
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Hooks, Kind, status};
use skiff_api::object::Object;
use skiff_api::view::Resource;
use skiff_json::Value;
use std::collections::HashSet;

pub const RESOURCE: Resource =
    super::resource("validatingadmissionpolicies", "ValidatingAdmissionPolicy");
const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];
const ANNOTATIONS_MOST: usize = 20;
const ANNOTATION_MOST: usize = 5 * 1024;

pub fn kind() -> Kind {
    let columns =
        policies::columns("Validations", |policy| policy.list("spec.validations").len().into());
    let hooks = Hooks { validate, validate_part, ..Hooks::NONE };
    Kind { subresources: vec![status()], ..policies::policy(RESOURCE, columns, hooks) }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    validate_spec(new, errors);
    webhooks::own_name(new, old, errors);
}

fn validate_spec(new: &Object, errors: &mut Errors) {
    let path = Path::new("spec");
    let spec = new.at("spec").unwrap_or(&Value::Null);
    policies::head(spec, &path, errors);
    policies::conditions(spec, &path, errors);
    let mut scope = policies::scope(spec);
    policies::variables(spec, &mut scope, &path, errors);
    let (validations, annotations) = (list(spec, "validations"), list(spec, "auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.required(&path.child("validations"), why);
        return errors.required(&path.child("auditAnnotations"), why);
    }
    let here = path.child("validations");
    for (index, it) in validations.iter().enumerate() {
        validation(it, &mut scope, &here.index(index), errors);
    }
    audit_annotations(
        (new.name(), annotations),
        &mut scope,
        &path.child("auditAnnotations"),
        errors,
    );
}

fn validation(validation: &Value, scope: &mut Scope, path: &Path, errors: &mut Errors) {
    let given = text(validation, "expression");
    match given.trim() {
        "" => errors.required(&path.child("expression"), "expression is not specified"),
        _ => {
            let here = path.child("expression");
            policies::compiles(scope, Purpose::Validation, (given, given), &here, errors);
        }
    }
    let (here, given) = (path.child("messageExpression"), text(validation, "messageExpression"));
    match given.trim() {
        "" if given.is_empty() => {}
        "" => errors.invalid(&here, given, "must be non-empty if specified"),
        _ => policies::compiles(scope, Purpose::Message, (given, given), &here, errors),
    }
    let (here, given) = (path.child("message"), text(validation, "message"));
    if !given.is_empty() && given.trim().is_empty() {
        errors.invalid(&here, given, "must be non-empty if specified");
    } else if given.trim().contains(['\n', '\r']) {
        errors.invalid(&here, given, "must not contain line breaks");
    }
    one_of_if_set(validation, "reason", REASONS, path, errors);
}

fn audit_annotations(
    (policy, all): (&str, &[Value]),
    scope: &mut Scope,
    path: &Path,
    errors: &mut Errors,
) {
    if all.len() > ANNOTATIONS_MOST {
        let why = format!("must not have more than {ANNOTATIONS_MOST} auditAnnotations");
        errors.invalid(path, all.to_vec(), &why);
    }
    let mut seen = HashSet::new();
    for (index, annotation) in all.iter().enumerate() {
        let here = path.index(index);
        let (at_key, key) = (here.child("key"), text(annotation, "key"));
        if policy.is_empty() {
            errors.invalid(&at_key, key, "requires metadata.name be non-empty");
        } else {
            qualified(&at_key, &format!("{policy}/{key}"), errors);
        }
        let (at_value, value) =
            (here.child("valueExpression"), text(annotation, "valueExpression"));
        match value.trim() {
            "" => errors.required(&at_value, "valueExpression is not specified"),
            long if long.len() > ANNOTATION_MOST => {
                let why = format!("must not exceed {ANNOTATION_MOST} bytes in length");
                errors.required(&at_value, &why);
            }
            text => {
                policies::compiles(scope, Purpose::Annotation, (text, value), &at_value, errors);
            }
        }
        unique(&at_key, key, &mut seen, errors);
    }
}

fn validate_part(_: &str, new: &Object, _: &Object, errors: &mut Errors) {
    let path = Path::new("status.typeChecking.expressionWarnings");
    for (index, warning) in new.list("status.typeChecking.expressionWarnings").iter().enumerate() {
        let here = path.index(index);
        required(warning, "warning", &here, errors);
        if text(warning, "fieldRef").trim().is_empty() {
            errors.required(&here.child("fieldRef"), "");
        }
    }
    let list = new.list("status.conditions");
    conditions(list, &Path::new("status.conditions"), errors);
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn a_policy_says_something_about_something() {
        let mut policy =
            Object::new(json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": {}}}));
        (kind().hooks.default)(&mut policy);
        let mut errors = Errors::new();
        validate(&policy, None, &mut errors);
        assert_eq!(
            errors.text(),
            "[spec.matchConstraints.resourceRules: Required value, \
             spec.validations: Required value: validations or auditAnnotations must contain at least one item, \
             spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item]"
        );
        assert_eq!(policy.text("spec.matchConstraints.matchPolicy"), "Equivalent");
    }
}
