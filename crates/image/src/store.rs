//! The store: one folder with everything about the images of a node.
//!
//! ```text
//! index.json            what there is (see index.rs)
//! blobs/<sha256>        configs and manifests, as they were published
//! snapshots/<n>/fs      one unpacked layer each; never changed once the index names it
//! containers/<id>/      fs, work, merged: a container's own folders; layers: what it stands on
//! lock                  held by the one process that has the store open
//! ```
//!
//! Readers take a short lock for a copy of a pointer. Writers go one after another, and what they
//! change shows when it is on disk. A layer is deleted only when no image, no container and no
//! lease uses it.

use skiff_base::Lock;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};

use rustix::fs::{FlockOperation, flock};
use skiff_base::{Blocking, World};
use tokio::sync::OnceCell;

use crate::access::{self, Holder};
use crate::digest::Digest;
use crate::disk;
use crate::error::Error;
use crate::index::{Image, Index, Names};
use crate::reference::Reference;
use crate::rootfs;
use crate::unpack::limits::Limits;

/// Layers that come in at once, over all pulls: each holds a thread for as long as its registry takes.
const UNPACKING_MOST: usize = 9;
/// Everything else that waits for the disk, and does not take long.
const FILES_MOST: usize = 4;
/// Threads that this crate may take together.
pub const THREADS_MOST: usize = UNPACKING_MOST + FILES_MOST;

/// How a store behaves.
#[derive(Clone)]
pub struct StoreOptions {
    pub limits: Limits,
    /// PEM file with the certificate authorities that registries are trusted by.
    pub ca_bundle: PathBuf,
    pub world: World,
}

impl StoreOptions {
    /// The defaults, in this world.
    pub fn new(world: World) -> StoreOptions {
        let ca_bundle = PathBuf::from("/etc/ssl/certs/ca-certificates.crt");
        StoreOptions { limits: Limits::default(), ca_bundle, world }
    }
}

/// The images of one node; clones share it.
#[derive(Clone)]
pub struct Images {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) options: StoreOptions,
    pub(crate) flights: Flights,
    pub(crate) unpacking: Blocking,
    pub(crate) files: Blocking,
    live: Lock<Live>,
    /// Held while the index is changed and written.
    writer: Lock<()>,
    next: AtomicU64,
    /// Its lock ends with the process.
    _lock: File,
}

/// Pulls that are under way, by what they ask for.
type Flights = Lock<BTreeMap<String, Arc<OnceCell<Result<Arc<Image>, Error>>>>>;

/// What is true now.
pub(crate) struct Live {
    pub(crate) index: Arc<Index>,
    /// Snapshots in use, by containers and leases, and how often.
    pub(crate) uses: BTreeMap<u64, usize>,
    /// Containers with folders here, and what they stand on.
    pub(crate) containers: BTreeMap<String, Vec<u64>>,
}

/// What [`Images::remove`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The names that are gone.
    pub untagged: Vec<String>,
    /// The image that is gone, if that was its last name.
    pub deleted: Option<Digest>,
}

/// What becomes of an image that containers stand on, when it would go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// It is kept: [`Error::Used`].
    Keep,
    /// It goes; its layers go with the last of the containers.
    Remove,
}

/// What [`Images::collect`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub snapshots: usize,
    pub bytes: u64,
}

impl Images {
    /// Opens (or makes) the store below `root`, for this process alone, and removes what an
    /// earlier process left half done.
    pub fn open(root: &Path, options: StoreOptions) -> Result<Images, Error> {
        for folder in ["blobs", "snapshots", "containers"] {
            disk::make_dir(&root.join(folder))?;
        }
        let path = root.join("lock");
        let lock = File::create(&path).map_err(Error::file("open", &path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| Error::InUse { path: root.to_owned() })?;
        let index = Index::read(root)?;
        let containers = rootfs::read_all(root)?;
        let mut uses = BTreeMap::new();
        for number in containers.values().flatten() {
            *uses.entry(*number).or_default() += 1;
        }
        sweep(root, &index)?;
        let next = AtomicU64::new(index.next);
        let live = Lock::new(Live { index: Arc::new(index), uses, containers });
        let (root, flights, writer) = (root.to_owned(), Flights::default(), Lock::new(()));
        let (unpacking, files) = (Blocking::new(UNPACKING_MOST), Blocking::new(FILES_MOST));
        let inner =
            Inner { root, options, flights, unpacking, files, live, writer, next, _lock: lock };
        Ok(Images { inner: Arc::new(inner) })
    }

    /// The threads for what waits for the disk: root file systems, and all that this crate does
    /// itself but for layers that come in.
    pub fn threads(&self) -> &Blocking {
        &self.inner.files
    }

    /// All images, by ID.
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.index().images().cloned().collect()
    }

    /// The image of this reference, ID, or unique beginning of an ID (`None`: there is none).
    pub fn resolve(&self, name: &str) -> Result<Option<Arc<Image>>, Error> {
        Ok(self.index().resolve(name)?.cloned())
    }

    /// The image's config as it was published, with history and all.
    pub fn config_bytes(&self, image: &Image) -> Result<Vec<u8>, Error> {
        let path = self.inner.root.join("blobs").join(image.id.hex());
        std::fs::read(&path).map_err(Error::file("read", &path))
    }

    /// Gives an image another name; whichever image had it loses it.
    pub fn tag(&self, name: &str, reference: &str) -> Result<Arc<Image>, Error> {
        let parsed = Reference::parse(reference)
            .map_err(|source| Error::ParseReference { reference: reference.to_owned(), source })?;
        self.commit(|index| {
            let image = found(index, name)?;
            Ok(index.insert((*image).clone(), &Names { tags: vec![parsed], ..Names::default() }))
        })
    }

    /// Takes a tag or digest reference off its image, and the image away with its last tag. An ID
    /// takes all names off. Layers that containers or leases use stay until they do not.
    pub fn remove(&self, name: &str, used: Used) -> Result<Removed, Error> {
        let removed = self.commit(|index| {
            let image = found(index, name)?;
            let reference = Reference::parse(name).ok().map(|name| name.to_string());
            let mut all: Vec<String> =
                image.repo_tags.iter().chain(&image.repo_digests).cloned().collect();
            if let Some(reference) = reference.filter(|name| all.contains(name)) {
                let others = image.repo_tags.iter().filter(|tag| **tag != reference).count();
                if others > 0 {
                    all.retain(|name| *name == reference);
                    index.untag(&reference);
                    return Ok(Removed { untagged: all, deleted: None });
                }
            }
            let containers = self.containers_on(&image);
            if used == Used::Keep && !containers.is_empty() {
                return Err(Error::Used { name: name.to_owned(), containers });
            }
            index.delete(image.id);
            Ok(Removed { untagged: all, deleted: Some(image.id) })
        })?;
        self.collect()?;
        Ok(removed)
    }

    /// The containers that stand on the layers of this image.
    fn containers_on(&self, image: &Image) -> Vec<String> {
        let layers = image.snapshots();
        let live = self.live();
        let on = live.containers.iter().filter(|(_, stack)| **stack == layers);
        on.map(|(id, _)| id.clone()).collect()
    }

    /// Deletes layers, configs and manifests that no image, container or lease uses.
    pub fn collect(&self) -> Result<Collected, Error> {
        let _writer = self.inner.writer();
        let (old, new, dead) = {
            let mut live = self.live();
            let used = live.index.used();
            let mut index = (*live.index).clone();
            let dead: Vec<u64> = index
                .snapshots
                .keys()
                .copied()
                .filter(|number| !used.contains(number) && !live.uses.contains_key(number))
                .collect();
            for number in &dead {
                index.snapshots.remove(number);
            }
            // From here on nobody can begin to use them.
            let new = Arc::new(index);
            (std::mem::replace(&mut live.index, Arc::clone(&new)), new, dead)
        };
        if !dead.is_empty()
            && let Err(error) = new.write(&self.inner.root)
        {
            self.live().index = old;
            return Err(error);
        }
        let mut collected = Collected::default();
        for number in dead {
            disk::remove_dir(&self.inner.snapshot_dir(number))?;
            collected.snapshots += 1;
            collected.bytes += old.snapshots.get(&number).map_or(0, |snapshot| snapshot.bytes);
        }
        let kept = new.blobs();
        remove_others(&self.inner.root.join("blobs"), |name| {
            Digest::from_hex(name).is_some_and(|digest| kept.contains(&digest))
        })?;
        Ok(collected)
    }

    /// Whether an image that is here may be used under this name by somebody with these credentials.
    pub fn admits(&self, image: &Image, name: &Reference, holders: &[Holder]) -> bool {
        let index = self.index();
        let records = index.access(image.id);
        records.is_none_or(|records| access::admits(records, &name.repository(), holders))
    }

    pub(crate) fn index(&self) -> Arc<Index> {
        Arc::clone(&self.live().index)
    }

    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        self.inner.live.lock()
    }

    /// Changes the index: in memory when it is on disk, and not at all if that fails.
    pub(crate) fn commit<T>(
        &self,
        change: impl FnOnce(&mut Index) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _writer = self.inner.writer();
        let mut index = (*self.index()).clone();
        let result = change(&mut index)?;
        index.next = self.inner.next.load(Ordering::Relaxed);
        index.write(&self.inner.root)?;
        self.live().index = Arc::new(index);
        Ok(result)
    }
}

impl Inner {
    fn writer(&self) -> MutexGuard<'_, ()> {
        // A writer that panicked changed nothing that others see.
        self.writer.lock()
    }

    pub(crate) fn snapshot_dir(&self, number: u64) -> PathBuf {
        self.root.join("snapshots").join(number.to_string())
    }

    pub(crate) fn layer_dir(&self, number: u64) -> PathBuf {
        self.snapshot_dir(number).join("fs")
    }

    /// A number for a new snapshot.
    pub(crate) fn next_snapshot(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Keeps a config or a manifest.
    pub(crate) fn write_blob(&self, bytes: &[u8]) -> Result<(), Error> {
        let folder = self.root.join("blobs");
        let name = Digest::of(bytes).hex();
        match folder.join(&name).exists() {
            true => Ok(()),
            false => disk::replace(&folder, &name, bytes),
        }
    }
}

fn found(index: &Index, name: &str) -> Result<Arc<Image>, Error> {
    index.resolve(name)?.cloned().ok_or_else(|| Error::NoSuchImage(name.to_owned()))
}

/// Removes what the index does not name.
fn sweep(root: &Path, index: &Index) -> Result<(), Error> {
    remove_others(&root.join("snapshots"), |name| {
        name.parse().is_ok_and(|number| index.snapshots.contains_key(&number))
    })?;
    let blobs = index.blobs();
    remove_others(&root.join("blobs"), |name| {
        Digest::from_hex(name).is_some_and(|digest| blobs.contains(&digest))
    })
}

fn remove_others(folder: &Path, keep: impl Fn(&str) -> bool) -> Result<(), Error> {
    for name in disk::names(folder)?.into_iter().filter(|name| !keep(name)) {
        let path = folder.join(&name);
        match path.is_dir() {
            true => disk::remove_dir(&path)?,
            false => std::fs::remove_file(&path).map_err(Error::file("remove", &path))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
