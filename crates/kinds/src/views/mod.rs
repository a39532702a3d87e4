//! Views of the built-in kinds: small structs with the fields that loops read, decoded straight from stored bodies.

pub mod autoscaler;
pub mod batch;
pub mod bootstrap;
pub mod budget;
mod certificates;
mod clusterrole;
mod condition;
mod core;
mod crd;
mod device;
mod endpoints;
mod endpointslice;
mod event;
mod extension;
mod lease;
mod networking;
mod node;
pub mod pod;
mod priorityclass;
mod quota;
mod runtimeclass;
mod service;
mod sets;
pub mod storage;
pub mod token;
pub mod workloads;

pub use autoscaler::HorizontalPodAutoscaler;
pub use batch::{CronJob, Job};
pub use budget::PodDisruptionBudget;
pub use certificates::{
    CertificateSigningRequest, ClusterTrustBundle, PodCertificateRequest, PodCertificateStatus,
};
pub use clusterrole::{AggregationRule, ClusterRole};
pub use condition::Condition;
pub use core::{ConfigMap, Namespace, NamespaceStatus, ObjectReference, Secret, ServiceAccount};
pub use crd::{CrdNames, CrdStatus, CustomResourceDefinition};
pub use device::{Consumer, ResourceClaim, ResourceClaimTemplate};
pub use endpoints::{EndpointAddress, EndpointSubset, Endpoints, SubsetPort};
pub use endpointslice::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, HintName,
    SERVICE_NAME, TargetRef,
};
pub use event::{Event, EventSeries};
pub use extension::{
    ApiService, ApiServiceBackend, ApiServiceSpec, FlowSchema, MigrationStatus,
    PriorityLevelConfiguration, StorageVersionMigration, ValidatingAdmissionPolicy,
};
pub use lease::{Lease, LeaseSpec};
pub use networking::{IpAddress, ParentRef, ServiceCidr, ServiceCidrStatus};
pub use node::{
    NOT_READY, Node, NodeAddress, NodeCondition, NodeImage, NodeSpec, NodeStatus, OWN_PORTS, Taint,
    UNREACHABLE, UNSCHEDULABLE,
};
pub use pod::Pod;
pub use priorityclass::PriorityClass;
pub use quota::{ResourceQuota, ResourceQuotaSpec, ResourceQuotaStatus, Scope};
pub use runtimeclass::RuntimeClass;
pub use service::{IntOrString, Service, ServicePort, ServiceSpec, ServiceStatus};
pub use sets::{
    ControllerRevision, DaemonSet, DaemonSetStatus, StatefulSet, StatefulSetStatus, UpdateStrategy,
};
pub use storage::{PersistentVolume, PersistentVolumeClaim, StorageClass};
pub use workloads::{Deployment, ReplicaSet, ReplicationController};

use serde::Deserialize;
use skiff_api::view::Meta;

/// Puts an object into the index of those that own it.
fn owners(meta: &Meta, put: &mut dyn FnMut(&'static str, &str)) {
    meta.owner_references.iter().for_each(|owner| put("owner", &owner.uid));
}

/// Reads a list that the API writes as null where it is empty.
///
/// # Errors
/// When it is no list of such.
pub fn null_is_empty<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_else(Vec::new))
}
