//! StorageVersionMigration: asks that all objects of a resource are written anew (API reference: cluster-resources;
//! KEP-4192).

use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, column, name_column, status};
use skiff_api::names;
use skiff_api::object::Object;
use skiff_api::view::Resource;
use skiff_json::{Value, json};

pub const RESOURCE: Resource = Resource::of(
    "storagemigration.k8s.io",
    "v1",
    "storageversionmigrations",
    "StorageVersionMigration",
)
.cluster();

/// The conditions, of which the last that is true is shown.
const STATES: [&str; 3] = ["Running", "Failed", "Succeeded"];

pub fn kind() -> Kind {
    let name = || skiff_api::kind::Column { format: "".into(), ..name_column() };
    Kind {
        conditional: true,
        // The last release wrote it in this version, and clients may know the hash.
        hashed_version: Some("v1beta1"),
        subresources: vec![status()],
        columns: vec![
            name(),
            column("Resource", Cell::With(|it| resource(it).into())),
            column("Status", Cell::With(|it| state(it).into())),
        ],
        hooks: Hooks { validate, validate_part, ..Hooks::NONE },
        ..Kind::new(RESOURCE)
    }
}

fn resource(it: &Object) -> String {
    match (it.text("spec.resource.resource"), it.text("spec.resource.group")) {
        (resource, "") => resource.into(),
        (resource, group) => format!("{resource}.{group}"),
    }
}

fn state(it: &Object) -> &str {
    let conditions = it.list("status.conditions").iter().rev();
    let mut true_ones =
        conditions.filter(|it| text(it, "status") == "True").map(|it| text(it, "type"));
    true_ones.find(|type_| STATES.contains(type_)).unwrap_or("Unknown")
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let path = Path::new("spec.resource");
    let (here, resource) = (path.child("resource"), new.text("spec.resource.resource"));
    let wrong = names::label1035(resource);
    if resource.is_empty() {
        errors.required(&here, "resource is required to be set");
    } else if !wrong.is_empty() {
        errors.invalid(&here, resource, &wrong.join(","));
    }
    let group = new.text("spec.resource.group");
    let wrong = names::subdomain(group);
    if !group.is_empty() && !wrong.is_empty() {
        errors.invalid(&path.child("group"), group, &wrong.join(","));
    }
    if old.is_some_and(|old| old.at("spec") != new.at("spec")) {
        errors.invalid(&Path::new("spec"), spec_shown(new), "field is immutable");
    }
}

/// As messages show a spec: by the names of its Go type.
fn spec_shown(new: &Object) -> Value {
    json!({"Resource": new.at("spec.resource")})
}

fn validate_part(_: &str, new: &Object, old: &Object, errors: &mut Errors) {
    let path = Path::new("status");
    let (at_version, version) = (path.child("resourceVersion"), new.text("status.resourceVersion"));
    if !version.is_empty() && !is_version(version) {
        let why = format!("resource version is not well formed: {version}");
        errors.invalid(&at_version, version, &why);
    }
    let (list, here) = (new.list("status.conditions"), path.child("conditions"));
    conditions(list, &here, errors);
    let before = old.text("status.resourceVersion");
    if !before.is_empty() && before != version {
        errors.invalid(&at_version, version, "field is immutable");
    }
    let [_, failed, succeeded] = STATES.map(|type_| (is(new, type_), is(old, type_), type_));
    if failed.0 && succeeded.0 {
        let why = "Both success and failed conditions cannot be true at the same time";
        errors.invalid(&here, list.to_vec(), why);
    }
    for ((now, then, _), word) in [(succeeded, "Success"), (failed, "Failed")] {
        if then && !now {
            let why = format!("{word} condition cannot be set to false once it is true");
            errors.invalid(&here, list.to_vec(), &why);
        }
    }
}

fn is(it: &Object, type_: &str) -> bool {
    let found = it.list("status.conditions").iter().find(|it| text(it, "type") == type_);
    found.is_some_and(|it| text(it, "status") == "True")
}

/// A number without zeros before it.
fn is_version(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0')
}
