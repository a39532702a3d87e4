//! ReplicaSet: keeps a number of equal pods running (API reference: workload-resources).

use crate::core::pod;
use crate::workload;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Column, Hooks, Kind, age_column, name_column, number, scale, status};
use skiff_api::object::Object;
use skiff_api::view::Resource;

pub const RESOURCE: Resource = Resource::of("apps", "v1", "replicasets", "ReplicaSet");

/// Its columns, and those of what was before it.
pub fn columns() -> Vec<Column> {
    let mut columns = vec![
        name_column(),
        number("Desired", Cell::With(|set| set.int("spec.replicas").unwrap_or(0).into())),
        number("Current", Cell::With(|set| set.int("status.replicas").unwrap_or(0).into())),
        number("Ready", Cell::With(|set| set.int("status.readyReplicas").unwrap_or(0).into())),
        age_column(),
    ];
    columns.extend(workload::columns());
    columns
}

pub fn kind() -> Kind {
    Kind {
        short: vec!["rs".into()],
        categories: vec!["all".into()],
        subresources: vec![scale(), status()],
        columns: columns(),
        hooks: Hooks {
            default,
            prepare,
            validate,
            validate_part,
            warn: pod::warn::workload,
            generation: Some(Hooks::spec_changed),
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

fn default(new: &mut Object) {
    new.set_absent("spec.replicas", 1);
    pod::default::template(new);
}

fn prepare(new: &mut Object, old: Option<&Object>) {
    if old.is_none() {
        new.set("status.replicas", 0);
    }
    workload::drop_disabled(new, old);
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let path = Path::new("spec");
    let Some(spec) = new.at("spec") else { return };
    workload::counts(spec, &["replicas", "minReadySeconds"], &path, errors);
    workload::selected_template(spec, &path, errors);
    workload::same_selector(new, old, errors);
}

fn validate_part(_: &str, new: &Object, _: &Object, errors: &mut Errors) {
    let path = Path::new("status");
    let Some(status) = new.at("status") else { return };
    let counts = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    ];
    workload::status(status, &counts, 1..4, &path, errors);
}
