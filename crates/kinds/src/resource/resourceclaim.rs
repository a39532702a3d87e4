//! ResourceClaim: devices that a pod asks for (API reference: workload-resources; KEP-4381).

use super::{GROUP, claim, declared, gated, status, warn};
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column};
use skiff_api::object::Object;
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource = Resource::of(GROUP, "v1", "resourceclaims", "ResourceClaim");
/// Says for which claim of its pod it was made.
pub const POD_CLAIM: &str = "resource.kubernetes.io/pod-claim-name";
/// Holds a claim whose devices are allocated.
pub const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

pub fn kind() -> Kind {
    Kind {
        subresources: vec![skiff_api::kind::status()],
        columns: vec![
            name_column(),
            column("State", Cell::With(|it| state(it).into())),
            age_column(),
        ],
        hooks: Hooks {
            default: |new| default(new, "spec"),
            prepare: |new, old| gated::drop_claim(new, old, "spec"),
            prepare_part: |_, new, old| status::prepare(new, old),
            validate,
            validate_part: |_, new, old, errors| status::validate(new, old, errors),
            warn,
            ..Hooks::NONE
        },
        shows_deleted: true,
        ..Kind::new(RESOURCE)
    }
}

fn state(it: &Object) -> String {
    let allocated = it.at("status.allocation").is_some();
    let states = [
        (it.deleting(), "deleted"),
        (!it.deleting() && !allocated, "pending"),
        (allocated, "allocated"),
        (allocated && !it.list("status.reservedFor").is_empty(), "reserved"),
    ];
    let states = states.iter().filter(|(is, _)| *is).map(|(_, state)| *state);
    states.collect::<Vec<_>>().join(",")
}

/// `spec` is where the spec of the claim stands.
pub fn default(new: &mut Object, spec: &str) {
    if let Some(spec) = new.value_mut().pointer_mut(&format!("/{}", spec.replace('.', "/"))) {
        claim::default(spec);
    }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    if old.is_none() {
        claim::validate(new.at("spec").unwrap_or(&Value::Null), &Path::new("spec"), errors);
    }
    declared::validate("ResourceClaim", new, old, errors);
}
