//! CustomResourceDefinition: a kind that a user adds (API reference: extend-resources; KEP-95).
//!
//! What makes it served is not here: a loop accepts its names, and the server makes a `Kind` of it (`served`).

mod names;
pub mod served;
mod validate;
mod version;

use skiff_api::kind::{Cell, Column, Hooks, Kind, column, name_column, status, wide};
use skiff_api::object::Object;
use skiff_api::view::Resource;
use skiff_json::{Value, json};

pub const RESOURCE: Resource = Resource::of(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
)
.cluster();

/// Holds a definition until its objects are gone.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

pub fn kind() -> Kind {
    Kind {
        short: vec!["crd".into(), "crds".into()],
        categories: vec!["api-extensions".into()],
        subresources: vec![status()],
        conditional: true,
        // Upstream writes definitions in their first version, and clients may know the hash.
        hashed_version: Some("v1beta1"),
        columns: columns(),
        hooks: Hooks {
            default,
            prepare,
            validate: validate::validate,
            validate_part: validate::validate_part,
            warn: validate::warn,
            generation: Some(Hooks::spec_changed),
            deleting,
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

fn columns() -> Vec<Column> {
    let date =
        column("Created At", Cell::With(|crd| crd.text("metadata.creationTimestamp").into()));
    let established = Cell::With(|crd| condition(crd, "Established").into());
    vec![
        name_column(),
        column("Scope", Cell::Path("spec.scope".into())),
        column("Versions", Cell::With(versions)),
        Column { type_: "date".into(), ..date },
        wide("Group", Cell::Path("spec.group".into())),
        wide("Kind", Cell::Path("spec.names.kind".into())),
        wide("ShortNames", Cell::With(short_names)),
        Column { type_: "boolean".into(), ..wide("Established", established) },
    ]
}

fn versions(crd: &Object) -> Value {
    let show = |version: &Value| {
        let name = version["name"].as_str().unwrap_or("");
        if version["storage"] == true { format!("{name}(storage)") } else { name.to_owned() }
    };
    let served = crd.list("spec.versions").iter().filter(|it| it["served"] == true);
    let mut all: Vec<String> = served.map(show).collect();
    all.sort();
    all.join(",").into()
}

fn short_names(crd: &Object) -> Value {
    let names = crd.list("spec.names.shortNames").iter().filter_map(Value::as_str);
    names.collect::<Vec<_>>().join(",").into()
}

fn default(crd: &mut Object) {
    let kind = crd.text("spec.names.kind").to_owned();
    if crd.text("spec.names.singular").is_empty() {
        crd.set("spec.names.singular", kind.to_lowercase());
    }
    if crd.text("spec.names.listKind").is_empty() && !kind.is_empty() {
        crd.set("spec.names.listKind", format!("{kind}List"));
    }
    crd.set_absent("spec.conversion", json!({"strategy": "None"}));
    if crd.at("spec.conversion.webhook.clientConfig.service").is_some() {
        crd.set_absent("spec.conversion.webhook.clientConfig.service.port", 443);
    }
    if crd.list("status.storedVersions").is_empty()
        && let Some(name) = storage(crd)
    {
        crd.set("status.storedVersions", json!([name]));
    }
}

/// The name of the version that is stored.
fn storage(crd: &Object) -> Option<String> {
    let stored = crd.list("spec.versions").iter().find(|it| it["storage"] == true)?;
    Some(stored["name"].as_str()?.to_owned())
}

/// A version that is stored from now on is remembered as one that was.
fn prepare(crd: &mut Object, old: Option<&Object>) {
    if old.is_none() {
        // Upstream has null here until the first condition, which `kubectl wait` takes for a failure.
        crd.set("status.conditions", json!([]));
    }
    let Some(name) = storage(crd) else { return };
    let mut stored = crd.list("status.storedVersions").to_vec();
    if !stored.iter().any(|it| *it == *name) {
        stored.push(name.into());
        crd.set("status.storedVersions", stored);
    }
}

/// What the first delete adds.
fn deleting(crd: &mut Object) {
    let mut finalizers = crd.list("metadata.finalizers").to_vec();
    if !finalizers.iter().any(|it| it == FINALIZER) {
        finalizers.push(FINALIZER.into());
        crd.set("metadata.finalizers", finalizers);
    }
    let mut conditions = crd.list("status.conditions").to_vec();
    conditions.retain(|it| it["type"] != "Terminating");
    conditions.push(json!({
        "type": "Terminating", "status": "True", "reason": "InstanceDeletionPending",
        "lastTransitionTime": crd.text("metadata.deletionTimestamp"),
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    }));
    crd.set("status.conditions", conditions);
}

/// Whether a condition of that type is true.
pub fn condition(crd: &Object, type_: &str) -> bool {
    let conditions = crd.list("status.conditions");
    conditions.iter().any(|it| it["type"] == type_ && it["status"] == "True")
}
