//! Pulling.
pub mod credentials;
use std::sync::Arc;
use crate::digest::Digest;
use credentials::Credentials;

/// An operating system and an architecture, in Go's words (`linux`, `amd64`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

/// Another place to get the images of a registry from, tried before the registry itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mirror {
    /// The registry that is mirrored, `registry.k8s.io`; `*` is every registry.
    pub registry: String,
    /// `http://127.0.0.1:5000`, or `https://host/prefix`.
    pub url: String,
}

/// How far a pull is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The layer's blob.
    pub blob: Digest,
    pub done: u64,
    pub total: u64,
}

/// How to pull.
#[derive(Clone, Default)]
pub struct PullOptions {
    pub credentials: Option<Credentials>,
    pub mirrors: Vec<Mirror>,
    /// Default: Linux on this machine's architecture.
    pub platform: Option<Platform>,
    pub progress: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
}
