//! The group `rbac.authorization.k8s.io`: who may do what. A role is a list of rules; a binding
//! gives a role to subjects. Here are the rules that several of its kinds share; what the objects
//! mean is decided by the server's authorizer.

pub mod clusterrole;
pub mod clusterrolebinding;
pub mod role;
pub mod rolebinding;

use skiff_api::check;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Column, Kind, age_column, column, name_column, wide};
use skiff_api::names;
use skiff_api::object::{Object, list, text};
use skiff_json::{Value, json};

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] =
    &[clusterrole::kind, clusterrolebinding::kind, role::kind, rolebinding::kind];

pub const GROUP: &str = "rbac.authorization.k8s.io";

/// Name and time of creation: what kinds without columns of their own show.
pub fn plain_columns() -> Vec<Column> {
    let created = Cell::Path("metadata.creationTimestamp".into());
    vec![name_column(), Column { type_: "date".into(), ..column("Created At", created) }]
}

/// The columns of both bindings.
fn binding_columns() -> Vec<Column> {
    fn subjects(binding: &Object, kind: &str) -> Value {
        let shown = |subject: &Value| {
            let text =
                |key: &str| subject.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
            (text("kind") == kind).then(|| match (kind, &*text("namespace")) {
                ("ServiceAccount", namespace) if !namespace.is_empty() => {
                    format!("{namespace}/{}", text("name"))
                }
                _ => text("name"),
            })
        };
        let all: Vec<String> = binding.list("subjects").iter().filter_map(shown).collect();
        all.join(", ").into()
    }
    let role = |b: &Object| format!("{}/{}", b.text("roleRef.kind"), b.text("roleRef.name")).into();
    vec![
        name_column(),
        column("Role", Cell::With(role)),
        age_column(),
        wide("Users", Cell::With(|binding| subjects(binding, "User"))),
        wide("Groups", Cell::With(|binding| subjects(binding, "Group"))),
        wide("ServiceAccounts", Cell::With(|binding| subjects(binding, "ServiceAccount"))),
    ]
}

/// Users and groups belong to this group of the API, and so do roles.
fn default_binding(new: &mut Object) {
    if new.text("roleRef.apiGroup").is_empty() {
        new.set("roleRef.apiGroup", GROUP);
    }
    let Some(Value::Array(subjects)) = new.value_mut().get_mut("subjects") else { return };
    for subject in subjects.iter_mut().filter_map(Value::as_object_mut) {
        let kind = subject.get("kind").and_then(Value::as_str).unwrap_or("");
        let group = subject.get("apiGroup").and_then(Value::as_str).unwrap_or("");
        if matches!(kind, "User" | "Group") && group.is_empty() {
            subject.insert("apiGroup".into(), GROUP.into());
        }
    }
}

/// The rules of a role; those of a namespace have no paths.
fn validate_rules(new: &Object, namespaced: bool, errors: &mut Errors) {
    let rules = Path::new("rules");
    for (index, rule) in new.list("rules").iter().enumerate() {
        let path = rules.index(index);
        let empty = |key: &str| list(rule, key).is_empty();
        if empty("nonResourceURLs") {
            for (key, what) in [("apiGroups", "api group"), ("resources", "resource")] {
                if empty(key) {
                    let why = format!("resource rules must supply at least one {what}");
                    errors.required(&path.child(key), &why);
                }
            }
            continue;
        }
        let (urls, here) = (json!(list(rule, "nonResourceURLs")), path.child("nonResourceURLs"));
        if namespaced {
            let why = "namespaced rules cannot apply to non-resource URLs";
            errors.invalid(&here, urls.clone(), why);
        }
        if !(empty("apiGroups") && empty("resources") && empty("resourceNames")) {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.invalid(&here, urls, why);
        }
    }
}

/// What the API's declarations demand of rules; said after everything else.
fn validate_verbs(new: &Object, errors: &mut Errors) {
    let rules = Path::new("rules");
    for (index, rule) in new.list("rules").iter().enumerate() {
        if list(rule, "verbs").is_empty() {
            errors.required(&rules.index(index).child("verbs"), "");
        }
    }
}

/// A binding; those of a namespace may refer to its roles and leave out the namespace of an
/// account.
fn validate_binding(new: &Object, old: Option<&Object>, roles: &[&str], errors: &mut Errors) {
    let role = Path::new("roleRef");
    if new.text("roleRef.apiGroup") != GROUP {
        errors.not_supported(&role.child("apiGroup"), new.text("roleRef.apiGroup"), &[GROUP]);
    }
    if !roles.contains(&new.text("roleRef.kind")) {
        errors.not_supported(&role.child("kind"), new.text("roleRef.kind"), roles);
    }
    let name = new.text("roleRef.name");
    check::refuse(&role.child("name"), name, names::segment(name), errors);
    let namespaced = roles.contains(&"Role");
    let subjects = Path::new("subjects");
    for (index, subject) in new.list("subjects").iter().enumerate() {
        validate_subject(&subjects.index(index), subject, namespaced, errors);
    }
    if let Some(old) = old
        && new.at("roleRef") != old.at("roleRef")
    {
        // The value is shown under the names that its fields have in Go.
        let text = |key: &str| new.text(&format!("roleRef.{key}")).to_owned();
        let value =
            json!({"APIGroup": text("apiGroup"), "Kind": text("kind"), "Name": text("name")});
        errors.invalid(&role, value, "field is immutable");
    }
    for (index, subject) in new.list("subjects").iter().enumerate() {
        check::required(subject, "name", &subjects.index(index), errors);
    }
    if name.is_empty() {
        errors.required(&role.child("name"), "");
    }
}

fn validate_subject(path: &Path, subject: &Value, namespaced: bool, errors: &mut Errors) {
    let (group, here) = (text(subject, "apiGroup"), path.child("apiGroup"));
    match text(subject, "kind") {
        "ServiceAccount" => {
            let name = text(subject, "name");
            if !name.is_empty() {
                check::subdomain(&path.child("name"), name, errors);
            }
            if !group.is_empty() {
                errors.not_supported(&here, group, &[""]);
            }
            if !namespaced {
                check::required(subject, "namespace", path, errors);
            }
        }
        "User" | "Group" if group != GROUP => errors.not_supported(&here, group, &[GROUP]),
        "User" | "Group" => {}
        kind => {
            let kinds = ["ServiceAccount", "User", "Group"];
            errors.not_supported(&path.child("kind"), kind, &kinds);
        }
    }
}

#[cfg(test)]
mod tests;
