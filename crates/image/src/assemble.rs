//! Assembling: unpacked layers and a config become an image of the store, at once or not at all.
//!
//! Layers come as [`Draft`]s, in any order, unpacked but not yet named by the index. A draft that
//! no image takes removes itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::ConfigFile;
use crate::digest::Digest;
use crate::disk;
use crate::error::Error;
use crate::index::{Image, Index, Layer, Names, Snapshot, chain_id};
use crate::store::Images;
use crate::unpack::{self, Unpacked, settle};

/// Layers of one image, as many as overlayfs stacks.
pub(crate) const LAYERS_MAX: usize = 500;

/// An unpacked layer that is not in the index yet.
pub(crate) struct Draft {
    number: u64,
    dir: PathBuf,
    pub(crate) unpacked: Unpacked,
}

/// Removes a snapshot folder that did not become a layer.
struct Scrap(Option<PathBuf>);

impl Scrap {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Scrap {
    fn drop(&mut self) {
        if let Some(dir) = &self.0
            && let Err(error) = disk::remove_dir(dir)
        {
            // The next open removes it.
            tracing::warn!(%error, "could not remove an unfinished layer");
        }
    }
}

/// Drafts by diff ID.
#[derive(Default)]
pub(crate) struct Drafts(BTreeMap<Digest, (Draft, Scrap)>);

impl Drafts {
    pub(crate) fn contains(&self, diff_id: Digest) -> bool {
        self.0.contains_key(&diff_id)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// What an image is made of, besides its layers.
pub(crate) struct Parts<'a> {
    pub(crate) config: &'a [u8],
    pub(crate) manifest: Option<&'a [u8]>,
    /// Bytes to show, if the manifest says them.
    pub(crate) size: Option<u64>,
    pub(crate) names: Names,
}

impl Images {
    /// Unpacks a layer from its uncompressed tar and keeps it among the drafts.
    pub(crate) fn draft(&self, plain: &mut dyn Read) -> Result<NewDraft, Error> {
        let (number, dir, scrap) = self.empty()?;
        let layer = self.inner.layer_dir(number);
        let unpacked = unpack::unpack(plain, &layer, self.inner.options.limits)?;
        Ok(NewDraft(Draft { number, dir, unpacked }, scrap))
    }

    /// The folder of a layer to be.
    fn empty(&self) -> Result<(u64, PathBuf, Scrap), Error> {
        let number = self.inner.next_snapshot();
        let dir = self.inner.snapshot_dir(number);
        let scrap = Scrap(Some(dir.clone()));
        disk::make_dir(&dir)?;
        let layer = self.inner.layer_dir(number);
        std::fs::create_dir(&layer).map_err(Error::file("make folder", &layer))?;
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&layer, PermissionsExt::from_mode(0o755))
            .map_err(Error::file("make folder", &layer))?;
        Ok((number, dir, scrap))
    }

    /// A draft to settle in one place, while the draft stays for other places.
    fn twin(&self, draft: &Draft) -> Result<(Draft, Scrap), Error> {
        let (number, dir, scrap) = self.empty()?;
        unpack::twin::copy(&draft.dir.join("fs"), &self.inner.layer_dir(number))?;
        Ok((Draft { number, dir, unpacked: draft.unpacked.clone() }, scrap))
    }

    /// Puts an image into the index, with those of its layers that are new from the drafts.
    pub(crate) fn assemble(&self, parts: &Parts, drafts: &mut Drafts) -> Result<Arc<Image>, Error> {
        let file = ConfigFile::parse(parts.config)?;
        if file.rootfs.diff_ids.len() > LAYERS_MAX {
            let why = format!("it has more than {LAYERS_MAX} layers");
            return Err(Error::ReadDocument { what: "image config".to_owned(), why });
        }
        self.commit(|index| {
            let mut taken = Vec::new();
            let layers = self.stack(index, &file, drafts, &mut taken)?;
            self.inner.write_blob(parts.config)?;
            if let Some(manifest) = parts.manifest {
                self.inner.write_blob(manifest)?;
            }
            if !taken.is_empty() {
                self.sync()?;
            }
            let unpacked = layers.iter().filter_map(|layer| index.snapshots.get(&layer.snapshot));
            let image = Image {
                id: Digest::of(parts.config),
                repo_tags: Vec::new(),
                repo_digests: Vec::new(),
                manifest: parts.manifest.map(Digest::of),
                size: parts.size.unwrap_or_else(|| unpacked.map(|layer| layer.bytes).sum()),
                created: file.created,
                architecture: file.architecture,
                config: file.config,
                layers,
            };
            let image = index.insert(image, &parts.names);
            Ok((image, taken))
        })
        .map(|(image, taken)| {
            taken.into_iter().for_each(Scrap::keep);
            image
        })
    }

    /// The snapshots of all layers, from the index or from drafts that become part of it.
    fn stack(
        &self,
        index: &mut Index,
        file: &ConfigFile,
        drafts: &mut Drafts,
        taken: &mut Vec<Scrap>,
    ) -> Result<Vec<Layer>, Error> {
        let mut layers: Vec<Layer> = Vec::new();
        for diff_id in &file.rootfs.diff_ids {
            let chain_id = chain_id(layers.last().map(|layer| layer.chain_id), *diff_id);
            let snapshot = match index.snapshot(*diff_id, chain_id) {
                Some(number) => number,
                None => {
                    let missing =
                        || Error::ReadArchive { why: format!("layer {diff_id} is missing") };
                    let entry = drafts.0.remove(diff_id).ok_or_else(missing)?;
                    let (draft, scrap) = if entry.0.unpacked.loose.is_empty() {
                        entry
                    } else {
                        let twin = self.twin(&entry.0)?;
                        drafts.0.insert(*diff_id, entry);
                        twin
                    };
                    taken.push(scrap);
                    self.settle(index, draft, chain_id, &layers)?
                }
            };
            layers.push(Layer { diff_id: *diff_id, chain_id, snapshot });
        }
        Ok(layers)
    }

    fn settle(
        &self,
        index: &mut Index,
        draft: Draft,
        chain_id: Digest,
        below: &[Layer],
    ) -> Result<u64, Error> {
        let Draft { number, dir, unpacked } = draft;
        let bound = !unpacked.loose.is_empty();
        if bound {
            let lowers: Vec<PathBuf> =
                below.iter().rev().map(|layer| self.inner.layer_dir(layer.snapshot)).collect();
            settle::settle(&dir.join("fs"), unpacked.loose, &lowers)?;
        }
        let snapshot = Snapshot {
            diff_id: unpacked.diff_id,
            chain_id: bound.then_some(chain_id),
            bytes: unpacked.bytes,
            root: unpacked.root,
        };
        index.snapshots.insert(number, snapshot);
        Ok(number)
    }

    /// Brings the new layers to the disk before the index names them.
    fn sync(&self) -> Result<(), Error> {
        let path = self.inner.root.join("snapshots");
        let sync = || rustix::fs::syncfs(File::open(&path)?).map_err(std::io::Error::from);
        sync().map_err(Error::file("sync", &path))
    }
}

/// A draft that nobody has checked yet.
pub(crate) struct NewDraft(Draft, Scrap);

impl NewDraft {
    pub(crate) fn diff_id(&self) -> Digest {
        self.0.unpacked.diff_id
    }

    /// Keeps it for an image.
    pub(crate) fn keep(self, drafts: &mut Drafts) {
        drafts.0.insert(self.0.unpacked.diff_id, (self.0, self.1));
    }
}
