//! Volumes of a driver that a node can have at once, as its CSINode says (API reference: CSINode).

use super::{Event, EventKind, Filter, Plugin, Prepared, Refusal};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use crate::storage::Storage;
use skiff_api::view::Key;
use std::collections::BTreeSet;
use std::sync::Arc;

pub struct VolumeLimits;

/// A volume of a driver.
type Volume = (String, String);

struct Room {
    storage: Arc<Storage>,
    wanted: BTreeSet<Volume>,
}

impl Plugin for VolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn prepare(&self, info: &Arc<PodInfo>, snapshot: &Snapshot) -> Prepared {
        let storage = &snapshot.storage;
        let wanted: BTreeSet<Volume> = volumes(storage, info).collect();
        match wanted.is_empty() {
            true => Prepared::default(),
            false => Prepared::of(Room { storage: storage.clone(), wanted }),
        }
    }

    fn listens(&self) -> &'static [EventKind] {
        &[EventKind::Left, EventKind::Storage, EventKind::Claim]
    }

    fn helps(&self, _: &Arc<PodInfo>, event: &Event, _: &Snapshot) -> bool {
        match event {
            Event::Left(other) => !other.claims.is_empty(),
            _ => true,
        }
    }
}

/// The volumes of drivers that a pod has, or will have when somebody makes them.
fn volumes<'a>(storage: &'a Storage, pod: &'a PodInfo) -> impl Iterator<Item = Volume> + 'a {
    pod.claims.iter().filter_map(|key: &Key| {
        let claim = storage.claim(key)?;
        match &*claim.spec.volume_name {
            "" => Some((storage.class(claim.class())?.provisioner.clone(), key.to_string())),
            name => {
                let csi = storage.volume(name)?.spec.csi.as_ref()?;
                Some((csi.driver.clone(), csi.volume_handle.clone()))
            }
        }
    })
}

impl Filter for Room {
    fn filter(&self, info: &NodeInfo) -> Vec<Refusal> {
        let Some(node) = self.storage.csi_node(&info.name) else { return Vec::new() };
        let there: BTreeSet<Volume> =
            info.pods.iter().flat_map(|pod| volumes(&self.storage, pod)).collect();
        let full = node.spec.drivers.iter().any(|driver| {
            let its = |volume: &&Volume| volume.0 == driver.name;
            let more = self.wanted.difference(&there).filter(its).count();
            let taken = there.iter().filter(its).count();
            more > 0 && driver.allocatable.count.is_some_and(|most| taken + more > most)
        });
        match full {
            true => Refusal::for_now("node(s) exceed max volume count"),
            false => Vec::new(),
        }
    }
}
