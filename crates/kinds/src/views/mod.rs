//! Views of the built-in kinds: small structs with the fields that loops read, decoded straight from stored bodies.

mod clusterrole;
mod condition;
mod core;
mod crd;
mod endpointslice;
mod event;
mod lease;
mod node;
pub mod pod;
mod priorityclass;
mod service;
pub mod token;
pub mod workloads;

pub use clusterrole::{AggregationRule, ClusterRole};
pub use condition::Condition;
pub use core::{ConfigMap, Namespace, NamespaceStatus, Secret, ServiceAccount};
pub use crd::{CrdNames, CrdStatus, CustomResourceDefinition};
pub use endpointslice::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, HintName,
    SERVICE_NAME, TargetRef,
};
pub use event::{Event, EventSeries};
pub use lease::{Lease, LeaseSpec};
pub use node::{
    Node, NodeAddress, NodeCondition, NodeImage, NodeSpec, NodeStatus, OWN_PORTS, Taint,
};
pub use pod::Pod;
pub use priorityclass::PriorityClass;
pub use service::{IntOrString, Service, ServicePort, ServiceSpec, ServiceStatus};
pub use workloads::{Deployment, ReplicaSet};

use serde::Deserialize;
use skiff_api::view::Meta;

/// Puts an object into the index of those that own it.
fn owners(meta: &Meta, put: &mut dyn FnMut(&'static str, &str)) {
    meta.owner_references.iter().for_each(|owner| put("owner", &owner.uid));
}

/// Reads a list that the API writes as null where it is empty.
fn null_is_empty<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_else(Vec::new))
}
