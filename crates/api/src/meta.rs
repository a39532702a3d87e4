//! The metadata that all objects share: its validation on create and update (API reference: ObjectMeta).

use crate::errors::{ErrorType, Errors, Path};
use crate::kind::{Kind, NameRule, Scope};
use crate::names;
use crate::object::{Object, texts};
use skiff_json::Value;

/// All annotations of one object together.
const ANNOTATIONS_MOST: usize = 256 * 1024;

/// What is wrong with a name under this rule.
pub fn check_name(rule: NameRule, name: &str) -> Vec<String> {
    match rule {
        NameRule::Subdomain => names::subdomain(name),
        NameRule::LongName => names::long_name(name),
        NameRule::Label => names::label(name),
        NameRule::Label1035 => names::label1035(name),
        NameRule::Segment => names::segment(name),
        NameRule::Address => crate::ip::problems(name),
    }
}

/// Validates the metadata of a new object.
pub fn validate_create(kind: &Kind, new: &Object, errors: &mut Errors) {
    let meta = Path::new("metadata");
    let (name, generate) = (new.name(), new.text("metadata.generateName"));
    if !generate.is_empty() {
        // A generated name is the prefix and five characters: a trailing dash becomes inner.
        let probe = match generate.strip_suffix('-') {
            Some(stem) => format!("{stem}a"),
            None => generate.to_owned(),
        };
        for why in check_name(kind.name_rule, &probe) {
            errors.invalid(&meta.child("generateName"), generate, &why);
        }
    }
    if name.is_empty() {
        errors.required(&meta.child("name"), "name or generateName is required");
    } else {
        for why in check_name(kind.name_rule, name) {
            errors.invalid(&meta.child("name"), name, &why);
        }
    }
    match kind.scope {
        Scope::Namespaced if new.namespace().is_empty() => {
            errors.required(&meta.child("namespace"), "");
        }
        Scope::Namespaced => {
            for why in names::label(new.namespace()) {
                errors.invalid(&meta.child("namespace"), new.namespace(), &why);
            }
        }
        Scope::Cluster if !new.namespace().is_empty() => {
            errors.forbidden(&meta.child("namespace"), "not allowed on this type");
        }
        Scope::Cluster => {}
    }
    validate_shared(&meta, new, errors);
}

/// Validates the metadata of a changed object: what may not change, and the rest as on create.
pub fn validate_update(new: &Object, old: &Object, errors: &mut Errors) {
    let meta = Path::new("metadata");
    for field in ["name", "namespace", "uid"] {
        let path = format!("metadata.{field}");
        if new.at(&path) != old.at(&path) {
            let value = new.at(&path).cloned().unwrap_or(Value::Null);
            errors.invalid(&meta.child(field), value, "field is immutable");
        }
    }
    if old.deleting() {
        let added: Vec<&str> =
            new.finalizers().filter(|f| !old.finalizers().any(|o| o == *f)).collect();
        if !added.is_empty() {
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.iter().map(|f| format!("{f:?}")).collect::<Vec<_>>().join(", ")
            );
            errors.forbidden(&meta.child("finalizers"), &why);
        }
    }
    validate_shared(&meta, new, errors);
}

fn validate_shared(meta: &Path, new: &Object, errors: &mut Errors) {
    if let Some(value) = new.at("metadata.generation").filter(|v| v.as_i64() < Some(0)) {
        let why = "must be greater than or equal to 0";
        errors.invalid(&meta.child("generation"), value.clone(), why);
    }
    validate_labels(&meta.child("labels"), new.map("metadata.labels"), errors);
    validate_annotations(&meta.child("annotations"), new.map("metadata.annotations"), errors);
    validate_owners(&meta.child("ownerReferences"), new.list("metadata.ownerReferences"), errors);
    for (index, finalizer) in new.finalizers().enumerate() {
        let path = meta.child("finalizers");
        validate_finalizer((&path, index), finalizer, Names::of(new), errors);
    }
    let (orphan, foreground) = ("orphan", "foregroundDeletion");
    if new.finalizers().any(|f| f == orphan) && new.finalizers().any(|f| f == foreground) {
        let why = format!("finalizer {orphan} and {foreground} cannot be both set");
        let value = new.at("metadata.finalizers").cloned().unwrap_or(Value::Null);
        errors.invalid(&meta.child("finalizers"), value, &why);
    }
}

/// Validates a map of labels anywhere.
pub fn validate_labels(path: &Path, labels: &skiff_json::Map, errors: &mut Errors) {
    for (key, value) in texts(labels) {
        for why in names::qualified(key) {
            errors.invalid(path, key, &why);
        }
        for why in names::label_value(value) {
            errors.invalid(path, value, &why);
        }
    }
}

/// Validates a map of annotations anywhere.
pub fn validate_annotations(path: &Path, map: &skiff_json::Map, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in texts(map) {
        for why in names::qualified(&key.to_lowercase()) {
            errors.invalid(path, key, &why);
        }
        size += key.len() + value.len();
    }
    if size > ANNOTATIONS_MOST {
        errors.too_long(path, ANNOTATIONS_MOST);
    }
}

fn validate_owners(path: &Path, owners: &[Value], errors: &mut Errors) {
    let text =
        |owner: &Value, key: &str| owner.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let mut controller: Option<String> = None;
    for (index, owner) in owners.iter().enumerate() {
        let here = path.index(index);
        let version = text(owner, "apiVersion");
        if version.is_empty() {
            errors.required(&here.child("apiVersion"), "must not be empty");
        } else if version.split('/').count() > 2 {
            let why = "must be <group>/<version> or <version>";
            errors.invalid(&here.child("apiVersion"), &*version, why);
        }
        for key in ["kind", "name", "uid"] {
            if text(owner, key).is_empty() {
                errors.required(&here.child(key), "must not be empty");
            }
        }
        if (&*version, &*text(owner, "kind")) == ("v1", "Event") {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            let body = format!("Invalid value: {}: {why}", show_owner(owner));
            errors.push(ErrorType::Invalid, &here, body);
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            if let Some(first) = &controller {
                let second = text(owner, "kind") + "/" + &text(owner, "name");
                let all: Vec<String> = owners.iter().map(show_owner).collect();
                let body = format!(
                    "Invalid value: [{}]: Only one reference can have Controller set to true. Found \"true\" in \
                     references for {first} and {second}",
                    all.join(",")
                );
                errors.push(ErrorType::Invalid, path, body);
            }
            controller = Some(text(owner, "kind") + "/" + &text(owner, "name"));
        }
    }
}

/// An owner as messages show it: its fields in the order of the API reference.
fn show_owner(owner: &Value) -> String {
    let order = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    let field = |key: &&str| owner.get(*key).map(|value| format!("\"{key}\":{value}"));
    format!("{{{}}}", order.iter().filter_map(field).collect::<Vec<_>>().join(","))
}

/// The finalizers that need no prefix.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// Whose finalizers must be standard ones or have a prefix.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// Kinds of Kubernetes itself.
    Strict,
    /// Custom resources and their definitions: there are only warnings.
    Free,
}

impl Names {
    fn of(object: &Object) -> Names {
        let group = object.api_version().split_once('/').map_or("", |(group, _)| group);
        let own = !group.contains('.') || group.ends_with(".k8s.io");
        if own && group != "apiextensions.k8s.io" { Names::Strict } else { Names::Free }
    }
}

fn validate_finalizer(
    (path, index): (&Path, usize),
    finalizer: &str,
    rule: Names,
    errors: &mut Errors,
) {
    for why in names::qualified(finalizer) {
        errors.invalid(path, finalizer, &why);
    }
    if rule == Names::Strict {
        validate_known_finalizer(&path.index(index), finalizer, errors);
    }
}

/// A finalizer is a standard one or says whose it is.
pub fn validate_known_finalizer(path: &Path, finalizer: &str, errors: &mut Errors) {
    if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer) {
        let why = "name is neither a standard finalizer name nor is it fully qualified";
        errors.invalid(path, finalizer, why);
    }
}
