//! Devices that a pod claims (KEP-4381). Nothing allocates them yet, so no node has them for anybody.

use super::{EventKind, Filter, Plugin, Prepared, Refusal};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use skiff_kinds::views::Pod;
use std::sync::Arc;

pub struct Devices;

struct Unallocated;

impl Plugin for Devices {
    fn name(&self) -> &'static str {
        "DynamicResources"
    }

    fn prepare(&self, info: &Arc<PodInfo>, _: &Snapshot) -> Prepared {
        match info.pod.spec.resource_claims.is_empty() {
            true => Prepared::default(),
            false => Prepared::of(Unallocated),
        }
    }

    fn listens(&self) -> &'static [EventKind] {
        &[]
    }
}

impl Filter for Unallocated {
    fn filter(&self, _: &NodeInfo) -> Vec<Refusal> {
        Refusal::for_good("cannot allocate all claims")
    }
}

/// Whether the claims that are made for the pod are there: before that it does not stand in line.
pub fn named(pod: &Pod) -> bool {
    let claims = pod.spec.resource_claims.iter();
    let made = |name: &str| pod.status.resource_claim_statuses.iter().any(|it| it.name == name);
    claims.filter(|it| it.resource_claim_template_name.is_some()).all(|it| made(&it.name))
}
