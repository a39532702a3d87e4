//! NamespaceLifecycle: nothing is made in a namespace that is not there or is going; three namespaces never go.

use super::{Attributes, Plugin};
use crate::Server;
use serde_json::json;
use skiff_api::Status;
use skiff_api::object::Object;
use skiff_api::status::About;

pub const PLUGIN: Plugin =
    Plugin { name: "NamespaceLifecycle", validate, validate_delete, ..Plugin::NONE };

const IMMORTAL: [&str; 3] = ["default", "kube-public", "kube-system"];

fn validate(
    server: &Server,
    at: &Attributes,
    _: &Object,
    _: Option<&Object>,
) -> Result<(), Status> {
    if at.creating && at.kind.custom.as_ref().is_some_and(|custom| custom.terminating) {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(at.forbid(why));
    }
    if !at.kind.namespaced() || !at.creating {
        return Ok(());
    }
    let namespaces = About { group: "", resource: "namespaces" };
    let Some(record) = server.store.get(&format!("namespaces//{}", at.namespace)) else {
        return Err(Status::not_found(namespaces, at.namespace));
    };
    let phase = crate::read::facets::value(&record, "f:status.phase");
    // Access reviews answer about the namespace, they do not live in it.
    if phase != Some("Terminating") || at.kind.group == "authorization.k8s.io" {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {} because it is being terminated",
        at.namespace
    );
    let mut refusal = at.forbid(&why);
    if let Some(details) = &mut refusal.details {
        let message = format!("namespace {} is being terminated", at.namespace);
        details["causes"] = json!([
            {"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"}
        ]);
    }
    Err(refusal)
}

fn validate_delete(_: &Server, at: &Attributes, _: &Object) -> Result<(), Status> {
    if at.is("", "namespaces") && IMMORTAL.contains(&&*at.name) {
        return Err(at.forbid("this namespace may not be deleted"));
    }
    Ok(())
}
