//! Volumes: the folders of this node that a pod's containers see.
//!
//! A *source* is one file of this folder and one line of [`SOURCES`]. It says what it must be given
//! of the API, makes its volume on a thread that may wait, says after a start whether what was
//! found of it is whole, and takes it away. Making is repeatable: what is there already is kept,
//! and what has changed in the API is swapped in at once, so that a reader sees all of the old files
//! or all of the new. Where a volume is on its way is told by [`crate::pod::seen::Volume`]; when it
//! is made and when it goes is decided in `pod/plan.rs`.
//!
//! Never here: a mount into a container (that is the runtime's), a removal that enters a mount.

mod atomic;
mod certificates;
mod claim;
mod config_map;
mod downward_api;
mod empty_dir;
mod host_path;
mod payload;
mod projected;
pub mod remove;
mod secret;
pub mod table;
mod tokens;
mod trust;

use crate::container::fields::{Addresses, Capacity};
use crate::rim::Rim;
use crate::sources::{Names, Sources};
use certificates::Certificates;
use skiff_base::Lock;
use skiff_base::Time;
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{CertificateProjection, TokenProjection, Volume};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use table::Table;
use tokens::Tokens;

/// Each takes the volumes that have its field.
const SOURCES: [fn(&Pod, &Volume) -> Option<Arc<dyn Source>>; 7] = [
    claim::source,
    config_map::source,
    downward_api::source,
    empty_dir::source,
    host_path::source,
    projected::source,
    secret::source,
];

/// In memory nobody removes what is another's, as a fresh tmpfs has it (tmpfs(5)).
const MEMORY_MODE: u32 = 0o1777;

/// Where the files of a volume come from. All but `shows` and `mounted` runs on a thread that may wait.
pub trait Source: Send + Sync {
    /// The folder of a volume is `volumes/kubernetes.io~PLUGIN/NAME` in that of its pod.
    fn plugin(&self) -> &'static str;

    /// What of the API it shows: `mount` is given it, and is called again when it has changed.
    fn shows(&self) -> Shows {
        Shows::default()
    }

    /// What containers get, once it is mounted.
    fn mounted(&self, dir: &Path) -> Mounted;

    /// Makes the volume, or makes it as the API has it now; in upstream's words what is wrong.
    fn mount(&self, place: &Place, given: &Given) -> Result<(), String>;

    /// Whether what is in the folder is the whole volume. One that is not is mounted anew.
    fn stands(&self, _dir: &Path, _found: &Found) -> bool {
        false
    }

    /// Takes it away, or what there is of it.
    fn unmount(&self, dir: &Path) -> Result<(), String> {
        remove::tree(dir)
    }
}

/// What of the API a volume shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shows {
    pub names: Names,
    /// Claims, and what their volumes are; they are read when it is mounted, and not followed.
    pub claims: BTreeSet<String>,
    pub tokens: Vec<TokenProjection>,
    pub certificates: Vec<CertificateProjection>,
    /// The pod's own metadata.
    pub pod: bool,
}

/// What a source is given of the API.
pub struct Given {
    pub pod: Arc<Pod>,
    pub sources: Sources,
    pub tokens: Tokens,
    pub certificates: Certificates,
    pub addresses: Addresses,
    pub node: Capacity,
}

/// Where a volume is made, and for whom.
#[derive(Debug, Clone)]
pub struct Place {
    pub dir: PathBuf,
    pub group: Option<u32>,
    /// The boot of the machine, and a name that nothing else has.
    pub boot: String,
    pub stamp: String,
}

/// What is true of the machine when a volume is found after a start.
pub struct Found {
    pub boot: String,
    pub table: Table,
}

/// A volume that containers can mount.
#[derive(Debug, Clone, PartialEq)]
pub struct Mounted {
    pub path: PathBuf,
    pub readonly: bool,
}

/// A volume of a pod as its worker holds it.
pub struct Held {
    name: String,
    dir: PathBuf,
    source: Arc<dyn Source>,
    /// Those that it shows: a token that is still good is not asked for again.
    tokens: Lock<Tokens>,
    /// The same of certificates; one task at a time asks for them.
    certificates: tokio::sync::Mutex<Certificates>,
}

/// What this node cannot mount; says so by the name of the field.
struct Unsupported(String);

impl Source for Unsupported {
    fn plugin(&self) -> &'static str {
        "unsupported"
    }

    fn mounted(&self, dir: &Path) -> Mounted {
        Mounted { path: dir.to_owned(), readonly: true }
    }

    fn mount(&self, _: &Place, _: &Given) -> Result<(), String> {
        Err(format!("volumes of type {} are not supported by this node", self.0))
    }
}

fn source(pod: &Pod, volume: &Volume) -> Arc<dyn Source> {
    let found = SOURCES.iter().find_map(|source| source(pod, volume));
    found.unwrap_or_else(|| {
        let typed = volume.image.as_ref().map(|_| "image");
        let field = typed.or(volume.other.keys().next().map(String::as_str));
        Arc::new(Unsupported(field.unwrap_or_default().to_owned()))
    })
}

impl Shows {
    pub fn add(&mut self, other: Shows) {
        self.names.config_maps.extend(other.names.config_maps);
        self.names.secrets.extend(other.names.secrets);
        self.names.bundles.extend(other.names.bundles);
        self.tokens.extend(other.tokens);
        self.certificates.extend(other.certificates);
        self.pod |= other.pod;
    }
}

impl Held {
    /// A pod's volumes by name. `dir` is the folder of the pod.
    pub fn all(pod: &Pod, dir: &Path) -> BTreeMap<String, Arc<Held>> {
        let volumes = pod.spec.volumes.iter().map(|volume| {
            let (name, source) = (volume.name.clone(), source(pod, volume));
            let plugin = format!("kubernetes.io~{}", source.plugin());
            let dir = dir.join("volumes").join(plugin).join(&name);
            let (tokens, certificates) = Default::default();
            let held = Held { name: name.clone(), dir, source, tokens, certificates };
            (name, Arc::new(held))
        });
        volumes.collect()
    }

    pub fn shows(&self) -> Shows {
        self.source.shows()
    }

    /// Mounts it, or makes it as the API has it now. Returns what containers get, and when it has to
    /// be made anew at the latest.
    pub async fn mount(
        self: &Arc<Self>,
        rim: &Rim,
        pod: Arc<Pod>,
        addresses: Addresses,
    ) -> Result<(Mounted, Option<Time>), String> {
        let done = async {
            let shows = self.shows();
            let namespace = &pod.metadata.namespace;
            let read = Sources::read(&rim.client, namespace, &shows.names).await;
            let mut sources = read.map_err(|status| status.to_string())?;
            let claims = sources.read_claims(&rim.client, namespace, &shows.claims).await;
            claims.map_err(|status| status.to_string())?;
            let mut tokens = self.tokens.lock().clone();
            tokens::renew(rim, &pod, &shows.tokens, &mut tokens).await?;
            tokens.clone_into(&mut self.tokens.lock());
            let mut certificates = self.certificates.lock().await;
            certificates::renew(rim, &pod, &shows.certificates, &mut certificates).await?;
            let renewed = certificates.values().map(|certificate| certificate.renew);
            let due = tokens.values().map(|token| token.renew).chain(renewed).min();
            let place = Place {
                dir: self.dir.clone(),
                group: pod.spec.security_context.fs_group,
                boot: rim.machine.boot_id.clone(),
                stamp: rim.world.now().as_nanosecond().to_string(),
            };
            let node = rim.machine.capacity();
            let certificates = certificates.clone();
            let given = Given { pod, sources, tokens, certificates, addresses, node };
            let source = self.source.clone();
            rim.blocking(&rim.threads.mounts, move || source.mount(&place, &given)).await?;
            Ok((self.source.mounted(&self.dir), due))
        };
        let done: Result<_, String> = done.await;
        done.map_err(|why| format!("MountVolume.SetUp failed for volume {:?} : {why}", self.name))
    }

    /// Takes it away.
    pub async fn unmount(self: &Arc<Self>, rim: &Rim) -> Result<(), String> {
        let held = self.clone();
        let work = move || held.source.unmount(&held.dir);
        let done = rim.blocking(&rim.threads.removals, work).await;
        done.map_err(|why| {
            format!("UnmountVolume.TearDown failed for volume {:?} : {why}", self.name)
        })
    }
}

/// What was found of a pod's volumes after a start, held against what the kernel says is mounted and
/// against the boot of the machine: those that are whole.
pub async fn check(
    rim: &Rim,
    volumes: Vec<Arc<Held>>,
) -> Result<BTreeMap<String, Mounted>, String> {
    let boot = rim.machine.boot_id.clone();
    let work = move || {
        let table = Table::read().map_err(|e| format!("read what is mounted: {e}"))?;
        Ok(whole(&volumes, &Found { boot, table }))
    };
    rim.blocking(&rim.threads.mounts, work).await
}

fn whole(volumes: &[Arc<Held>], found: &Found) -> BTreeMap<String, Mounted> {
    let stands = |held: &&Arc<Held>| {
        let dir = held.dir.canonicalize();
        dir.is_ok_and(|dir| held.source.stands(&dir, found))
    };
    let mounted = |held: &Arc<Held>| (held.name.clone(), held.source.mounted(&held.dir));
    volumes.iter().filter(stands).map(mounted).collect()
}

#[cfg(test)]
mod tests;
