//! The built-in kinds. One file each, one line in the list of its group each. Routes, discovery, OpenAPI, columns and
//! RBAC names are read off these values.
//!
//! Pure, like the machinery that they stand on (`skiff-api`), which names none of them.

pub mod admissionregistration;
pub mod apiextensions;
pub mod apiregistration;
pub mod apps;
pub mod authentication;
pub mod authorization;
pub mod autoscaling;
pub mod batch;
pub mod certificates;
pub mod coordination;
pub mod core;
pub mod discovery;
pub mod events;
pub mod flowcontrol;
pub mod networking;
pub mod node;
pub mod pod_security;
pub mod policy;
pub mod quota;
pub mod rbac;
pub mod resource;
pub mod scheduling;
pub mod storage;
pub mod storagemigration;
pub mod views;
mod workload;

use skiff_api::kind::Kind;

/// Every built-in kind, by group, in the order in which discovery shows groups; within a group by name.
pub const KINDS: &[&[fn() -> Kind]] = &[
    core::KINDS,
    apiregistration::KINDS,
    apps::KINDS,
    events::KINDS,
    authentication::KINDS,
    authorization::KINDS,
    autoscaling::KINDS,
    batch::KINDS,
    certificates::KINDS,
    networking::KINDS,
    policy::KINDS,
    rbac::KINDS,
    storage::KINDS,
    admissionregistration::KINDS,
    apiextensions::KINDS,
    scheduling::KINDS,
    coordination::KINDS,
    node::KINDS,
    discovery::KINDS,
    resource::KINDS,
    flowcontrol::KINDS,
    storagemigration::KINDS,
];

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_api::kind::Backend;
    use skiff_api::registry::Kinds;
    use std::collections::HashSet;

    #[test]
    fn the_table_of_kinds_is_sound() {
        let kinds = Kinds::builtin(KINDS).now();
        let mut paths = HashSet::new();
        for kind in kinds.kinds() {
            assert!(
                paths.insert((&kind.group, &kind.version, &kind.plural)),
                "{} twice",
                kind.plural
            );
            assert!(!kind.columns.is_empty(), "{} has no column", kind.kind);
            if kind.backend == Backend::Stored {
                let named = kind.columns[0].name == "Name" || kind.kind == "Event";
                assert!(named, "{} shows no name first", kind.kind);
            }
        }
    }
}
