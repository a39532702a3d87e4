//! A claim: what its volume is made of is mounted, as far as this node can (API reference: PersistentVolume). Folders
//! of the machine are the machine's: nothing of them is made for the pod but what the volume says, and nothing is taken
//! away.

use super::{Given, Mounted, Place, Shows, Source, host_path};
use crate::sources::Claimed;
use skiff_kinds::views::pod::Volume;
use skiff_kinds::views::{PersistentVolume, Pod};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

struct Claim {
    name: String,
    /// It was made for this pod alone.
    own: bool,
    readonly: bool,
    /// Where its volume is, once that is known.
    place: OnceLock<PathBuf>,
}

pub fn source(pod: &Pod, volume: &Volume) -> Option<Arc<dyn Source>> {
    let (_, name) = pod.claims().find(|(it, _)| it.name == volume.name)?;
    let (own, readonly) = match &volume.persistent_volume_claim {
        Some(claim) => (false, claim.read_only),
        None => (true, false),
    };
    Some(Arc::new(Claim { name: name.into_owned(), own, readonly, place: OnceLock::new() }))
}

impl Source for Claim {
    /// There is no folder of this name: nothing here is the pod's.
    fn plugin(&self) -> &'static str {
        "claim"
    }

    fn shows(&self) -> Shows {
        Shows { claims: [self.name.clone()].into(), ..Shows::default() }
    }

    fn mounted(&self, dir: &Path) -> Mounted {
        let path = self.place.get().cloned().unwrap_or_else(|| dir.to_owned());
        Mounted { path, readonly: self.readonly }
    }

    fn mount(&self, _: &Place, given: &Given) -> Result<(), String> {
        let (pod, name) = (&given.pod.metadata, &self.name);
        let found = given.sources.claim(name)?;
        let bad =
            |why: String| Err(format!("error processing PVC {}/{name}: {why}", pod.namespace));
        let Claimed { claim, volume } = found;
        if self.own && !claim.metadata.controlled_by(&pod.uid) {
            return bad(format!("PVC was not created for pod {} (pod is not owner)", pod.key()));
        }
        if claim.metadata.deleting() {
            return bad("PVC is being deleted".into());
        }
        let Some(volume) = volume.as_ref().filter(|_| claim.status.phase == "Bound") else {
            return bad("PVC is not bound".into());
        };
        let its = volume.spec.claim_ref.as_ref().map(|it| &*it.uid);
        if its != Some(&*claim.metadata.uid) {
            return bad(format!("PV {:?} is bound to another claim", volume.metadata.name));
        }
        let path = folder(volume)?;
        // A claim keeps its volume: a second look finds the same.
        let path = self.place.get_or_init(|| path);
        if path.exists() {
            Ok(())
        } else {
            Err(format!("path {:?} does not exist", path.display()))
        }
    }

    /// The machine's paths are the machine's.
    fn unmount(&self, _: &Path) -> Result<(), String> {
        Ok(())
    }
}

/// Where a volume is on this machine.
fn folder(volume: &PersistentVolume) -> Result<PathBuf, String> {
    let spec = &volume.spec;
    if spec.volume_mode == "Block" {
        return Err("volumes of mode Block are not supported by this node".into());
    }
    if !spec.mount_options.is_empty() {
        return Err(
            "Mount options are not supported for volumes that are folders of the node".into()
        );
    }
    if let Some(host) = &spec.host_path {
        host_path::check(Path::new(&host.path), &host.type_)?;
        return Ok(host.path.clone().into());
    }
    if let Some(local) = &spec.local {
        let path = PathBuf::from(&local.path);
        return match path.is_dir() {
            true => Ok(path),
            false => Err(format!("local volume path {:?} is no folder of this node", local.path)),
        };
    }
    let other = spec.other.keys().next().map(String::as_str);
    let field = if spec.csi.is_some() { "csi" } else { other.unwrap_or_default() };
    Err(format!("persistent volumes of type {field} are not supported by this node"))
}
