//! Namespace: a scope for names, whose deletion takes everything in it along (API reference: cluster-resources).

use skiff_api::check;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{
    Cell, Does, Hooks, Kind, NameRule, Subresource, Verb, age_column, column, name_column, status,
};
use skiff_api::meta;
use skiff_api::object::Object;
use skiff_api::view::Resource;
use skiff_json::{Value, json};

pub const RESOURCE: Resource = Resource::core("namespaces", "Namespace").cluster();

/// The label that carries the name, so that selectors can find a namespace by it (KEP-2161).
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub fn kind() -> Kind {
    Kind {
        short: vec!["ns".into()],
        name_rule: NameRule::Label,
        converts_fields: true,
        selectable: vec!["status.phase".into()],
        verbs: &[
            Verb::Create,
            Verb::Delete,
            Verb::Get,
            Verb::List,
            Verb::Patch,
            Verb::Update,
            Verb::Watch,
        ],
        subresources: vec![finalize(), status()],
        columns: vec![
            name_column(),
            column("Status", Cell::Path("status.phase".into())),
            age_column(),
        ],
        hooks: Hooks {
            default,
            prepare,
            validate,
            validate_part,
            deleting,
            held: |namespace| !namespace.list("spec.finalizers").is_empty(),
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

fn finalize() -> Subresource {
    let does = Does::Part { part: &["metadata", "spec.finalizers"], keeps: &[] };
    Subresource { name: "finalize".into(), does, verbs: &[Verb::Update], body: None, unowned: &[] }
}

fn default(new: &mut Object) {
    let name = new.name().to_owned();
    if !name.is_empty() {
        new.set_absent("metadata.labels", json!({}));
        if let Some(Value::Object(labels)) = new.value_mut().pointer_mut("/metadata/labels") {
            labels.insert(NAME_LABEL.into(), name.into());
        }
    }
    new.set_absent("status.phase", "Active");
}

fn prepare(new: &mut Object, old: Option<&Object>) {
    match old {
        None => {
            new.set("status", json!({"phase": "Active"}));
            if !new.list("spec.finalizers").iter().any(|f| f == "kubernetes") {
                let mut finalizers = new.list("spec.finalizers").to_vec();
                finalizers.push("kubernetes".into());
                new.set("spec.finalizers", finalizers);
            }
        }
        Some(old) => {
            new.copy_from(old, "spec.finalizers");
        }
    }
}

/// What the first delete says. No grace is shown: it takes as long as it takes.
fn deleting(namespace: &mut Object) {
    namespace.remove("metadata.deletionGracePeriodSeconds");
    namespace.set("status.phase", "Terminating");
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    if old.is_none() {
        finalizers(new, |path, _| *path, errors);
    }
}

fn validate_part(part: &str, new: &Object, _: &Object, errors: &mut Errors) {
    if part == "finalize" {
        finalizers(new, |path, index| path.index(index), errors);
    }
}

/// Upstream names the place of a wrong finalizer only where nothing else can be wrong.
fn finalizers(
    new: &Object,
    place: for<'a> fn(&'a Path<'a>, usize) -> Path<'a>,
    errors: &mut Errors,
) {
    let path = Path::new("spec.finalizers");
    for (index, finalizer) in new.list("spec.finalizers").iter().enumerate() {
        let (here, text) = (place(&path, index), finalizer.as_str().unwrap_or(""));
        check::qualified(&here, text, errors);
        meta::validate_known_finalizer(&here, text, errors);
    }
}
