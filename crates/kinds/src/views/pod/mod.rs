//! Pod: what the scheduler, the node and the controllers read of it (API reference: workload-resources).
//!
//! Defaults are filled before a pod is stored, so a field that upstream defaults is a plain value here; a field whose
//! absence means something is an `Option`. Enumerations stay texts: the kind's validation has checked them.

mod container;
mod placement;
mod probe;
mod resources;
mod security;
mod status;
mod volume;

pub use container::{
    Container, ContainerPort, EnvFromSource, EnvVar, EnvVarSource, ExitCodes, FileKeySelector,
    KeySelector, ObjectFieldSelector, ResourceFieldSelector, RestartRule, SourceName, VolumeDevice,
    VolumeMount,
};
pub use placement::{
    Affinity, LabelSelector, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
    PodAffinity, PodAffinityTerm, PreferredNode, Toleration, TopologySpreadConstraint,
    WeightedPodTerm,
};
pub use probe::{
    ExecAction, GrpcAction, Handler, HttpGetAction, HttpHeader, Lifecycle, PortRef, Probe,
    SleepAction, TcpSocketAction,
};
pub use resources::{Claim, Quantities, Resources};
pub use security::{
    Capabilities, PodSecurityContext, Profile, SeLinuxOptions, SecurityContext, Sysctl,
};
pub use status::{
    ContainerState, ContainerStatus, PodCondition, PodIp, PodStatus, Running, Terminated, Waiting,
};
pub use volume::{
    ConfigMapSource, DownwardFile, DownwardSource, EmptyDir, HostPath, ImageSource, KeyToPath,
    Projected, Projection, SecretSource, TokenProjection, Volume, VolumeClaim,
};

use serde::Deserialize;
use skiff_api::view::{Meta, Resource, View};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    pub metadata: Meta,
    pub spec: PodSpec,
    pub status: PodStatus,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub containers: Vec<Container>,
    pub init_containers: Vec<Container>,
    pub ephemeral_containers: Vec<Container>,
    pub volumes: Vec<Volume>,
    /// The node it is bound to; empty until then.
    pub node_name: String,
    pub node_selector: BTreeMap<String, String>,
    pub affinity: Affinity,
    pub tolerations: Vec<Toleration>,
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    pub scheduler_name: String,
    pub scheduling_gates: Vec<Named>,
    pub priority: Option<i32>,
    pub priority_class_name: String,
    pub preemption_policy: String,
    /// `Always`, `OnFailure` or `Never`.
    pub restart_policy: String,
    pub termination_grace_period_seconds: Option<i64>,
    pub active_deadline_seconds: Option<i64>,
    pub readiness_gates: Vec<ReadinessGate>,
    pub service_account_name: String,
    pub automount_service_account_token: Option<bool>,
    pub image_pull_secrets: Vec<Named>,
    pub enable_service_links: Option<bool>,
    pub hostname: String,
    pub hostname_override: Option<String>,
    pub subdomain: String,
    #[serde(rename = "setHostnameAsFQDN")]
    pub set_hostname_as_fqdn: bool,
    pub host_aliases: Vec<HostAlias>,
    pub dns_policy: String,
    pub dns_config: DnsConfig,
    pub host_network: bool,
    #[serde(rename = "hostPID")]
    pub host_pid: bool,
    #[serde(rename = "hostIPC")]
    pub host_ipc: bool,
    pub host_users: Option<bool>,
    pub share_process_namespace: bool,
    pub security_context: PodSecurityContext,
    pub runtime_class_name: Option<String>,
    pub overhead: Quantities,
    /// Resources of the whole pod.
    pub resources: Option<Resources>,
    pub resource_claims: Vec<Named>,
    pub os: Option<Named>,
}

/// Something that is a name and nothing more: a gate, a secret, a claim.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Named {
    pub name: String,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ReadinessGate {
    pub condition_type: String,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct HostAlias {
    pub ip: String,
    pub hostnames: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct DnsConfig {
    pub nameservers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<DnsOption>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct DnsOption {
    pub name: String,
    pub value: Option<String>,
}

impl View for Pod {
    const RESOURCE: Resource = crate::core::pod::RESOURCE;

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        put("node", &self.spec.node_name);
        super::owners(&self.metadata, put);
    }
}

impl Pod {
    /// It ended, for good or ill, and will not run again.
    pub fn ended(&self) -> bool {
        matches!(&*self.status.phase, "Succeeded" | "Failed")
    }

    pub fn ready(&self) -> bool {
        self.status.condition("Ready").is_some_and(|c| c.status == "True")
    }

    /// A static pod, or the mirror of one: the node's own, not the API's.
    pub fn is_mirror(&self) -> bool {
        self.metadata.annotations.contains_key("kubernetes.io/config.mirror")
    }
}

impl PodSpec {
    /// All containers with the field that they are in, in the order in which a node starts them.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers).chain(&self.ephemeral_containers)
    }

    /// The ports of the machine that containers ask for.
    pub fn host_ports(&self) -> impl Iterator<Item = &ContainerPort> {
        let ports = self.init_containers.iter().chain(&self.containers).flat_map(|c| &c.ports);
        ports.filter(|port| port.host_port != 0)
    }

    pub fn volume(&self, name: &str) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.name == name)
    }
}

#[cfg(test)]
mod tests;
