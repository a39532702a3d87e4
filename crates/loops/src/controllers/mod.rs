//! The controllers: one file each (or one folder, split by decision), one line in LOOPS each.

pub mod apiservice;
pub mod autoscaler;
pub mod bootstrap_signer;
pub mod claim_use;
pub mod clusterrole;
pub mod crd;
pub mod cronjob;
pub mod csr_approving;
pub mod csr_cleaner;
pub mod csr_serving;
pub mod csr_signing;
pub mod daemonset;
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod endpointslice;
pub mod endpointslice_mirroring;
pub mod ephemeral;
pub mod event;
pub mod fairness;
pub mod garbage;
pub mod job;
pub mod job_pods;
pub mod lasting;
pub mod legacy_tokens;
pub mod namespace;
pub mod node;
pub mod node_ipam;
pub mod node_ttl;
pub mod podgc;
pub mod policy_types;
pub mod protection;
pub mod replicaset;
pub mod resourceclaim;
pub mod resourcequota;
pub mod root_ca;
pub mod service_address;
pub mod service_cidr;
pub mod serviceaccount;
pub mod statefulset;
pub mod storageversionmigration;
pub mod taint_eviction;
pub mod token;
pub mod token_cleaner;
pub mod ttl_after_finished;
pub mod volumes;

use crate::runner::Runner;
use skiff_kinds::views::storage::VolumeAttributesClass;
use skiff_kinds::views::{
    PersistentVolume, PersistentVolumeClaim, ReplicaSet, ReplicationController,
};

/// Every loop, by the function that starts it.
pub const LOOPS: &[fn(&Runner)] = &[
    Runner::start::<apiservice::Registration>,
    Runner::start::<autoscaler::Autoscaler>,
    Runner::start::<bootstrap_signer::BootstrapSigner>,
    Runner::start::<clusterrole::Aggregation>,
    Runner::start::<claim_use::ClaimUse>,
    Runner::start::<crd::Definitions>,
    Runner::start::<cronjob::CronJobLoop>,
    Runner::start::<csr_approving::Approver>,
    Runner::start::<csr_cleaner::Cleaner>,
    Runner::start::<csr_serving::ServingApprover>,
    Runner::start::<csr_signing::Signing>,
    Runner::start::<daemonset::DaemonSetLoop>,
    Runner::start::<deployment::DeploymentLoop>,
    Runner::start::<disruption::Budgets>,
    Runner::start::<disruption::stale::StaleDisruptions>,
    Runner::start::<endpoints::EndpointsLoop>,
    Runner::start::<endpointslice::EndpointSliceLoop>,
    Runner::start::<endpointslice_mirroring::Mirroring>,
    Runner::start::<ephemeral::EphemeralClaims>,
    Runner::start::<event::EventExpiry>,
    Runner::start::<fairness::Bootstrap>,
    Runner::start::<fairness::Dangling>,
    Runner::start::<garbage::GarbageCollector>,
    Runner::start::<job::JobLoop>,
    Runner::start::<job_pods::JobPods>,
    Runner::start::<lasting::Lasting>,
    Runner::start::<legacy_tokens::LegacyTokens>,
    Runner::start::<namespace::NamespaceEnd>,
    Runner::start::<node::NodeHealth>,
    Runner::start::<node_ipam::NodeRanges>,
    Runner::start::<node_ttl::NodeTtl>,
    Runner::start::<podgc::PodGarbage>,
    Runner::start::<podgc::TerminatedPods>,
    Runner::start::<policy_types::PolicyTypes>,
    Runner::start::<protection::Protection<PersistentVolume>>,
    Runner::start::<protection::Protection<PersistentVolumeClaim>>,
    Runner::start::<protection::Protection<VolumeAttributesClass>>,
    Runner::start::<replicaset::ReplicaLoop<ReplicaSet>>,
    Runner::start::<replicaset::ReplicaLoop<ReplicationController>>,
    Runner::start::<resourceclaim::ClaimUsers>,
    Runner::start::<resourceclaim::PodClaims>,
    Runner::start::<resourcequota::QuotaUse>,
    Runner::start::<root_ca::RootCertificate>,
    Runner::start::<service_address::ServiceAddresses>,
    Runner::start::<service_cidr::ServiceRanges>,
    Runner::start::<serviceaccount::DefaultAccount>,
    Runner::start::<statefulset::StatefulSetLoop>,
    Runner::start::<storageversionmigration::Migrations>,
    Runner::start::<taint_eviction::TaintEviction>,
    Runner::start::<token::AccountTokens>,
    Runner::start::<token_cleaner::TokenCleaner>,
    Runner::start::<ttl_after_finished::TtlAfterFinished>,
    Runner::start::<volumes::VolumeBinder>,
];
