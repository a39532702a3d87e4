//! Disruption: how a controller ends a pod that nobody asked to end, so that whoever owns it sees why (KEP-3329).

use crate::{Change, Changes};
use skiff_api::time::{Precision, format};
use skiff_api::view::View;
use skiff_base::Time;
use skiff_client::{DeleteOptions, PatchKind};
use skiff_json::{Value, json};
use skiff_kinds::views::Pod;

/// The condition that says why a pod is disrupted.
pub fn condition(pod: &Pod, reason: &str, message: &str, now: Time) -> Value {
    json!({"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message,
        "observedGeneration": pod.metadata.generation,
        "lastTransitionTime": format(now, Precision::Seconds)})
}

/// Writes into the status of this very pod.
pub fn say(pod: &Pod, status: Value) -> Change {
    Change::Patch {
        kind: PatchKind::Strategic,
        resource: Pod::RESOURCE,
        key: pod.metadata.key(),
        subresource: "status",
        body: json!({"metadata": {"uid": pod.metadata.uid}, "status": status}),
    }
}

/// Ends a pod that no node will end: it has failed, unless it had ended before, and is gone at once.
pub fn fail(pod: &Pod, condition: Option<Value>, out: &mut Changes) {
    if !pod.ended() {
        let mut status = json!({"phase": "Failed", "observedGeneration": pod.metadata.generation});
        if let Some(condition) = condition {
            status["conditions"] = json!([condition]);
        }
        out.push(say(pod, status));
    }
    let uid = Some(pod.metadata.uid.clone());
    let options = DeleteOptions { uid, grace_s: Some(0), ..DeleteOptions::default() };
    out.delete_with(Pod::RESOURCE, pod.metadata.key(), options);
}
