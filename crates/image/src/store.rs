//! The store.
use std::future::Future;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::digest::Digest;
use crate::error::Error;
use crate::index::Image;
use crate::lease::Lease;
use crate::registry::PullOptions;
use crate::rootfs::Rootfs;
use crate::unpack::limits::Limits;

/// Waits for a while: the caller's clock, so that retries run on virtual time too.
pub type Wait = Arc<dyn Fn(Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// How a store behaves.
#[derive(Clone)]
pub struct Settings {
    pub limits: Limits,
    /// PEM file with the certificate authorities that registries are trusted by.
    pub ca_bundle: PathBuf,
    pub wait: Wait,
}

impl Settings {
    /// The defaults, with this clock.
    pub fn new(wait: Wait) -> Settings {
        let ca_bundle = PathBuf::from("/etc/ssl/certs/ca-certificates.crt");
        Settings { limits: Limits::default(), ca_bundle, wait }
    }
}

/// The images of one node; clones share it.
#[derive(Clone)]
pub struct Images {
    inner: Arc<Inner>,
}

struct Inner {}

/// What [`Images::remove`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The names that are gone.
    pub untagged: Vec<String>,
    /// The image that is gone, if that was its last name.
    pub deleted: Option<Digest>,
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
    pub fn open(root: &Path, settings: Settings) -> Result<Images, Error> { todo!() }

    /// All images, by ID.
    pub fn list(&self) -> Vec<Arc<Image>> { todo!() }

    /// The image of this reference, ID, or unique beginning of an ID (`None`: there is none).
    pub fn resolve(&self, name: &str) -> Result<Option<Arc<Image>>, Error> { todo!() }

    /// Loads every image of an archive: docker-save or OCI layout; plain, gzip or zstd. The stream
    /// is read once, from start to end. Returns the references (or IDs, without a name).
    pub fn load(&self, reader: impl Read) -> Result<Vec<String>, Error> { todo!() }

    /// Pulls an image. One pull at a time per reference: whoever asks meanwhile gets its result.
    pub async fn pull(&self, reference: &str, options: PullOptions) -> Result<Arc<Image>, Error> { todo!() }

    /// Gives an image another name.
    pub fn tag(&self, name: &str, reference: &str) -> Result<(), Error> { todo!() }

    /// Takes a name off its image, and the image with its last name. An ID takes them all off.
    /// Layers in use stay until they are not (see [`Images::collect`]).
    pub fn remove(&self, name: &str) -> Result<Removed, Error> { todo!() }

    /// Deletes layers that no image, container or lease uses.
    pub fn collect(&self) -> Result<Collected, Error> { todo!() }

    /// Bytes on disk of all layers and containers' own folders: for ImageFsInfo.
    pub fn lease(&self, image: &Arc<Image>) -> Lease { todo!() }

    /// Makes the folders of a container above an image. Its layers are in use until `discard`,
    /// over restarts of this process too.
    pub fn rootfs(&self, image: &Image, container_id: &str) -> Result<Rootfs, Error> { todo!() }

    /// The folders that `rootfs` made, if it did: for a daemon that adopts containers.
    pub fn container(&self, container_id: &str) -> Result<Option<Rootfs>, Error> { todo!() }

    /// The containers that have folders here: for the clean-up after a crash.
    pub fn containers(&self) -> Result<Vec<String>, Error> { todo!() }

    /// Removes the folders of a container (unmounted before). Twice is fine.
    pub fn discard(&self, container_id: &str) -> Result<(), Error> { todo!() }
}
