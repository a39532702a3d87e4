//! Pod: what the scheduler, the node and the controllers read of it (API reference: workload-resources).
//!
//! Defaults are filled before a pod is stored, so a field that upstream defaults is a plain value here; a field whose
//! absence means something is an `Option`. Enumerations stay texts: the kind's validation has checked them.

mod container;
mod host_port;
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
pub use host_port::{HostPort, NO_FREE_PORTS, clash};
pub use placement::{
    Affinity, LabelSelector, NODE_NAME, NodeAffinity, NodeSelector, NodeSelectorRequirement,
    NodeSelectorTerm, PodAffinity, PodAffinityTerm, PreferredNode, Toleration,
    TopologySpreadConstraint, WeightedPodTerm, tolerated,
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
    ContainerState, ContainerStatus, PodClaimStatus, PodCondition, PodIp, PodStatus, Running,
    Terminated, Waiting,
};
pub use volume::{
    CertificateProjection, ClaimTemplate, ConfigMapSource, DownwardFile, DownwardSource, EmptyDir,
    Ephemeral, HostPath, ImageSource, KeyToPath, Projected, Projection, SecretSource,
    TokenProjection, TrustProjection, Volume, VolumeClaim,
};

use serde::Deserialize;
use skiff_api::view::{Key, Meta, Resource, View};
use std::borrow::Cow;
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
    pub resource_claims: Vec<PodClaim>,
    pub os: Option<Named>,
}

/// Devices that the pod names for its containers: by a claim, or by a template of one.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodClaim {
    pub name: String,
    pub resource_claim_name: Option<String>,
    pub resource_claim_template_name: Option<String>,
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
        for (_, claim) in self.claims() {
            put("claim", &Key::new(&self.metadata.namespace, &claim).to_string());
        }
        super::owners(&self.metadata, put);
        for claim in &self.spec.resource_claims {
            if let Some(template) = &claim.resource_claim_template_name {
                put("claimTemplate", &format!("{}/{template}", self.metadata.namespace));
            }
            if let Some(claim) = self.claim_name(claim) {
                put("claim", &format!("{}/{claim}", self.metadata.namespace));
            }
        }
    }
}

impl Pod {
    /// The name of the ResourceClaim behind one of the pod's claims, if it is known yet.
    pub fn claim_name<'a>(&'a self, claim: &'a PodClaim) -> Option<&'a str> {
        let made = self.status.resource_claim_statuses.iter().find(|it| it.name == claim.name);
        let made = made.and_then(|it| it.resource_claim_name.as_deref());
        claim.resource_claim_name.as_deref().or(made)
    }

    /// It ended, for good or ill, and will not run again.
    pub fn ended(&self) -> bool {
        matches!(&*self.status.phase, "Succeeded" | "Failed")
    }

    pub fn ready(&self) -> bool {
        self.status.condition("Ready").is_some_and(|c| c.status == "True")
    }

    /// The claims that its volumes are.
    pub fn claim_keys(&self) -> Vec<Key> {
        self.claims().map(|(_, name)| Key::new(&self.metadata.namespace, &name)).collect()
    }

    /// Its volumes that are claims, with the names of those.
    pub fn claims(&self) -> impl Iterator<Item = (&Volume, Cow<'_, str>)> {
        self.spec.volumes.iter().filter_map(|volume| {
            let claim = match (&volume.persistent_volume_claim, &volume.ephemeral) {
                (Some(claim), _) => Cow::Borrowed(&*claim.claim_name),
                (None, Some(_)) => format!("{}-{}", self.metadata.name, volume.name).into(),
                (None, None) => return None,
            };
            Some((volume, claim))
        })
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
