//! Which pods this node takes. A pod that asks for what the node cannot do, or may not give, is
//! refused with a reason and a message that names the field; it is never run without what it asks
//! for. What is honoured, refused, or harmless without stands in docs/node.md. Pure but for the
//! question which AppArmor profiles the kernel has.

mod apparmor;
mod sysctls;

pub use apparmor::profile;
pub use sysctls::effective as effective_sysctls;

use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::NO_FREE_PORTS;

/// What the node goes by.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Sysctls beyond the safe ones, or the beginnings of their names with a `*` behind.
    pub unsafe_sysctls: Vec<String>,
    /// TCP ports of the machine on which the cluster itself listens.
    pub own_ports: Vec<u16>,
    /// The AppArmor profiles that the kernel has; None where it has no AppArmor.
    pub profiles: fn() -> Option<Vec<String>>,
    pub selinux: bool,
}

/// Why a pod is not taken, as its status tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub reason: &'static str,
    pub message: String,
}

impl Refusal {
    /// A port of the machine is somebody else's.
    pub fn ports() -> Refusal {
        let message = format!("Predicate NodePorts failed: {NO_FREE_PORTS}");
        Refusal { reason: "NodePorts", message }
    }
}

/// The first reason not to take the pod.
pub fn refusal(pod: &Pod, rules: &Rules) -> Option<Refusal> {
    let refused = |reason, why: Option<String>| why.map(|message| Refusal { reason, message });
    refused("UnsupportedPodSpec", unsupported(pod, rules))
        .or_else(|| refused("SysctlForbidden", sysctls::forbidden(pod, &rules.unsafe_sysctls)))
        .or_else(|| taken(pod, &rules.own_ports).then(Refusal::ports))
        .or_else(|| refused("AppArmor", apparmor::unenforceable(pod, rules.profiles)))
}

/// The first field of the pod that this node cannot honour.
fn unsupported(pod: &Pod, rules: &Rules) -> Option<String> {
    let spec = &pod.spec;
    let field = if spec.host_users == Some(false) {
        "spec.hostUsers: false"
    } else if !spec.resource_claims.is_empty() {
        "spec.resourceClaims"
    } else if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        "spec.os.name: windows"
    } else if spec.all_containers().any(|c| !c.volume_devices.is_empty()) {
        "spec.containers.volumeDevices"
    } else if spec
        .all_containers()
        .any(|c| c.restart_policy_rules.iter().any(|rule| rule.action == "RestartAllContainers"))
    {
        "spec.containers.restartPolicyRules.action: RestartAllContainers"
    } else if rules.selinux && labels(pod) {
        "seLinuxOptions"
    } else {
        return None;
    };
    Some(format!("this node does not support {field}"))
}

/// A warning about what is asked for and cannot be had, but harms nobody by its absence.
pub fn warning(pod: &Pod, rules: &Rules) -> Option<(&'static str, &'static str)> {
    let message = "SELinux is not enabled on the host: seLinuxOptions have no effect";
    (!rules.selinux && labels(pod)).then_some(("SELinuxNotEnforced", message))
}

/// Whether SELinux labels are asked for.
fn labels(pod: &Pod) -> bool {
    let spec = &pod.spec;
    spec.security_context.se_linux_options.is_some()
        || spec.all_containers().any(|c| c.security_context.se_linux_options.is_some())
}

/// The cluster's own ports are nobody's: a pod on one would shut the API out, past any restart.
fn taken(pod: &Pod, own: &[u16]) -> bool {
    let mut ports = pod.spec.host_ports();
    ports.any(|port| matches!(&*port.protocol, "TCP" | "") && own.contains(&port.host_port))
}

#[cfg(test)]
mod tests;
