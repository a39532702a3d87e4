//! What can go wrong with images, in words that say what to do.
//!
//! The texts of a failed pull follow containerd's, because they end up in `kubectl describe pod`
//! and people search for them. Errors are cloned to everybody who waits for the same pull.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::Digest;
use crate::reference::ReferenceError;

/// A failure of this crate.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A reference does not parse (kubelet: InvalidImageName).
    #[error("couldn't parse image name {reference:?}: {source}")]
    ParseReference { reference: String, source: ReferenceError },
    #[error("{why}: {text:?}")]
    ReadDigest { text: String, why: &'static str },
    /// A pull failed; the source says at which step.
    #[error("failed to pull and unpack image {reference:?}: {source}")]
    Pull { reference: String, source: Arc<Error> },
    #[error("failed to resolve reference {reference:?}: {source}")]
    Resolve { reference: String, source: Arc<Error> },
    #[error("{what}: not found")]
    NotFound { what: String },
    #[error("pull access denied, repository does not exist or may require authorization: {why}")]
    Denied { why: String },
    #[error("failed to authorize: failed to fetch {kind} token: {source}")]
    FetchToken { kind: &'static str, source: Arc<Error> },
    #[error("failed to do request: {method} {url:?}: {why}")]
    Request { method: String, url: String, why: String },
    #[error("unexpected status from {method} request to {url}: {status}")]
    Status { method: String, url: String, status: String, code: u16 },
    #[error("no match for platform in manifest {what}: not found")]
    Platform { what: String },
    #[error("media type {media_type:?} of {what} is not an image's: {wanted}")]
    MediaType { what: String, media_type: String, wanted: &'static str },
    /// Content is not what its name says.
    #[error("wrong digest of {what}: expected {expected}, got {found}")]
    WrongDigest { what: String, expected: Digest, found: Digest },
    #[error("wrong size of {what}: expected {expected} bytes, got {found}")]
    WrongSize { what: String, expected: u64, found: u64 },
    #[error("cannot read {what}: {why}")]
    ReadDocument { what: String, why: String },
    /// An archive that is no image, or a damaged one.
    #[error("not an image archive: {why}")]
    ReadArchive { why: String },
    /// A layer that was refused; nothing of it is left behind.
    #[error("refused layer: {path}: {why}")]
    RefuseEntry { path: String, why: String },
    #[error("refused layer: {why}")]
    RefuseLayer { why: String },
    #[error("read layer: {0}")]
    ReadLayer(Arc<io::Error>),
    #[error("unpack {path}: {source}")]
    Unpack { path: String, source: Arc<io::Error> },
    #[error("no such image: {0}")]
    NoSuchImage(String),
    #[error("image ID prefix {0} is not unique: give more digits")]
    Ambiguous(String),
    #[error("container ID {0:?} is not usable as a file name")]
    ContainerId(String),
    #[error("container {0} has a root file system already: discard it first")]
    ContainerExists(String),
    /// Containers stand on it; removing it all the same has to be asked for.
    #[error("image {name} is in use by containers: {}", containers.join(", "))]
    Used { name: String, containers: Vec<String> },
    #[error("image store {} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error(
        "image store {}: {why}: move the folder away and load or pull the images again",
        path.display()
    )]
    Corrupt { path: PathBuf, why: String },
    #[error("{action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: Arc<io::Error> },
    #[error("read the system's CA certificates in {}: {why}", path.display())]
    ReadCertificates { path: PathBuf, why: String },
    #[error("image work was cut short: {0}")]
    Interrupted(String),
}

/// The gRPC code that a CRI runtime reports a failure with; the kubelet's messages show it
/// (`rpc error: code = NotFound desc = ...`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    NotFound,
    InvalidArgument,
    Unavailable,
    Unknown,
}

impl Code {
    /// As gRPC spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::NotFound => "NotFound",
            Code::InvalidArgument => "InvalidArgument",
            Code::Unavailable => "Unavailable",
            Code::Unknown => "Unknown",
        }
    }
}

impl Error {
    /// The gRPC code of this failure.
    pub fn code(&self) -> Code {
        match self {
            Error::Pull { source, .. } | Error::Resolve { source, .. } => source.code(),
            Error::NotFound { .. } | Error::Platform { .. } | Error::NoSuchImage(_) => {
                Code::NotFound
            }
            Error::ParseReference { .. } => Code::InvalidArgument,
            Error::Status { code: 500..=599, .. } => Code::Unavailable,
            _ => Code::Unknown,
        }
    }

    /// As an error of a reader, to travel through decompressors and tar readers.
    pub(crate) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }

    /// What [`Error::into_io`] sent, or a failure to read.
    pub(crate) fn from_io(error: io::Error) -> Error {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(inner) => inner.clone(),
            None => Error::ReadLayer(Arc::new(error)),
        }
    }

    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::File { action, path, source: Arc::new(source) }
    }
}
