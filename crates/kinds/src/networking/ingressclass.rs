//! IngressClass: who serves the Ingresses that name it (API reference: service-resources).
//!
//! That an Ingress without a class gets the default one is the admission plugin DefaultIngressClass.

use skiff_api::check;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column};
use skiff_api::names;
use skiff_api::object::{Object, at, text};
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource =
    Resource::of("networking.k8s.io", "v1", "ingressclasses", "IngressClass").cluster();

/// The annotation of the class that is taken where none is named.
const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
/// The facet under which those classes are found.
pub const DEFAULT_FACET: &str = "isDefaultClass";
const CONTROLLER_MOST: usize = 250;
const PARAMETERS: &str = "spec.parameters";

pub fn kind() -> Kind {
    Kind {
        columns: vec![
            column("Name", Cell::With(name)),
            column("Controller", Cell::With(|class| class.text("spec.controller").into())),
            column("Parameters", Cell::With(parameters)),
            age_column(),
        ],
        hooks: Hooks {
            default,
            validate,
            generation: Some(Hooks::spec_changed),
            fields: Some(fields),
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

fn is_default(class: &Object) -> bool {
    class.annotation(IS_DEFAULT) == Some("true")
}

fn name(class: &Object) -> Value {
    let mark = if is_default(class) { " (default)" } else { "" };
    format!("{}{mark}", class.name()).into()
}

fn parameters(class: &Object) -> Value {
    let Some(to) = class.at(PARAMETERS) else { return "<none>".into() };
    let group = match at(to, "apiGroup").and_then(Value::as_str) {
        Some(group) => format!(".{group}"),
        None => String::new(),
    };
    format!("{}{group}/{}", text(to, "kind"), text(to, "name")).into()
}

/// Not for users: admission finds the default class by it.
fn fields(class: &Object, put: &mut dyn FnMut(&'static str, &str)) {
    put(DEFAULT_FACET, if is_default(class) { "true" } else { "false" });
}

fn default(class: &mut Object) {
    if class.at(PARAMETERS).is_some() {
        class.set_absent("spec.parameters.scope", "Cluster");
    }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    if let Some(old) = old {
        check::immutable("spec.controller", new, old, errors);
    }
    let path = Path::new("spec.controller");
    let controller = new.text("spec.controller");
    if controller.len() > CONTROLLER_MOST {
        errors.too_long(&path, CONTROLLER_MOST);
    }
    check::domain_prefixed(&path, controller, errors);
    let declared = validate_parameters(new, errors);
    errors.append(declared);
}

/// Says what is wrong with the reference; what the API's declarations demand of it, which is said last, is returned.
fn validate_parameters(new: &Object, errors: &mut Errors) -> Errors {
    let mut declared = Errors::new();
    let Some(to) = new.at(PARAMETERS) else { return declared };
    let path = Path::new(PARAMETERS);
    if at(to, "apiGroup").is_some() {
        check::subdomain(&path.child("apiGroup"), text(to, "apiGroup"), errors);
    }
    for field in ["kind", "name"] {
        match text(to, field) {
            "" => declared.required(&path.child(field), ""),
            name => check::refuse(&path.child(field), name, names::segment(name), errors),
        }
    }
    let (scope, namespace) = (path.child("scope"), path.child("namespace"));
    let given = at(to, "namespace").and_then(Value::as_str);
    match (text(to, "scope"), given) {
        ("Namespace", None) => {
            errors.required(&namespace, "`parameters.scope` is set to 'Namespace'");
        }
        ("Namespace", Some(name)) => check::label(&namespace, name, errors),
        ("Cluster", Some(_)) => {
            errors.forbidden(&namespace, "`parameters.scope` is set to 'Cluster'");
        }
        ("Cluster", None) => {}
        (other, _) => errors.not_supported(&scope, other, &["Cluster", "Namespace"]),
    }
    declared
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    fn check(spec: Value) -> String {
        let mut class = Object::new(json!({"metadata": {"name": "a"}, "spec": spec}));
        default(&mut class);
        let mut errors = Errors::new();
        validate(&class, None, &mut errors);
        errors.text()
    }

    #[test]
    fn a_reference_says_where_it_leads() {
        let of = |parameters| json!({"controller": "a.b/c", "parameters": parameters});
        assert_eq!(check(of(json!({"kind": "K", "name": "n"}))), "[]");
        assert_eq!(
            check(of(json!({"kind": "", "name": "n", "scope": "Namespace"}))),
            "[spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace', \
             spec.parameters.kind: Required value]"
        );
        assert_eq!(
            check(json!({"controller": "a.b/"})),
            "spec.controller: Invalid value: \"a.b/\": must be a domain-prefixed path (such as \
             \"acme.io/foo\")"
        );
    }
}
