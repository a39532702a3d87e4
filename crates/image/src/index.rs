//! The index: which images there are, under which names, and in which snapshots their layers lie.
//!
//! It is one JSON document, replaced as a whole (write beside, fsync, rename, fsync the folder), so
//! that after a crash it is the old one or the new one. It alone says what is in the store: a blob
//! or a snapshot that it does not name is left over from something that never finished, and is
//! removed when the store is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::access::{self, Given, Records};
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::disk;
use crate::error::Error;
use crate::reference::Reference;

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The image ID: the digest of the config.
    pub id: Digest,
    /// `docker.io/library/busybox:1.36`, sorted; what the kubelet lists as names of an image.
    pub repo_tags: Vec<String>,
    /// `docker.io/library/busybox@sha256:...`, sorted; the digest is that of the manifest or of the
    /// list of manifests that the reference led to.
    pub repo_digests: Vec<String>,
    /// The digest of the manifest, absent for an image that came without one (docker-save, build).
    pub manifest: Option<Digest>,
    /// Bytes: config and compressed layers where a manifest says so, else the unpacked layers.
    pub size: u64,
    /// RFC 3339, as the config has it.
    pub created: Option<String>,
    pub architecture: String,
    pub config: ImageConfig,
    /// From the bottom to the top.
    pub layers: Vec<Layer>,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Diff IDs of this layer and all below it, hashed (OCI image spec, "Layer ChainID").
    pub chain_id: Digest,
    /// The folder `snapshots/<number>`; numbers are never used twice.
    pub snapshot: u64,
}

impl Image {
    /// Its layers as containers stand on them: the top one first.
    pub(crate) fn snapshots(&self) -> Vec<u64> {
        self.layers.iter().rev().map(|layer| layer.snapshot).collect()
    }
}

/// An unpacked layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) diff_id: Digest,
    /// Set if the folder was settled above certain layers and is good only above those.
    pub(crate) chain_id: Option<Digest>,
    pub(crate) bytes: u64,
    /// Whether the layer describes the root folder.
    pub(crate) root: bool,
}

/// The whole document.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Index {
    version: u32,
    /// The next snapshot number.
    pub(crate) next: u64,
    images: BTreeMap<Digest, Arc<Image>>,
    /// Of images that registries gave: to whom.
    #[serde(default)]
    access: BTreeMap<Digest, Records>,
    pub(crate) snapshots: BTreeMap<u64, Snapshot>,
}

/// Names under which an image enters the index.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) tags: Vec<Reference>,
    pub(crate) digests: Vec<Reference>,
    /// To whom the registry of the digest gives it.
    pub(crate) given: Given,
}

/// The format of the document; another one is not read.
const VERSION: u32 = 1;
const FILE: &str = "index.json";

impl Index {
    /// Reads the index of a store, an empty one of a new store.
    pub(crate) fn read(root: &Path) -> Result<Index, Error> {
        let corrupt = |why: String| Error::Corrupt { path: root.to_owned(), why };
        let Some(bytes) = disk::read_if_there(&root.join(FILE))? else {
            return Ok(Index { version: VERSION, next: 1, ..Index::default() });
        };
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|error| corrupt(format!("index.json is damaged ({error})")))?;
        if index.version != VERSION {
            return Err(corrupt(format!("index.json has format {}, not {VERSION}", index.version)));
        }
        for image in index.images.values() {
            for layer in &image.layers {
                let lost = !index.snapshots.contains_key(&layer.snapshot);
                if lost || !root.join("snapshots").join(layer.snapshot.to_string()).is_dir() {
                    return Err(corrupt(format!(
                        "layer {} of image {} is missing",
                        layer.snapshot, image.id
                    )));
                }
            }
        }
        Ok(index)
    }

    /// Replaces the document on disk.
    pub(crate) fn write(&self, root: &Path) -> Result<(), Error> {
        let bytes = serde_json::to_vec(self).expect("the index has string keys only");
        disk::replace(root, FILE, &bytes)
    }

    pub(crate) fn images(&self) -> impl Iterator<Item = &Arc<Image>> {
        self.images.values()
    }

    pub(crate) fn by_id(&self, id: Digest) -> Option<&Arc<Image>> {
        self.images.get(&id)
    }

    /// The image of a normalized reference.
    pub(crate) fn by_reference(&self, reference: &Reference) -> Option<&Arc<Image>> {
        let name = reference.to_string();
        self.images()
            .find(|image| image.repo_tags.contains(&name) || image.repo_digests.contains(&name))
    }

    /// The image of a reference, an ID, or a unique beginning of an ID.
    pub(crate) fn resolve(&self, name: &str) -> Result<Option<&Arc<Image>>, Error> {
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        let is_hex = !hex.is_empty()
            && hex.len() <= 64
            && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        // A word like "cafe" is a name first, and a beginning of an ID only without such a name.
        if let Ok(reference) = Reference::parse(name)
            && let Some(image) = self.by_reference(&reference)
        {
            return Ok(Some(image));
        }
        if is_hex {
            let mut matches = self.images().filter(|image| image.id.hex().starts_with(hex));
            let found = matches.next();
            return match matches.next() {
                Some(_) => Err(Error::Ambiguous(name.to_owned())),
                None => Ok(found),
            };
        }
        let parsed = Reference::parse(name);
        parsed.map_err(|source| Error::ParseReference { reference: name.to_owned(), source })?;
        Ok(None)
    }

    /// Puts an image in, or gives the one with this ID more names. Names move to it from others.
    pub(crate) fn insert(&mut self, image: Image, names: &Names) -> Arc<Image> {
        for name in names.tags.iter().chain(&names.digests) {
            self.untag(&name.to_string());
        }
        for name in names.tags.iter().chain(&names.digests) {
            access::note(&mut self.access, image.id, name.repository(), &names.given);
        }
        let entry = self.images.entry(image.id).or_insert_with(|| Arc::new(image.clone()));
        let known = Arc::make_mut(entry);
        if image.manifest.is_some() {
            (known.manifest, known.size) = (image.manifest, image.size);
        }
        extend(&mut known.repo_tags, &names.tags);
        extend(&mut known.repo_digests, &names.digests);
        Arc::clone(entry)
    }

    /// Takes a name off the image that has it; the image stays, even without a name.
    pub(crate) fn untag(&mut self, name: &str) {
        for image in self.images.values_mut() {
            let has = |names: &[String]| names.iter().any(|known| known == name);
            if has(&image.repo_tags) || has(&image.repo_digests) {
                let image = Arc::make_mut(image);
                image.repo_tags.retain(|known| known != name);
                image.repo_digests.retain(|known| known != name);
            }
        }
    }

    pub(crate) fn delete(&mut self, id: Digest) {
        self.images.remove(&id);
        self.access.remove(&id);
    }

    pub(crate) fn access(&self, id: Digest) -> Option<&Records> {
        self.access.get(&id)
    }

    /// The snapshot for a layer above the layers that `chain_id` ends with.
    pub(crate) fn snapshot(&self, diff_id: Digest, chain_id: Digest) -> Option<u64> {
        let fits = |snapshot: &Snapshot| {
            snapshot.diff_id == diff_id && snapshot.chain_id.is_none_or(|chain| chain == chain_id)
        };
        self.snapshots.iter().find(|(_, snapshot)| fits(snapshot)).map(|(number, _)| *number)
    }

    /// Snapshots that images use.
    pub(crate) fn used(&self) -> BTreeSet<u64> {
        self.images().flat_map(|image| image.layers.iter().map(|layer| layer.snapshot)).collect()
    }

    /// The same without what only containers use.
    pub(crate) fn of_images(&self) -> Index {
        let used = self.used();
        let mut index = self.clone();
        index.snapshots.retain(|number, _| used.contains(number));
        index
    }

    /// Blobs that images use.
    pub(crate) fn blobs(&self) -> BTreeSet<Digest> {
        self.images().flat_map(|image| [Some(image.id), image.manifest]).flatten().collect()
    }
}

fn extend(known: &mut Vec<String>, names: &[Reference]) {
    known.extend(names.iter().map(Reference::to_string));
    known.sort();
    known.dedup();
}

/// The chain ID of a layer above `below`.
pub(crate) fn chain_id(below: Option<Digest>, diff_id: Digest) -> Digest {
    match below {
        None => diff_id,
        Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
    }
}
