//! Storage as loops, the scheduler and the node read it: volumes, the claims on them, their classes.

mod matching;

pub use matching::{Ask, reaches};

use super::pod::{HostPath, LabelSelector, NodeSelector, Quantities};
use super::{Condition, null_is_empty};
use crate::core::persistentvolume::CLASS;
use crate::storage::storageclass::DEFAULT;
use serde::{Deserialize, Serialize};
use skiff_api::quantity::Quantity;
use skiff_api::view::{Key, Meta, Resource, View};
use skiff_json::Map;

/// Says of a claim that it has its volume for good.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// Says of a claim or a volume that the other was chosen for it, and not named by its maker.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Names who made a volume; he takes it away, too.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Of a claim: who is to make its volume. The first is older.
pub const PROVISIONERS: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];
/// Of a claim: the node for which its volume is to be made.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The provisioner of classes whose volumes nobody makes.
pub const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PersistentVolume {
    pub metadata: Meta,
    pub spec: VolumeSpec,
    pub status: VolumeStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSpec {
    pub capacity: Quantities,
    pub access_modes: Vec<String>,
    pub claim_ref: Option<ClaimRef>,
    /// `Retain`, `Recycle` or `Delete`.
    pub persistent_volume_reclaim_policy: String,
    pub storage_class_name: String,
    pub volume_attributes_class_name: Option<String>,
    pub mount_options: Vec<String>,
    /// `Filesystem` or `Block`.
    pub volume_mode: String,
    pub node_affinity: Option<VolumeNodeAffinity>,
    pub host_path: Option<HostPath>,
    pub local: Option<LocalVolume>,
    pub csi: Option<CsiVolume>,
    /// A source that has no type here, under its field.
    #[serde(flatten)]
    pub other: Map,
}

/// A folder or a device of one node.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LocalVolume {
    pub path: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiVolume {
    pub driver: String,
    pub volume_handle: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct VolumeNodeAffinity {
    pub required: NodeSelector,
}

/// The claim that a volume is for. Without a uid it was named before it was there, or waits for another of that name.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimRef {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeStatus {
    /// `Pending`, `Available`, `Bound`, `Released` or `Failed`.
    pub phase: String,
    pub message: String,
    pub reason: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PersistentVolumeClaim {
    pub metadata: Meta,
    pub spec: ClaimSpec,
    pub status: ClaimStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    pub access_modes: Vec<String>,
    pub selector: Option<LabelSelector>,
    pub resources: ClaimResources,
    /// The volume that it has, or wants.
    pub volume_name: String,
    /// Empty is a wish for none; absent takes the default.
    pub storage_class_name: Option<String>,
    pub volume_mode: String,
    pub volume_attributes_class_name: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ClaimResources {
    pub requests: Quantities,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimStatus {
    /// `Pending`, `Bound` or `Lost`.
    pub phase: String,
    pub access_modes: Vec<String>,
    pub capacity: Quantities,
    pub current_volume_attributes_class_name: Option<String>,
    #[serde(deserialize_with = "null_is_empty")]
    pub conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageClass {
    pub metadata: Meta,
    pub provisioner: String,
    /// `Immediate` or `WaitForFirstConsumer`.
    pub volume_binding_mode: String,
    pub reclaim_policy: String,
    pub allow_volume_expansion: bool,
    pub allowed_topologies: Vec<TopologyTerm>,
}

/// All of its labels, each with one of its values.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopologyTerm {
    pub match_label_expressions: Vec<TopologyLabel>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TopologyLabel {
    pub key: String,
    pub values: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct VolumeAttributesClass {
    pub metadata: Meta,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CsiNode {
    pub metadata: Meta,
    pub spec: CsiNodeSpec,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CsiNodeSpec {
    #[serde(deserialize_with = "super::null_is_empty")]
    pub drivers: Vec<CsiNodeDriver>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CsiNodeDriver {
    pub name: String,
    pub allocatable: CsiNodeRoom,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CsiNodeRoom {
    /// How many volumes it takes; absent is any number.
    pub count: Option<usize>,
}

impl View for PersistentVolume {
    const RESOURCE: Resource = crate::core::persistentvolume::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    /// By the claim that it is for; a volume that is for none, by its class.
    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        match &self.spec.claim_ref {
            Some(claim) => put("claim", &claim.key().to_string()),
            None => put("free", self.class()),
        }
        self.spec.volume_attributes_class_name.iter().for_each(|class| put("attributes", class));
    }
}

impl View for PersistentVolumeClaim {
    const RESOURCE: Resource = crate::core::persistentvolumeclaim::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    /// By the volume that it has; one that has none, by its class.
    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        match &*self.spec.volume_name {
            "" => put("waits", self.class()),
            volume => put("volume", volume),
        }
        self.attributes_classes().for_each(|class| put("attributes", class));
    }
}

impl View for StorageClass {
    const RESOURCE: Resource = crate::storage::storageclass::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        if self.is_default() {
            put("default", "true");
        }
    }
}

impl View for VolumeAttributesClass {
    const RESOURCE: Resource = crate::storage::volumeattributesclass::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl View for CsiNode {
    const RESOURCE: Resource = crate::storage::csinode::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl ClaimRef {
    pub fn key(&self) -> Key {
        Key::new(&self.namespace, &self.name)
    }
}

/// The older annotation before the field.
fn class<'a>(meta: &'a Meta, field: &'a str) -> &'a str {
    meta.annotations.get(CLASS).map_or(field, String::as_str)
}

impl PersistentVolume {
    /// Empty is none.
    pub fn class(&self) -> &str {
        class(&self.metadata, &self.spec.storage_class_name)
    }

    /// Whether it is for this claim, or for one of that name that was not there yet.
    pub fn is_for(&self, claim: &PersistentVolumeClaim) -> bool {
        self.spec.claim_ref.as_ref().is_some_and(|it| {
            let meta = &claim.metadata;
            it.name == meta.name
                && it.namespace == meta.namespace
                && (it.uid.is_empty() || it.uid == meta.uid)
        })
    }

    /// What it holds.
    pub fn size(&self) -> Quantity {
        self.spec.capacity.get("storage").cloned().unwrap_or_else(Quantity::zero)
    }
}

impl PersistentVolumeClaim {
    /// Empty is none, wished for or not.
    pub fn class(&self) -> &str {
        class(&self.metadata, self.spec.storage_class_name.as_deref().unwrap_or(""))
    }

    /// Whether it says anything about its class; else it takes the default.
    pub fn has_class(&self) -> bool {
        self.spec.storage_class_name.is_some() || self.metadata.annotations.contains_key(CLASS)
    }

    /// Whether it has its volume for good.
    pub fn is_bound(&self) -> bool {
        !self.spec.volume_name.is_empty() && self.metadata.annotations.contains_key(BIND_COMPLETED)
    }

    /// The classes of attributes that it has, and shall have.
    pub fn attributes_classes(&self) -> impl Iterator<Item = &str> {
        let wanted = &self.spec.volume_attributes_class_name;
        let current = &self.status.current_volume_attributes_class_name;
        wanted.iter().chain(current).map(String::as_str)
    }

    /// What it asks for.
    pub fn size(&self) -> Quantity {
        let size = self.spec.resources.requests.get("storage");
        size.cloned().unwrap_or_else(Quantity::zero)
    }
}

impl StorageClass {
    pub fn is_default(&self) -> bool {
        let notes = &self.metadata.annotations;
        DEFAULT.iter().any(|key| notes.get(*key).is_some_and(|value| value == "true"))
    }

    /// Whether volumes wait for the first pod that uses them.
    pub fn waits(&self) -> bool {
        self.volume_binding_mode == "WaitForFirstConsumer"
    }
}
