//! RuntimeClass: a pod that names a class must name one that there is, and overhead comes from classes alone
//! (KEP-585, KEP-688). No class is served, so every name is one too many.

use super::{Attributes, Plugin};
use crate::Server;
use skiff_api::Status;
use skiff_api::object::Object;

pub const PLUGIN: Plugin = Plugin { name: "RuntimeClass", validate, ..Plugin::NONE };

fn validate(
    _: &Server,
    request: &Attributes,
    pod: &Object,
    _: Option<&Object>,
) -> Result<(), Status> {
    if !request.creating || !request.is("", "pods") {
        return Ok(());
    }
    let class = pod.text("spec.runtimeClassName");
    if !class.is_empty() {
        return Err(request.forbid(&format!("pod rejected: RuntimeClass {class:?} not found")));
    }
    if !pod.map("spec.overhead").is_empty() {
        let why =
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
        return Err(request.forbid(why));
    }
    Ok(())
}
