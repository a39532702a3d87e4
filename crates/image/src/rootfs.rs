//! Root file systems: an image's layers below, a container's own folders above.
//!
//! This is on the way of every pod, so it makes four folders and one small file, and syncs nothing:
//! after a power failure no container is left that could miss them. The file says which layers the
//! container stands on, for the process that comes after a kill -9.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::disk;
use crate::error::Error;
use crate::index::Image;
use crate::store::Images;

/// What to mount as overlayfs for a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootfs {
    /// Top layer first, as overlayfs wants `lowerdir`. Empty for an image without layers.
    pub lower: Vec<PathBuf>,
    pub upper: PathBuf,
    pub work: PathBuf,
    /// An empty folder of the container, to mount on.
    pub merged: PathBuf,
}

const LAYERS: &str = "layers";
/// Container IDs are folder names.
const ID_MAX: usize = 128;

impl Images {
    /// Makes the folders of a container above an image. Its layers are in use until `discard`,
    /// over restarts of this process too.
    pub fn rootfs(&self, image: &Image, container_id: &str) -> Result<Rootfs, Error> {
        let dir = self.container_dir(container_id)?;
        let snapshots = image.snapshots();
        {
            let mut live = self.live();
            if live.containers.contains_key(container_id) {
                return Err(Error::ContainerExists(container_id.to_owned()));
            }
            if !live.hold(&snapshots) {
                return Err(Error::NoSuchImage(image.id.to_string()));
            }
            live.containers.insert(container_id.to_owned(), snapshots.clone());
        }
        let rootfs = self.describe(&dir, &snapshots);
        if let Err(error) = self.make(&dir, &rootfs, &snapshots) {
            self.discard(container_id)?;
            return Err(error);
        }
        Ok(rootfs)
    }

    /// The folders that `rootfs` made, if it did: for a daemon that adopts containers.
    pub fn container(&self, container_id: &str) -> Result<Option<Rootfs>, Error> {
        let dir = self.container_dir(container_id)?;
        let snapshots = self.live().containers.get(container_id).cloned();
        Ok(snapshots.map(|snapshots| self.describe(&dir, &snapshots)))
    }

    /// The containers that have folders here: for the clean-up after a crash.
    pub fn containers(&self) -> Vec<String> {
        self.live().containers.keys().cloned().collect()
    }

    /// Removes the folders of a container (unmounted before). Twice is fine.
    pub fn discard(&self, container_id: &str) -> Result<(), Error> {
        disk::remove_dir(&self.container_dir(container_id)?)?;
        let mut live = self.live();
        if let Some(snapshots) = live.containers.remove(container_id) {
            live.release(&snapshots);
        }
        Ok(())
    }

    fn container_dir(&self, id: &str) -> Result<PathBuf, Error> {
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if id.is_empty() || id.len() > ID_MAX || id.starts_with('.') || !id.bytes().all(word) {
            return Err(Error::ContainerId(id.to_owned()));
        }
        Ok(self.inner.root.join("containers").join(id))
    }

    /// A layer that stands twice is mounted once, where it stands highest (overlayfs takes no folder
    /// twice): whatever its lower place shows or hides, the higher one does too.
    fn describe(&self, dir: &Path, snapshots: &[u64]) -> Rootfs {
        let mut seen = BTreeSet::new();
        let distinct = snapshots.iter().filter(|number| seen.insert(**number));
        Rootfs {
            lower: distinct.map(|number| self.inner.layer_dir(*number)).collect(),
            upper: dir.join("fs"),
            work: dir.join("work"),
            merged: dir.join("merged"),
        }
    }

    fn make(&self, dir: &Path, rootfs: &Rootfs, snapshots: &[u64]) -> Result<(), Error> {
        let fail = || Error::file("make the root file system in", dir);
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700);
        for folder in [dir, &rootfs.upper, &rootfs.work, &rootfs.merged] {
            builder.create(folder).map_err(fail())?;
        }
        self.copy_root(rootfs, snapshots).map_err(fail())?;
        let lines: String = snapshots.iter().map(|number| format!("{number}\n")).collect();
        std::fs::write(dir.join(LAYERS), lines).map_err(fail())
    }

    /// Overlayfs shows the upper folder's owner and mode as those of `/`, so it gets those that the
    /// topmost layer with an entry for the root gave it.
    fn copy_root(&self, rootfs: &Rootfs, snapshots: &[u64]) -> std::io::Result<()> {
        let index = self.index();
        let describes = |number: &&u64| index.snapshots.get(number).is_some_and(|layer| layer.root);
        let mut mode = 0o755;
        if let Some(top) = snapshots.iter().find(describes) {
            let folder = self.inner.layer_dir(*top);
            let root = std::fs::metadata(folder)?;
            std::os::unix::fs::chown(&rootfs.upper, Some(root.uid()), Some(root.gid()))?;
            mode = root.mode() & 0o7777;
        }
        std::fs::set_permissions(&rootfs.upper, PermissionsExt::from_mode(mode))
    }
}

/// The containers that an earlier process left, and what they stand on. One whose list of layers is
/// not there was not finished; its folder is removed.
pub(crate) fn read_all(root: &Path) -> Result<BTreeMap<String, Vec<u64>>, Error> {
    let mut containers = BTreeMap::new();
    for id in disk::names(&root.join("containers"))? {
        let dir = root.join("containers").join(&id);
        let Some(bytes) = disk::read_if_there(&dir.join(LAYERS))? else {
            disk::remove_dir(&dir)?;
            continue;
        };
        let lines = String::from_utf8_lossy(&bytes).into_owned();
        let numbers: Result<Vec<u64>, _> = lines.lines().map(str::parse).collect();
        let numbers = numbers.map_err(|_| Error::Corrupt {
            path: root.to_owned(),
            why: format!("the layers of container {id} are damaged"),
        })?;
        containers.insert(id, numbers);
    }
    Ok(containers)
}
