//! A volume: free, promised, bound, or left by its claim; then it is kept, or given back if somebody can do that.

use super::phase;
use crate::changes::Note;
use crate::parts::status::this_revision;
use crate::{Changes, Context};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_json::json;
use skiff_kinds::views::storage::{BOUND_BY_CONTROLLER, PROVISIONED_BY};
use skiff_kinds::views::{PersistentVolume, PersistentVolumeClaim};
use std::sync::Arc;

/// Names the driver that took over from an old part of Kubernetes.
const MIGRATED_TO: &str = "pv.kubernetes.io/migrated-to";

pub struct Seen {
    pub volume: Arc<PersistentVolume>,
    /// The very claim that it is for.
    pub claim: Option<Arc<PersistentVolumeClaim>>,
}

pub async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
    let Some(volume) = cx.caches.of::<PersistentVolume>().get(key) else { return Ok(None) };
    let Some(wanted) = volume.spec.claim_ref.as_ref().filter(|it| !it.uid.is_empty()) else {
        return Ok(Some(Seen { volume, claim: None }));
    };
    let same = |claim: &Arc<PersistentVolumeClaim>| claim.metadata.uid == wanted.uid;
    let cached = cx.caches.of::<PersistentVolumeClaim>().get(&wanted.key()).filter(same);
    let left = matches!(&*volume.status.phase, "Released" | "Failed");
    let claim = match cached {
        // That it has left is not said before the server says so.
        None if !left => cx.live(&wanted.key()).await?.filter(same),
        cached => cached,
    };
    Ok(Some(Seen { volume, claim }))
}

pub fn plan(seen: &Seen, out: &mut Changes) {
    let volume = &*seen.volume;
    let spec = &volume.spec;
    let promised = spec.claim_ref.as_ref().filter(|it| !it.uid.is_empty());
    let Some(claim) = &seen.claim else {
        return match promised {
            None => phase(volume, "Available", "", out),
            Some(_) => release(volume, out),
        };
    };
    match &*claim.spec.volume_name {
        "" if claim.spec.volume_mode != spec.volume_mode => mismatch(volume, claim, out),
        "" => out.because("its claim takes it"),
        name if name == volume.metadata.name => phase(volume, "Bound", "", out),
        // The claim has another: what was made for it alone goes, what was there before is free again.
        _ if volume.metadata.annotations.contains_key(PROVISIONED_BY)
            && spec.persistent_volume_reclaim_policy == "Delete" =>
        {
            release(volume, out);
        }
        _ => unbind(volume, out),
    }
}

fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim, out: &mut Changes) {
    let why = format!(
        "Cannot bind PersistentVolume to requested PersistentVolumeClaim {:?} due to incompatible volumeMode.",
        claim.metadata.name
    );
    out.event(Note::of(volume, "Warning", "VolumeMismatch", why));
    let why = format!(
        "Cannot bind PersistentVolume {:?} to requested PersistentVolumeClaim due to incompatible volumeMode.",
        volume.metadata.name
    );
    out.event(Note::of(claim, "Warning", "VolumeMismatch", why));
}

fn unbind(volume: &PersistentVolume, out: &mut Changes) {
    let meta = &volume.metadata;
    let mut metadata = this_revision(meta);
    let spec = if meta.annotations.contains_key(BOUND_BY_CONTROLLER) {
        metadata["annotations"] = json!({BOUND_BY_CONTROLLER: null});
        json!({"claimRef": null})
    } else {
        json!({"claimRef": {"uid": null}})
    };
    let body = json!({"metadata": metadata, "spec": spec});
    out.merge(PersistentVolume::RESOURCE, meta.key(), body);
    phase(volume, "Available", "", out);
}

/// Its claim is gone: its policy says what becomes of it.
fn release(volume: &PersistentVolume, out: &mut Changes) {
    if volume.status.phase == "Failed" {
        return out.because("nobody here can give it back");
    }
    phase(volume, "Released", "", out);
    let (reason, why) = match &*volume.spec.persistent_volume_reclaim_policy {
        _ if volume.metadata.annotations.contains_key(MIGRATED_TO) => return,
        "Retain" => return,
        "Recycle" => ("VolumeFailedRecycle", recycling(volume)),
        "Delete" => match deleting(volume) {
            Some(why) => ("VolumeFailedDelete", why),
            None => return,
        },
        _ => (
            "VolumeUnknownReclaimPolicy",
            "Volume has unrecognized PersistentVolumeReclaimPolicy".into(),
        ),
    };
    out.event(Note::of(volume, "Warning", reason, &*why));
    phase(volume, "Failed", &why, out);
}

/// Upstream empties folders and shares by pods of its own; here nothing is emptied that somebody may still want.
fn recycling(volume: &PersistentVolume) -> String {
    let by_pods = volume.spec.host_path.is_some() || volume.spec.other.contains_key("nfs");
    match by_pods {
        true => "Recycle failed: volumes are not recycled by this cluster".into(),
        false => "No recycler plugin found for the volume!".into(),
    }
}

/// Why a volume cannot be deleted; `None`: its driver sees to it.
fn deleting(volume: &PersistentVolume) -> Option<String> {
    let spec = &volume.spec;
    match volume.metadata.annotations.get(PROVISIONED_BY).map(String::as_str) {
        Some(driver) if driver.starts_with("kubernetes.io/") => {
            return Some(format!("no volume plugin matched name: {driver}"));
        }
        Some(driver) if !driver.is_empty() => return None,
        _ if spec.csi.is_some() => return None,
        _ => {}
    }
    // Upstream deletes folders below /tmp on the machine of its controllers, which need not be where the data is.
    Some(match &spec.host_path {
        Some(host) if host.path.starts_with("/tmp/") => {
            "host_path deleter is not part of this cluster: delete the folder and the volume by hand".into()
        }
        Some(host) => {
            format!("host_path deleter only supports /tmp/.+ but received provided {}", host.path)
        }
        None => {
            // Shares are known to upstream's controllers, for they empty them.
            let which = if spec.other.contains_key("nfs") { "no deletable" } else { "no" };
            let name = &volume.metadata.name;
            format!("error getting deleter volume plugin for volume {name:?}: {which} volume plugin matched")
        }
    })
}
