//! What this node cannot do yet, by the field that asks for it: a pod that needs it is refused with
//! a message that names the field, never run without it.

use skiff_api::views::Pod;

/// The first field of the pod that this node cannot honour.
pub fn refusal(pod: &Pod) -> Option<String> {
    let spec = &pod.spec;
    let field = if spec.host_users == Some(false) {
        "spec.hostUsers: false"
    } else if !spec.resource_claims.is_empty() {
        "spec.resourceClaims"
    } else if spec.runtime_class_name.as_deref().is_some_and(|name| !name.is_empty()) {
        "spec.runtimeClassName"
    } else if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        "spec.os.name: windows"
    } else if spec.all_containers().any(|c| !c.volume_devices.is_empty()) {
        "spec.containers.volumeDevices"
    } else if spec
        .all_containers()
        .any(|c| c.restart_policy_rules.iter().any(|rule| rule.action == "RestartAllContainers"))
    {
        "spec.containers.restartPolicyRules.action: RestartAllContainers"
    } else {
        return None;
    };
    Some(format!("this node does not support {field}"))
}
