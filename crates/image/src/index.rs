//! The index: which images there are, under which names, and in which snapshots their layers lie.
//!
//! It is one JSON document, replaced as a whole (write beside, fsync, rename, fsync the folder), so
//! that after a crash it is the old one or the new one. It alone says what is in the store: a file
//! or a snapshot that it does not name is left over from something that never finished, and is
//! removed when the store is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::ImageConfig;
use crate::digest::{Digest, Hash};
use crate::reference::Reference;

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The image ID: the digest of the config.
    pub id: Digest,
    /// `docker.io/library/busybox:1.36`, sorted; what the kubelet lists as names of an image.
    pub repo_tags: Vec<String>,
    /// `docker.io/library/busybox@sha256:...`, sorted; the digest is the manifest's (or index's).
    pub repo_digests: Vec<String>,
    /// The digest of the manifest, absent for an image that came without one (docker-save, build).
    pub manifest: Option<Digest>,
    /// Bytes: the compressed layers and the config where a manifest says so, else unpacked.
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
