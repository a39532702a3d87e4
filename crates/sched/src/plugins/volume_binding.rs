//! Claims of a pod: those that have a volume keep the pod where that is; those that wait for it get one where it goes
//! (API reference: StorageClass, `volumeBindingMode`).

use super::{Event, EventKind, Filter, Plugin, Prepared, Refusal, Write};
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use crate::storage::Storage;
use skiff_api::view::{Key, View};
use skiff_json::{Value, json};
use skiff_kinds::views::pod::Volume;
use skiff_kinds::views::storage::{
    Ask, BOUND_BY_CONTROLLER, NO_PROVISIONER, SELECTED_NODE, reaches,
};
use skiff_kinds::views::{PersistentVolume, PersistentVolumeClaim};
use std::sync::Arc;

pub struct VolumeBinding;

const NO_VOLUME: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
const ELSEWHERE: &str = "node(s) didn't match PersistentVolume's node affinity";
const NOTHING_FITS: &str = "node(s) didn't find available persistent volumes to bind";

/// What is known of a pod's claims before any node is looked at.
struct Claims {
    storage: Arc<Storage>,
    /// Volumes of those that are bound; `None` is one that is gone.
    bound: Vec<Option<Arc<PersistentVolume>>>,
    /// Those that get a volume where the pod goes, the smallest first.
    waiting: Vec<Arc<PersistentVolumeClaim>>,
}

/// What becomes of a claim that waits.
enum Choice {
    Take(Arc<PersistentVolume>),
    /// Somebody makes a volume for that node.
    Make,
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn prepare(&self, info: &Arc<PodInfo>, snapshot: &Snapshot) -> Prepared {
        if info.claims.is_empty() {
            return Prepared::default();
        }
        match Claims::of(info, &snapshot.storage) {
            Ok(claims) => Prepared::of(claims),
            Err(why) => Prepared::never(why),
        }
    }

    fn listens(&self) -> &'static [EventKind] {
        &[EventKind::Node, EventKind::Claim, EventKind::Storage]
    }

    fn helps(&self, info: &Arc<PodInfo>, event: &Event, snapshot: &Snapshot) -> bool {
        let claims = || Claims::of(info, &snapshot.storage).ok();
        match event {
            Event::Node(node) => {
                node.zip(claims()).is_some_and(|(node, claims)| claims.filter(node).is_empty())
            }
            Event::Claim(key) => info.claims.contains(key),
            Event::Storage => true,
            _ => false,
        }
    }

    fn reserve(
        &self,
        info: &PodInfo,
        node: &str,
        snapshot: &mut Snapshot,
    ) -> Result<Vec<Write>, String> {
        if info.claims.is_empty() {
            return Ok(Vec::new());
        }
        let claims = Claims::of(info, &snapshot.storage)?;
        let Some(place) = snapshot.named(node).cloned() else { return Err("it is gone".into()) };
        let choices = claims.choices(&place)?;
        // What it looked at is let go, so that what is promised is noted in place.
        let Claims { waiting, .. } = claims;
        let mut writes = Vec::new();
        for (claim, choice) in waiting.iter().zip(choices) {
            writes.push(match choice {
                Choice::Take(volume) => {
                    let storage = Arc::make_mut(&mut snapshot.storage);
                    storage.promise(&volume.metadata.name, &info.key);
                    taken(&volume, claim)
                }
                Choice::Make => made_on(claim, node),
            });
        }
        Ok(writes)
    }

    fn unreserve(&self, info: &PodInfo, _: &str, snapshot: &mut Snapshot) {
        if !info.claims.is_empty() {
            Arc::make_mut(&mut snapshot.storage).forget(&info.key);
        }
    }
}

/// The volume is for that claim from now on.
fn taken(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Write {
    let (vm, cm) = (&volume.metadata, &claim.metadata);
    let mut metadata = json!({"uid": vm.uid, "resourceVersion": vm.resource_version});
    if !volume.is_for(claim) {
        metadata["annotations"] = json!({BOUND_BY_CONTROLLER: "yes"});
    }
    let claim = json!({"apiVersion": "v1", "kind": PersistentVolumeClaim::RESOURCE.kind,
        "namespace": cm.namespace, "name": cm.name, "uid": cm.uid,
        "resourceVersion": cm.resource_version});
    let body = json!({"metadata": metadata, "spec": {"claimRef": claim}});
    Write { resource: PersistentVolume::RESOURCE, key: vm.key(), body }
}

/// The claim's volume is to be made for that node.
fn made_on(claim: &PersistentVolumeClaim, node: &str) -> Write {
    let meta = &claim.metadata;
    let body: Value = json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version,
        "annotations": {SELECTED_NODE: node}}});
    Write { resource: PersistentVolumeClaim::RESOURCE, key: meta.key(), body }
}

impl Claims {
    /// Looks at all of them; in upstream's words why no node can do.
    fn of(info: &PodInfo, storage: &Arc<Storage>) -> Result<Claims, String> {
        let (mut bound, mut waiting) = (Vec::new(), Vec::new());
        let mut unbound = false;
        for (key, (volume, _)) in info.claims.iter().zip(info.pod.claims()) {
            let claim = usable(info, volume, key, storage.claim(key))?;
            let class = storage.class(claim.class());
            match &*claim.spec.volume_name {
                name if claim.is_bound() => bound.push(storage.volume(name).cloned()),
                "" if class.is_some_and(|class| class.waits()) => waiting.push(claim.clone()),
                _ => unbound = true,
            }
        }
        if unbound {
            return Err("pod has unbound immediate PersistentVolumeClaims".into());
        }
        waiting.sort_by_key(|claim| claim.size());
        Ok(Claims { storage: storage.clone(), bound, waiting })
    }

    /// What each claim that waits would get on that node.
    fn choices(&self, info: &NodeInfo) -> Result<Vec<Choice>, &'static str> {
        let (labels, mut taken) = (&info.node.metadata.labels, Vec::new());
        let mut choices = Vec::new();
        for claim in &self.waiting {
            let selected = claim.metadata.annotations.get(SELECTED_NODE);
            let candidates = match selected {
                Some(node) if *node != info.name => return Err(NOTHING_FITS),
                Some(_) => Vec::new(),
                None => self.storage.of_class(claim.class()),
            };
            let ask = Ask::new(claim);
            let here = |it: &PersistentVolume| reaches(it, &info.name, labels);
            let free = |it: &PersistentVolume| here(it) && !taken.contains(&it.metadata.name);
            let found = match ask.named(&candidates) {
                Some(own) => Some(own).filter(|own| here(own)),
                None => ask.best(&candidates, free),
            };
            choices.push(match found {
                Some(volume) => {
                    taken.push(volume.metadata.name.clone());
                    Choice::Take(volume.clone())
                }
                None if self.can_make(claim, info) => Choice::Make,
                None => return Err(NOTHING_FITS),
            });
        }
        Ok(choices)
    }

    fn can_make(&self, claim: &PersistentVolumeClaim, info: &NodeInfo) -> bool {
        let Some(class) = self.storage.class(claim.class()) else { return false };
        let fits = |key: &str, values: &[String]| {
            info.label(key).is_some_and(|value| values.iter().any(|it| it == value))
        };
        let reached = class.allowed_topologies.is_empty()
            || class.allowed_topologies.iter().any(|term| {
                term.match_label_expressions.iter().all(|it| fits(&it.key, &it.values))
            });
        !["", NO_PROVISIONER].contains(&&*class.provisioner) && reached
    }
}

/// A claim that a pod may use.
fn usable<'a>(
    info: &PodInfo,
    volume: &Volume,
    key: &Key,
    claim: Option<&'a Arc<PersistentVolumeClaim>>,
) -> Result<&'a Arc<PersistentVolumeClaim>, String> {
    let (name, own) = (&key.name, volume.persistent_volume_claim.is_none());
    let Some(claim) = claim else {
        return Err(match own {
            true => format!(
                "waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"
            ),
            false => format!("persistentvolumeclaim {name:?} not found"),
        });
    };
    if claim.status.phase == "Lost" {
        let volume = &claim.spec.volume_name;
        return Err(format!(
            "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
        ));
    }
    if claim.metadata.deleting() {
        return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
    }
    if own && !claim.metadata.controlled_by(info.uid()) {
        let pod = &info.key;
        return Err(format!("PVC {key} was not created for pod {pod} (pod is not owner)"));
    }
    Ok(claim)
}

impl Filter for Claims {
    fn filter(&self, info: &NodeInfo) -> Vec<Refusal> {
        let labels = &info.node.metadata.labels;
        let away = |volume: &Arc<PersistentVolume>| !reaches(volume, &info.name, labels);
        let mut refusals = Vec::new();
        if self.bound.iter().flatten().any(away) {
            refusals.extend(Refusal::for_good(ELSEWHERE));
        }
        if let Err(why) = self.choices(info) {
            refusals.extend(Refusal::for_good(why));
        }
        if self.bound.iter().any(Option::is_none) {
            refusals.extend(Refusal::for_good(NO_VOLUME));
        }
        refusals
    }
}
