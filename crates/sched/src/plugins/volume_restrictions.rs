//! A claim that one pod alone may use (ReadWriteOncePod, KEP-2485).

use super::{Event, EventKind, Filter, Moved, Plugin, Prepared, Refusal};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use skiff_api::view::Key;
use std::sync::Arc;

pub struct VolumeRestrictions;

/// How many pods have each of the claims that the pod of the cycle wants for itself.
struct Alone(Vec<(Key, usize)>);

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn prepare(&self, info: &Arc<PodInfo>, snapshot: &Snapshot) -> Prepared {
        let storage = &snapshot.storage;
        let alone = |key: &&Key| {
            let claim = storage.claim(key);
            claim.is_some_and(|it| it.spec.access_modes.iter().any(|it| it == "ReadWriteOncePod"))
        };
        let claims = info.claims.iter().filter(alone);
        let claims: Vec<_> = claims.map(|key| (key.clone(), storage.users(key))).collect();
        match claims.is_empty() {
            true => Prepared::default(),
            false => Prepared::of(Alone(claims)),
        }
    }

    fn listens(&self) -> &'static [EventKind] {
        &[EventKind::Left, EventKind::Claim]
    }

    fn helps(&self, info: &Arc<PodInfo>, event: &Event, _: &Snapshot) -> bool {
        match event {
            Event::Left(other) => info.claims.iter().any(|key| other.claims.contains(key)),
            Event::Claim(key) => info.claims.contains(key),
            _ => false,
        }
    }
}

impl Filter for Alone {
    fn filter(&self, _: &NodeInfo) -> Vec<Refusal> {
        match self.0.iter().any(|(_, users)| *users > 0) {
            true => Refusal::for_now(
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already \
                 in-use by another pod",
            ),
            false => Vec::new(),
        }
    }

    fn with(&self, change: &Moved) -> Option<Arc<dyn Filter>> {
        let count = |pods: &[Arc<PodInfo>], key: &Key| {
            pods.iter().filter(|pod| pod.claims.contains(key)).count()
        };
        let after = self.0.iter().map(|(key, users)| {
            let more = users + count(change.came, key);
            (key.clone(), more.saturating_sub(count(change.left, key)))
        });
        Some(Arc::new(Alone(after.collect())))
    }
}
