//! Volumes whose labels say in which zone or region they are (API reference: well-known labels).

use super::{EventKind, Filter, Plugin, Prepared, Refusal};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use std::collections::BTreeSet;
use std::sync::Arc;

pub struct VolumeZone;

/// Labels of places, each with the one that it was before.
const PLACES: [(&str, &str); 2] = [
    ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"),
];
/// Between the zones of one volume.
const BETWEEN: &str = "__";

/// Where all volumes of a pod are: a label, with its older name, and its values.
struct Places(Vec<([&'static str; 2], BTreeSet<String>)>);

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn prepare(&self, info: &Arc<PodInfo>, snapshot: &Snapshot) -> Prepared {
        let storage = &snapshot.storage;
        let claims = info.claims.iter().filter_map(|key| storage.claim(key));
        let volumes = claims.filter_map(|claim| storage.volume(&claim.spec.volume_name));
        let mut places = Vec::new();
        for volume in volumes {
            for (label, older) in PLACES.into_iter().flat_map(|(new, old)| [(new, old), (old, new)])
            {
                if let Some(value) = volume.metadata.labels.get(label) {
                    let values = value.split(BETWEEN).map(str::to_owned).collect();
                    places.push(([label, older], values));
                }
            }
        }
        match places.is_empty() {
            true => Prepared::default(),
            false => Prepared::of(Places(places)),
        }
    }

    fn listens(&self) -> &'static [EventKind] {
        &[EventKind::Node]
    }
}

impl Filter for Places {
    fn filter(&self, info: &NodeInfo) -> Vec<Refusal> {
        let labels = PLACES.into_iter().flat_map(|(new, old)| [new, old]);
        // A node that says nothing of its place may be anywhere.
        if !labels.into_iter().any(|label| info.label(label).is_some()) {
            return Vec::new();
        }
        let here = |(names, values): &([&str; 2], BTreeSet<String>)| {
            let value = names.iter().find_map(|name| info.label(name));
            value.is_some_and(|value| values.contains(value))
        };
        match self.0.iter().all(here) {
            true => Vec::new(),
            false => Refusal::for_good("node(s) had no available volume zone"),
        }
    }
}
