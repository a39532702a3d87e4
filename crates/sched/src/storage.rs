//! What the scheduler knows of storage: claims, volumes and their classes, who uses which claim, and which volumes are
//! promised to pods whose binds are under way. It follows one object at a time, like the snapshot that it belongs to.

use crate::pod::PodInfo;
use skiff_api::view::Key;
use skiff_kinds::views::storage::CsiNode;
use skiff_kinds::views::{PersistentVolume, PersistentVolumeClaim, StorageClass};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

#[derive(Debug, Clone, Default)]
pub struct Storage {
    claims: HashMap<Key, Arc<PersistentVolumeClaim>>,
    volumes: BTreeMap<String, Arc<PersistentVolume>>,
    /// Volumes by their class.
    of_class: HashMap<String, BTreeSet<String>>,
    classes: HashMap<String, Arc<StorageClass>>,
    csi_nodes: HashMap<String, Arc<CsiNode>>,
    /// How many pods on nodes use a claim.
    users: HashMap<Key, usize>,
    /// Volumes that pods will have, though the API does not show it yet.
    promised: BTreeMap<String, Key>,
}

impl Storage {
    pub fn claim(&self, key: &Key) -> Option<&Arc<PersistentVolumeClaim>> {
        self.claims.get(key)
    }

    pub fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes.get(name)
    }

    pub fn class(&self, name: &str) -> Option<&Arc<StorageClass>> {
        self.classes.get(name)
    }

    pub fn csi_node(&self, name: &str) -> Option<&Arc<CsiNode>> {
        self.csi_nodes.get(name)
    }

    /// Volumes of a class that nobody was promised.
    pub fn of_class(&self, class: &str) -> Vec<Arc<PersistentVolume>> {
        let names = self.of_class.get(class).into_iter().flatten();
        let free = names.filter(|name| !self.promised.contains_key(*name));
        free.filter_map(|name| self.volumes.get(name)).cloned().collect()
    }

    pub fn users(&self, claim: &Key) -> usize {
        self.users.get(claim).copied().unwrap_or(0)
    }

    pub fn set_claim(&mut self, key: &Key, claim: Option<&Arc<PersistentVolumeClaim>>) {
        set(&mut self.claims, key, claim);
    }

    pub fn set_class(&mut self, name: &str, class: Option<&Arc<StorageClass>>) {
        set(&mut self.classes, &name.to_owned(), class);
    }

    pub fn set_csi_node(&mut self, name: &str, node: Option<&Arc<CsiNode>>) {
        set(&mut self.csi_nodes, &name.to_owned(), node);
    }

    pub fn set_volume(&mut self, name: &str, volume: Option<&Arc<PersistentVolume>>) {
        if let Some(old) = self.volumes.remove(name)
            && let Some(names) = self.of_class.get_mut(old.class())
        {
            names.remove(name);
            if names.is_empty() {
                self.of_class.remove(old.class());
            }
        }
        let Some(new) = volume else {
            self.promised.remove(name);
            return;
        };
        if new.spec.claim_ref.is_some() {
            self.promised.remove(name);
        }
        self.of_class.entry(new.class().to_owned()).or_default().insert(name.to_owned());
        self.volumes.insert(name.to_owned(), new.clone());
    }

    /// A pod comes to a node with its claims, or leaves it.
    pub fn count(&mut self, pod: &PodInfo, comes: bool) {
        for key in &pod.claims {
            let users = self.users.entry(key.clone()).or_default();
            *users = if comes { *users + 1 } else { users.saturating_sub(1) };
            if *users == 0 {
                self.users.remove(key);
            }
        }
    }

    pub fn promise(&mut self, volume: &str, pod: &Key) {
        self.promised.insert(volume.to_owned(), pod.clone());
    }

    /// What a pod was promised is free again.
    pub fn forget(&mut self, pod: &Key) {
        self.promised.retain(|_, to| to != pod);
    }
}

fn set<K: std::hash::Hash + Eq + Clone, V>(
    map: &mut HashMap<K, Arc<V>>,
    key: &K,
    new: Option<&Arc<V>>,
) {
    match new {
        Some(new) => map.insert(key.clone(), new.clone()),
        None => map.remove(key),
    };
}
