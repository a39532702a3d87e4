//! RuntimeClass: a pod that names a class must name one that there is, and overhead comes from classes alone
//! (KEP-585, KEP-688). No class is served, so every name is one too many.

use super::{Admit, Plugin, Verdict};
use skiff_api::Status;
use skiff_api::object::Object;

pub struct RuntimeClass;

impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn validate<'a>(&'a self, at: &'a Admit<'_>, new: Option<&'a Object>) -> Verdict<'a> {
        match new {
            Some(pod) if at.creates() && at.is("", "pods") => check(at, pod).into(),
            _ => Verdict::PASS,
        }
    }
}

fn check(request: &Admit<'_>, pod: &Object) -> Result<(), Status> {
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
