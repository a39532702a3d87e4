//! The controllers: one file each (or one folder, split by decision), one line in LOOPS each.

pub mod clusterrole;
pub mod crd;
pub mod deployment;
pub mod endpointslice;
pub mod event;
pub mod garbage;
pub mod lasting;
pub mod namespace;
pub mod node;
pub mod node_ipam;
pub mod podgc;
pub mod replicaset;
pub mod root_ca;
pub mod serviceaccount;
pub mod token;

use crate::runner::Runner;

/// Every loop, by the function that starts it.
pub const LOOPS: &[fn(&Runner)] = &[
    Runner::start::<clusterrole::Aggregation>,
    Runner::start::<crd::Definitions>,
    Runner::start::<deployment::DeploymentLoop>,
    Runner::start::<endpointslice::EndpointSliceLoop>,
    Runner::start::<event::EventExpiry>,
    Runner::start::<garbage::GarbageCollector>,
    Runner::start::<lasting::Lasting>,
    Runner::start::<namespace::NamespaceEnd>,
    Runner::start::<node::NodeHealth>,
    Runner::start::<node_ipam::NodeRanges>,
    Runner::start::<podgc::PodGarbage>,
    Runner::start::<replicaset::ReplicaSetLoop>,
    Runner::start::<root_ca::RootCertificate>,
    Runner::start::<serviceaccount::DefaultAccount>,
    Runner::start::<token::AccountTokens>,
];
