//! The group `admissionregistration.k8s.io`: who else is asked before an object is stored. Here the objects are
//! checked; who asks them is admission.

mod bindings;
pub mod expression;
pub mod mutatingadmissionpolicy;
pub mod mutatingadmissionpolicybinding;
pub mod mutatingwebhookconfiguration;
mod policies;
mod rules;
pub mod typed;
pub mod validatingadmissionpolicy;
pub mod validatingadmissionpolicybinding;
pub mod validatingwebhookconfiguration;
pub(crate) mod webhooks;

use skiff_api::kind::{Hooks, Kind};
use skiff_api::view::Resource;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[
    mutatingadmissionpolicy::kind,
    mutatingadmissionpolicybinding::kind,
    mutatingwebhookconfiguration::kind,
    validatingadmissionpolicy::kind,
    validatingadmissionpolicybinding::kind,
    validatingwebhookconfiguration::kind,
];

const fn resource(plural: &'static str, kind: &'static str) -> Resource {
    Resource::of("admissionregistration.k8s.io", "v1", plural, kind).cluster()
}

/// What all kinds of the group have in common.
fn kind(resource: Resource, hooks: Hooks) -> Kind {
    Kind {
        categories: vec!["api-extensions".into()],
        conditional: true,
        hooks,
        ..Kind::new(resource)
    }
}
