//! Lease: a claim with a heartbeat, of nodes and of leaders (API reference: cluster-resources).

use skiff_api::check;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column};
use skiff_api::object::Object;
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource = Resource::of("coordination.k8s.io", "v1", "leases", "Lease");

pub fn kind() -> Kind {
    Kind {
        columns: vec![name_column(), column("Holder", Cell::With(holder)), age_column()],
        conditional: true,
        creates_on_update: true,
        hooks: Hooks { prepare, validate, ..Hooks::NONE },
        ..Kind::new(RESOURCE)
    }
}

fn holder(lease: &Object) -> Value {
    lease.text("spec.holderIdentity").into()
}

/// Coordinated leader election (KEP-4355) is off, as upstream has it by default: its two fields are
/// dropped unless they are there already.
fn prepare(new: &mut Object, old: Option<&Object>) {
    for field in ["spec.strategy", "spec.preferredHolder"] {
        if old.is_none_or(|old| old.at(field).is_none()) {
            new.remove(field);
        }
    }
}

fn validate(new: &Object, _: Option<&Object>, errors: &mut Errors) {
    let spec = Path::new("spec");
    if let Some(seconds) = new.int("spec.leaseDurationSeconds").filter(|it| *it <= 0) {
        errors.invalid(&spec.child("leaseDurationSeconds"), seconds, "must be greater than 0");
    }
    if let Some(count) = new.int("spec.leaseTransitions") {
        check::not_negative(&spec.child("leaseTransitions"), count, errors);
    }
    if let Some(strategy) = new.at("spec.strategy").and_then(Value::as_str) {
        check::qualified(&spec.child("strategy"), strategy, errors);
    }
    if !new.text("spec.preferredHolder").is_empty() && new.text("spec.strategy").is_empty() {
        let why = "may only be specified if `strategy` is defined";
        errors.forbidden(&spec.child("preferredHolder"), why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn numbers_are_checked() {
        let lease = json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}});
        let mut errors = Errors::new();
        validate(&Object::new(lease), None, &mut errors);
        assert_eq!(
            errors.text(),
            "[spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0, \
             spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0]"
        );
    }
}
