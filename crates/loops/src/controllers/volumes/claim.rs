//! A claim: it takes the volume that is named or fits best, or waits, and users hear for what.

use super::{Memory, bind};
use crate::changes::Note;
use crate::parts::status::{this, this_revision};
use crate::{Changes, Context};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_json::{Value, json};
use skiff_kinds::views::storage::{
    Ask, BIND_COMPLETED, BOUND_BY_CONTROLLER, PROVISIONERS, SELECTED_NODE,
};
use skiff_kinds::views::{PersistentVolume, PersistentVolumeClaim, Pod, StorageClass};
use std::sync::Arc;

/// What a volume held before it began to grow: so long as its file system has not, that is what there is.
const BEFORE_RESIZE: &str = "volume.alpha.kubernetes.io/pre-resize-capacity";

/// Provisioners that once were part of Kubernetes, and the drivers that do their work now (KEP-625).
const MIGRATED: [(&str, &str); 7] = [
    ("kubernetes.io/aws-ebs", "ebs.csi.aws.com"),
    ("kubernetes.io/azure-disk", "disk.csi.azure.com"),
    ("kubernetes.io/azure-file", "file.csi.azure.com"),
    ("kubernetes.io/cinder", "cinder.csi.openstack.org"),
    ("kubernetes.io/gce-pd", "pd.csi.storage.gke.io"),
    ("kubernetes.io/portworx-volume", "pxd.portworx.com"),
    ("kubernetes.io/vsphere-volume", "csi.vsphere.vmware.com"),
];

pub struct Seen {
    pub claim: Arc<PersistentVolumeClaim>,
    /// The one that it names.
    pub volume: Option<Arc<PersistentVolume>>,
    /// Those that it may get: made for it, or free and of its class.
    pub candidates: Vec<Arc<PersistentVolume>>,
    pub class: Option<Arc<StorageClass>>,
    pub default: Option<Arc<StorageClass>>,
    /// Pods that want it and have no node yet.
    pub pods: Vec<Arc<Pod>>,
}

pub async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
    let Some(claim) = cx.caches.of::<PersistentVolumeClaim>().get(key) else { return Ok(None) };
    let (volumes, classes) = (cx.caches.of::<PersistentVolume>(), cx.caches.of::<StorageClass>());
    let mut volume = None;
    let mut candidates = Vec::new();
    match &*claim.spec.volume_name {
        "" => {
            candidates = volumes.find("claim", &key.to_string());
            candidates.extend(volumes.find("free", claim.class()));
        }
        name => {
            let name = Key::new("", name);
            // That it is lost is not said before the server says so.
            volume = match volumes.get(&name) {
                None => cx.live(&name).await?,
                found => found,
            };
        }
    }
    let pods = cx.caches.of::<Pod>().find("claim", &key.to_string());
    Ok(Some(Seen {
        class: classes.get(&Key::new("", claim.class())),
        default: newest(classes.find("default", "true")),
        pods: pods.into_iter().filter(|it| it.spec.node_name.is_empty() && !it.ended()).collect(),
        claim,
        volume,
        candidates,
    }))
}

/// Of several defaults the newest; of those of one time the first by name.
fn newest(classes: Vec<Arc<StorageClass>>) -> Option<Arc<StorageClass>> {
    classes.into_iter().max_by(|a, b| {
        let (a, b) = (&a.metadata, &b.metadata);
        a.creation_timestamp.cmp(&b.creation_timestamp).then_with(|| b.name.cmp(&a.name))
    })
}

pub fn plan(seen: &Seen, memory: &mut Memory, out: &mut Changes) {
    let claim = &seen.claim;
    let completed = claim.metadata.annotations.contains_key(BIND_COMPLETED);
    let told = match &*claim.spec.volume_name {
        _ if completed => keep(seen, out),
        _ if claim.metadata.deleting() => None,
        "" => seek(seen, out),
        _ => want(seen, out),
    };
    let now = told.as_ref().map(|(_, reason, message)| (*reason, message.clone()));
    if let Some((type_, reason, message)) = told.filter(|_| memory.told != now) {
        out.event(Note::of(&**claim, type_, reason, message));
    }
    memory.told = now;
}

/// What users are told: its sort, reason and message.
type Told = Option<(&'static str, &'static str, String)>;

/// A claim that has its volume for good: it has it still, or has lost it.
fn keep(seen: &Seen, out: &mut Changes) -> Told {
    let claim = &seen.claim;
    let (reason, why) = match &seen.volume {
        _ if claim.spec.volume_name.is_empty() => (
            "ClaimLost",
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
        ),
        None => {
            ("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
        }
        Some(volume)
            if volume.spec.claim_ref.as_ref().is_none_or(|it| it.uid == claim.metadata.uid) =>
        {
            bind(volume, claim, out);
            return None;
        }
        Some(_) => (
            "ClaimMisbound",
            "Two claims are bound to the same volume, this one is bound incorrectly",
        ),
    };
    if claim.status.phase == "Lost" {
        return None;
    }
    without(claim, "Lost", out);
    Some(("Warning", reason, why.into()))
}

/// A claim that names a volume and does not have it yet.
fn want(seen: &Seen, out: &mut Changes) -> Told {
    let claim = &seen.claim;
    let Some(volume) = &seen.volume else {
        without(claim, "Pending", out);
        return None;
    };
    let name = &volume.metadata.name;
    let refused = Ask::new(claim).refuses(volume);
    match (&volume.spec.claim_ref, refused) {
        (None, Some(why)) => {
            without(claim, "Pending", out);
            let why = format!("Cannot bind to requested volume {name:?}: {why}");
            Some(("Warning", "VolumeMismatch", why))
        }
        (Some(_), _) if !volume.is_for(claim) => {
            if !claim.metadata.annotations.contains_key(BOUND_BY_CONTROLLER) {
                without(claim, "Pending", out);
            }
            let why = format!("volume {name:?} already bound to a different claim.");
            Some(("Warning", "FailedBinding", why))
        }
        _ => {
            bind(volume, claim, out);
            None
        }
    }
}

/// A claim that takes whatever fits.
fn seek(seen: &Seen, out: &mut Changes) -> Told {
    let (claim, ask) = (&seen.claim, Ask::new(&seen.claim));
    let waits = seen.class.as_ref().is_some_and(|class| class.waits());
    let best = || ask.best(&seen.candidates, |_| true).filter(|_| !waits);
    if let Some(volume) = ask.named(&seen.candidates).or_else(best) {
        bind(volume, claim, out);
        return None;
    }
    if let Some(class) = seen.default.as_ref().filter(|_| !claim.has_class()) {
        let body = json!({"metadata": this_revision(&claim.metadata),
            "spec": {"storageClassName": class.metadata.name}});
        out.merge(PersistentVolumeClaim::RESOURCE, claim.metadata.key(), body);
        return None;
    }
    if waits && !claim.metadata.annotations.contains_key(SELECTED_NODE) {
        without(claim, "Pending", out);
        let (reason, why) = waits_for(&seen.pods);
        return Some(("Normal", reason, why));
    }
    if !claim.class().is_empty() {
        return Some(provision(seen, out));
    }
    without(claim, "Pending", out);
    let why = "no persistent volumes available for this claim and no storage class is set";
    Some(("Normal", "FailedBinding", why.into()))
}

/// For what a claim waits whose volume is chosen where its first pod goes.
fn waits_for(pods: &[Arc<Pod>]) -> (&'static str, String) {
    let names: Vec<&str> = pods.iter().map(|pod| &*pod.metadata.name).collect();
    match names[..] {
        [] => (
            "WaitForFirstConsumer",
            "waiting for first consumer to be created before binding".into(),
        ),
        [name] => ("WaitForPodScheduled", format!("waiting for pod {name} to be scheduled")),
        _ => {
            ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", names.join(",")))
        }
    }
}

/// Leaves the claim to whoever makes volumes of its class.
fn provision(seen: &Seen, out: &mut Changes) -> (&'static str, &'static str, String) {
    let claim = &seen.claim;
    let failed = |why: String| ("Warning", "ProvisioningFailed", why);
    let Some(class) = &seen.class else {
        return failed(format!("storageclass.storage.k8s.io {:?} not found", claim.class()));
    };
    let named = &*class.provisioner;
    let driver = MIGRATED.iter().find(|(old, _)| *old == named).map(|(_, driver)| *driver);
    if driver.is_none() && named.starts_with("kubernetes.io/") {
        return failed(format!("no volume plugin matched name: {named}"));
    }
    let driver = driver.unwrap_or(named);
    let noted = |key: &&str| claim.metadata.annotations.get(*key).is_some_and(|it| it == driver);
    if !PROVISIONERS.iter().all(noted) {
        let mut metadata = this_revision(&claim.metadata);
        metadata["annotations"] =
            PROVISIONERS.iter().map(|key| ((*key).to_owned(), driver)).collect();
        let body = json!({"metadata": metadata});
        out.merge(PersistentVolumeClaim::RESOURCE, claim.metadata.key(), body);
    }
    let why = format!(
        "Waiting for a volume to be created either by the external provisioner '{driver}' or manually by the \
         system administrator. If volume creation is delayed, please verify that the provisioner is running \
         and correctly registered."
    );
    ("Normal", "ExternalProvisioning", why)
}

/// A claim gets its half of the bond, and says what it has.
pub fn take(claim: &PersistentVolumeClaim, volume: &PersistentVolume, out: &mut Changes) {
    let (meta, name) = (&claim.metadata, &volume.metadata.name);
    let (chosen, notes) = (claim.spec.volume_name != *name, &meta.annotations);
    if chosen || !notes.contains_key(BIND_COMPLETED) {
        let mut metadata = this_revision(meta);
        metadata["annotations"] = json!({BIND_COMPLETED: "yes"});
        if chosen {
            metadata["annotations"][BOUND_BY_CONTROLLER] = "yes".into();
        }
        let body = json!({"metadata": metadata, "spec": {"volumeName": name}});
        out.merge(PersistentVolumeClaim::RESOURCE, meta.key(), body);
    }
    let (status, spec) = (&claim.status, &volume.spec);
    let mut after = json!({});
    if status.access_modes != spec.access_modes {
        after["accessModes"] = json!(spec.access_modes);
    }
    if status.phase != "Bound" {
        after["phase"] = "Bound".into();
        let before = volume.metadata.annotations.get(BEFORE_RESIZE);
        if let Some(before) = before {
            after["capacity"] = json!({"storage": before});
        } else if status.capacity.get("storage") != spec.capacity.get("storage") {
            let amounts = spec.capacity.iter();
            after["capacity"] =
                amounts.map(|(name, amount)| (name.to_owned(), amount.to_string())).collect();
        }
        let attributes = &spec.volume_attributes_class_name;
        if status.phase == "Pending" && status.current_volume_attributes_class_name != *attributes {
            after["currentVolumeAttributesClassName"] = json!(attributes);
        }
    }
    say(claim, after, out);
}

/// A claim without a volume has none of its modes and sizes.
fn without(claim: &PersistentVolumeClaim, phase: &str, out: &mut Changes) {
    let (status, mut after) = (&claim.status, json!({}));
    if status.phase != phase {
        after["phase"] = phase.into();
    }
    for (field, there) in [
        ("accessModes", !status.access_modes.is_empty()),
        ("capacity", !status.capacity.is_empty()),
        ("currentVolumeAttributesClassName", status.current_volume_attributes_class_name.is_some()),
    ] {
        if there {
            after[field] = Value::Null;
        }
    }
    say(claim, after, out);
}

fn say(claim: &PersistentVolumeClaim, status: Value, out: &mut Changes) {
    if status.as_object().is_some_and(|fields| !fields.is_empty()) {
        let body = json!({"metadata": this(&claim.metadata), "status": status});
        out.status(PersistentVolumeClaim::RESOURCE, claim.metadata.key(), body);
    }
}
