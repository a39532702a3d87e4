//! Binding: gives a pod to a node (API reference: workload-resources). Nothing is stored: the server hands it to the
//! entry `binding` of the pod that it names.

use skiff_api::kind::{Backend, Kind, Verb};

pub fn kind() -> Kind {
    Kind {
        backend: Backend::Answered,
        verbs: Verb::CREATE,
        ..Kind::new("v1", "Binding", "bindings", "io.k8s.api.core.v1.Binding")
    }
}
