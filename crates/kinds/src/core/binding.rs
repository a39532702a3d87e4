//! Binding: gives a pod to a node (API reference: workload-resources). Nothing is stored: the server hands it to the
//! entry `binding` of the pod that it names.

use skiff_api::kind::{Backend, Kind, Verb};
use skiff_api::view::Resource;

pub const RESOURCE: Resource = Resource::core("bindings", "Binding");

pub fn kind() -> Kind {
    Kind {
        backend: Backend::Entry { of: super::pod::RESOURCE, name: "binding" },
        verbs: Verb::CREATE,
        ..Kind::new(RESOURCE)
    }
}
