//! FlowSchema: which requests belong to which priority level (API reference: cluster-resources).

use super::{GROUP, bootstrap, conditions, validate_part};
use crate::core::pod::validate::internal;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column, status};
use skiff_api::names;
use skiff_api::object::{Object, at};
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource = Resource::of(GROUP, "v1", "flowschemas", "FlowSchema").cluster();

const PRECEDENCE: i64 = 1000;
const PRECEDENCE_MOST: i64 = 10_000;
const METHODS: &str = "\"ByNamespace\", \"ByUser\"";
const VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

pub fn kind() -> Kind {
    let level = |it: &Object| it.text("spec.priorityLevelConfiguration.name").into();
    Kind {
        subresources: vec![status()],
        columns: vec![
            name_column(),
            column("PriorityLevel", Cell::With(level)),
            column("MatchingPrecedence", Cell::Path("spec.matchingPrecedence".into())),
            column("DistinguisherMethod", Cell::Path("spec.distinguisherMethod.type".into())),
            age_column(),
            column("MissingPL", Cell::With(|it| dangling(it).into())),
        ],
        hooks: Hooks {
            default,
            validate,
            validate_part,
            generation: Some(Hooks::spec_changed),
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

fn dangling(it: &Object) -> &str {
    let found = it.list("status.conditions").iter().find(|it| text(it, "type") == "Dangling");
    found.map_or("?", |it| text(it, "status"))
}

fn default(new: &mut Object) {
    if new.int("spec.matchingPrecedence").unwrap_or(0) == 0 {
        new.set("spec.matchingPrecedence", PRECEDENCE);
    }
}

fn validate(new: &Object, _: Option<&Object>, errors: &mut Errors) {
    let (path, name) = (Path::new("spec"), new.name());
    let spec = new.at("spec").unwrap_or(&Value::Null);
    precedence(spec, name, &path.child("matchingPrecedence"), errors);
    if let Some(method) = at(spec, "distinguisherMethod")
        && !["ByNamespace", "ByUser"].contains(&text(method, "type"))
    {
        let here = path.child("distinguisherMethod.type");
        internal::not_supported(errors, &here, "FlowDistinguisherMethod", method, METHODS);
    }
    let (here, level) = (
        path.child("priorityLevelConfiguration.name"),
        text(spec, "priorityLevelConfiguration.name"),
    );
    match level {
        "" => errors.required(&here, "must reference a priority level"),
        level => subdomain(&here, level, errors),
    }
    let here = path.child("rules");
    for (index, rule) in list(spec, "rules").iter().enumerate() {
        rules(rule, &here.index(index), errors);
    }
    let fixed = bootstrap::MANDATORY.contains(&name);
    if fixed && !same(spec, &bootstrap::spec("FlowSchema", name).unwrap_or_default()) {
        let why = format!("spec of '{name}' must equal the fixed value");
        internal::invalid(errors, &path, "FlowSchemaSpec", spec, &why);
    }
    conditions(new, errors);
}

/// The same, but for empty lists and flags that are down.
fn same(a: &Value, b: &Value) -> bool {
    let empty = |value: &Value| match value {
        Value::Array(items) => items.is_empty(),
        other => other.is_null() || *other == Value::Bool(false),
    };
    match (a, b) {
        (Value::Object(left), Value::Object(right)) => {
            let one = |value: Option<&Value>, other: Option<&Value>| match (value, other) {
                (Some(value), Some(other)) => same(value, other),
                (value, other) => value.or(other).is_none_or(empty),
            };
            left.keys().chain(right.keys()).all(|key| one(left.get(key), right.get(key)))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(a, b)| same(a, b))
        }
        (a, b) => a == b,
    }
}

fn precedence(spec: &Value, name: &str, path: &Path, errors: &mut Errors) {
    let precedence = int(spec, "matchingPrecedence").unwrap_or(0);
    if precedence <= 0 {
        errors.invalid(path, precedence, "must be a positive value");
    }
    if precedence > PRECEDENCE_MOST {
        let why = format!("must not be greater than {PRECEDENCE_MOST}");
        errors.invalid(path, precedence, &why);
    }
    if precedence == 1 && name != "exempt" {
        let why = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.invalid(path, precedence, why);
    }
}

fn rules(rule: &Value, path: &Path, errors: &mut Errors) {
    let (here, subjects) = (path.child("subjects"), list(rule, "subjects"));
    if subjects.is_empty() {
        errors.required(&here, "subjects must contain at least one value");
    }
    for (index, it) in subjects.iter().enumerate() {
        subject(it, &here.index(index), errors);
    }
    let (resources, others) = (list(rule, "resourceRules"), list(rule, "nonResourceRules"));
    if resources.is_empty() && others.is_empty() {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.required(path, why);
    }
    let here = path.child("resourceRules");
    for (index, it) in resources.iter().enumerate() {
        resource_rule(it, &here.index(index), errors);
    }
    let here = path.child("nonResourceRules");
    for (index, it) in others.iter().enumerate() {
        other_rule(it, &here.index(index), errors);
    }
}

fn subject(subject: &Value, path: &Path, errors: &mut Errors) {
    /// In the order in which upstream looks at the others.
    const SORTS: [(&str, &str); 3] =
        [("serviceAccount", "ServiceAccount"), ("user", "User"), ("group", "Group")];
    let kind = text(subject, "kind");
    let Some((own, _)) = SORTS.iter().find(|(_, type_)| *type_ == kind) else {
        return errors.not_supported(
            &path.child("kind"),
            kind,
            &["Group", "ServiceAccount", "User"],
        );
    };
    let here = path.child(own);
    match at(subject, own) {
        None => errors.required(&here, &format!("{own} is required when subject kind is '{kind}'")),
        Some(it) if kind == "ServiceAccount" => account(it, &here, errors),
        Some(it) => required(it, "name", &here, errors),
    }
    for (field, type_) in SORTS.iter().filter(|(field, _)| field != own) {
        if at(subject, field).is_some() {
            let why = format!("{field} is forbidden when subject kind is not '{type_}'");
            errors.forbidden(&path.child(field), &why);
        }
    }
}

fn account(account: &Value, path: &Path, errors: &mut Errors) {
    match text(account, "name") {
        "" => errors.required(&path.child("name"), ""),
        "*" => {}
        name => subdomain(&path.child("name"), name, errors),
    }
    match text(account, "namespace") {
        "" => {
            errors.required(&path.child("namespace"), "must specify namespace for service account")
        }
        namespace => label(&path.child("namespace"), namespace, errors),
    }
}

fn given<'a>(rule: &'a Value, field: &str) -> Vec<&'a str> {
    list(rule, field).iter().map(|it| it.as_str().unwrap_or("")).collect()
}

/// One that means all stands alone; says whether the others are to be looked at.
fn alone(path: &Path, given: &[&str], what: &str, errors: &mut Errors) -> bool {
    if given.len() > 1 && given.contains(&"*") {
        let why = format!("if '*' is present, must not specify other {what}");
        errors.invalid(path, given.to_vec(), &why);
    }
    !given.contains(&"*")
}

fn verbs(rule: &Value, path: &Path, errors: &mut Errors) {
    let (path, given) = (path.child("verbs"), given(rule, "verbs"));
    if given.is_empty() {
        errors.required(&path, "verbs must contain at least one value");
    } else if alone(&path, &given, "verbs", errors) && !given.iter().all(|it| VERBS.contains(it)) {
        errors.not_supported(&path, given, VERBS);
    }
}

fn resource_rule(rule: &Value, path: &Path, errors: &mut Errors) {
    verbs(rule, path, errors);
    for (field, one, what) in
        [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")]
    {
        let (here, given) = (path.child(field), given(rule, field));
        if given.is_empty() {
            errors.required(&here, &format!("resource rules must supply at least one {one}"));
        }
        alone(&here, &given, what, errors);
    }
    let (here, given) = (path.child("namespaces"), given(rule, "namespaces"));
    if given.is_empty() && !flag(rule, "clusterScope") {
        let why = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.required(&here, why);
    } else if alone(&here, &given, "namespaces", errors) {
        for (index, namespace) in given.iter().enumerate() {
            for why in names::label(namespace) {
                let why =
                    format!("each member of this list must be '*' or a DNS-1123 label; {why}");
                errors.invalid(&here.index(index), *namespace, &why);
            }
        }
    }
}

fn other_rule(rule: &Value, path: &Path, errors: &mut Errors) {
    verbs(rule, path, errors);
    let (here, given) = (path.child("nonResourceURLs"), given(rule, "nonResourceURLs"));
    if given.is_empty() {
        return errors.required(&here, "nonResourceURLs must contain at least one value");
    }
    if alone(&here, &given, "non-resource URLs", errors) {
        for (index, url) in given.iter().enumerate() {
            if let Some(why) = wrong_path(url) {
                errors.invalid(&here.index(index), *url, why);
            }
        }
    }
}

fn wrong_path(path: &str) -> Option<&'static str> {
    let stars = path.matches('*').count();
    match path {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !path.starts_with('/') => Some("must start with slash"),
        _ if path.contains(' ') => Some("must not contain white-space"),
        _ if path.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || (stars == 1 && !path.ends_with("/*")) => {
            Some("wildcard can only do suffix matching")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cluster_begins_with_is_valid() {
        for name in bootstrap::names("FlowSchema") {
            let object = bootstrap::object("FlowSchema", name).expect("it has the name");
            let mut errors = Errors::new();
            validate(&Object::new(object), None, &mut errors);
            assert_eq!(errors.text(), "[]", "{name}");
        }
        let mut bent = Object::new(bootstrap::object("FlowSchema", "exempt").expect("it is there"));
        bent.set("spec.matchingPrecedence", 2);
        let mut errors = Errors::new();
        validate(&bent, None, &mut errors);
        assert!(errors.text().ends_with("spec of 'exempt' must equal the fixed value"));
    }

    #[test]
    fn subjects_say_who_they_are() {
        let mut errors = Errors::new();
        let it = skiff_json::json!({"kind": "User", "group": {"name": "a"}});
        subject(&it, &Path::new("s"), &mut errors);
        assert_eq!(
            errors.text(),
            "[s.user: Required value: user is required when subject kind is 'User', \
             s.group: Forbidden: group is forbidden when subject kind is not 'Group']"
        );
    }
}
