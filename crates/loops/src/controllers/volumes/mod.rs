//! Volumes: each claim gets the volume that is there for it, and a volume whose claim is gone is kept or given back
//! (API reference: PersistentVolume, PersistentVolumeClaim).
//!
//! Claims and volumes are one loop, with keys of both: a bond is two halves, and each half is looked at when the other
//! changes. A half that another was faster to take is refused by its revision, and the pass begins anew.

mod claim;
#[cfg(test)]
mod tests;
mod volume;

use crate::parts::status::{this, this_revision};
use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_api::wire::User;
use skiff_base::Time;
use skiff_client::Caches;
use skiff_json::{Value, json};
use skiff_kinds::views::storage::BOUND_BY_CONTROLLER;
use skiff_kinds::views::{PersistentVolume, PersistentVolumeClaim, Pod, StorageClass};

/// Key: a claim, or a volume (which has no namespace).
pub struct VolumeBinder;

pub enum Seen {
    Claim(claim::Seen),
    Volume(volume::Seen),
}

/// What users were told last: upstream says it again and again, and once is enough.
#[derive(Debug, Default)]
pub struct Memory {
    told: Option<(&'static str, String)>,
}

impl Loop for VolumeBinder {
    const NAME: &'static str = "persistentvolume-controller";
    /// Claims that look for a volume take them one after the other.
    const WORKERS: usize = 1;
    type Seen = Seen;
    type Memory = Memory;

    fn user() -> User {
        User::service_account("kube-system", "persistent-volume-binder")
    }

    fn on(on: &mut On) {
        on.own::<PersistentVolumeClaim>();
        on.own::<PersistentVolume>();
        on.map::<PersistentVolumeClaim>(volumes_of);
        on.map::<PersistentVolume>(claims_of);
        on.map::<StorageClass>(|class, caches| {
            let mut waiting = waiting(caches, &class.metadata.name);
            if class.is_default() {
                waiting.extend(waiting_for_any(caches));
            }
            waiting
        });
        on.map::<Pod>(|pod, caches| {
            let cache = caches.of::<PersistentVolumeClaim>();
            let waits =
                |key: &Key| cache.get(key).is_some_and(|claim| claim.spec.volume_name.is_empty());
            pod.claim_keys().into_iter().filter(waits).collect()
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        Ok(match &*key.namespace {
            "" => volume::observe(cx, key).await?.map(Seen::Volume),
            _ => claim::observe(cx, key).await?.map(Seen::Claim),
        })
    }

    fn plan(seen: &Seen, memory: &mut Memory, _: Time, out: &mut Changes) -> Next {
        match seen {
            Seen::Claim(seen) => claim::plan(seen, memory, out),
            Seen::Volume(seen) => volume::plan(seen, out),
        }
        Next::Wait
    }
}

/// The volume that a claim names, and those that name it.
fn volumes_of(claim: &PersistentVolumeClaim, caches: &Caches) -> Vec<Key> {
    let key = claim.metadata.key().to_string();
    let named = caches.of::<PersistentVolume>().find("claim", &key);
    let named = named.iter().map(|volume| volume.metadata.key());
    let own = Some(&claim.spec.volume_name).filter(|name| !name.is_empty());
    own.map(|name| Key::new("", name)).into_iter().chain(named).collect()
}

/// The claim that a volume names, those that name it, and, while it is free, those that it may be for.
fn claims_of(volume: &PersistentVolume, caches: &Caches) -> Vec<Key> {
    let meta = &volume.metadata;
    let claims = caches.of::<PersistentVolumeClaim>().find("volume", &meta.name);
    let mut keys: Vec<Key> = claims.iter().map(|claim| claim.metadata.key()).collect();
    keys.extend(volume.spec.claim_ref.as_ref().map(|claim| claim.key()));
    // As it is now: of one that was just taken nobody else need hear.
    let now = caches.of::<PersistentVolume>().get(&meta.key());
    if let Some(free) = now.filter(|it| it.spec.claim_ref.is_none()) {
        keys.extend(waiting(caches, free.class()));
    }
    keys
}

fn waiting(caches: &Caches, class: &str) -> Vec<Key> {
    let claims = caches.of::<PersistentVolumeClaim>().find("waits", class);
    claims.iter().map(|claim| claim.metadata.key()).collect()
}

/// Claims that say nothing of their class, and so take the default when there is one.
fn waiting_for_any(caches: &Caches) -> Vec<Key> {
    let claims = caches.of::<PersistentVolumeClaim>().find("waits", "");
    claims.iter().filter(|it| !it.has_class()).map(|claim| claim.metadata.key()).collect()
}

/// Joins a claim and a volume, or what is not joined of them yet.
fn bind(volume: &PersistentVolume, claim: &PersistentVolumeClaim, out: &mut Changes) {
    let (vm, cm) = (&volume.metadata, &claim.metadata);
    let there = volume.spec.claim_ref.as_ref();
    if !there.is_some_and(|it| it.key() == cm.key() && it.uid == cm.uid) {
        let mut body = json!({"metadata": this_revision(vm), "spec": {"claimRef": {
            "apiVersion": "v1", "kind": PersistentVolumeClaim::RESOURCE.kind,
            "namespace": cm.namespace, "name": cm.name, "uid": cm.uid,
            "resourceVersion": cm.resource_version}}});
        if !volume.is_for(claim) && !vm.annotations.contains_key(BOUND_BY_CONTROLLER) {
            body["metadata"]["annotations"] = json!({BOUND_BY_CONTROLLER: "yes"});
        }
        out.merge(PersistentVolume::RESOURCE, vm.key(), body);
    }
    phase(volume, "Bound", "", out);
    claim::take(claim, volume, out);
}

/// Says how a volume is, if that is new.
fn phase(volume: &PersistentVolume, phase: &str, message: &str, out: &mut Changes) {
    if volume.status.phase != phase {
        let message = if message.is_empty() { Value::Null } else { message.into() };
        let status = json!({"phase": phase, "message": message});
        let body = json!({"metadata": this(&volume.metadata), "status": status});
        out.status(PersistentVolume::RESOURCE, volume.metadata.key(), body);
    }
}
