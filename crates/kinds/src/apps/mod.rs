//! The apps group, `/apis/apps/v1`.

pub mod controllerrevision;
pub mod daemonset;
pub mod deployment;
pub mod replicaset;
pub mod statefulset;

use skiff_api::kind::Kind;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[
    controllerrevision::kind,
    daemonset::kind,
    deployment::kind,
    replicaset::kind,
    statefulset::kind,
];
