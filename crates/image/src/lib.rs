//! Container images on one disk, without any daemon: loading archives, pulling from registries,
//! unpacking layers, and lending root file systems to containers.
//!
//! An *image* is a config (what to run) and a list of *layers* (tar archives of changes). One is
//! unpacked once into `snapshots/<number>/fs`, in the form that overlayfs takes as a lower
//! directory, and is shared by all images that have it. A container gets an upper and a work
//! directory of its own above those. Images are found by *reference* (`busybox:1.36`), by image ID
//! (the digest of the config, as Docker and CRI show it) or by the beginning of an ID.
//!
//! This crate never mounts, never runs anything, knows no Kubernetes object, and trusts no byte of
//! an archive or a registry: names are walked component by component without following links out of
//! the folder, digests are verified, and every size has a limit ([`Limits`]).
//!
//! File work blocks: call everything but [`Images::pull`] from a thread that may wait
//! ([`Images::threads`]).

mod access;
mod assemble;
mod build;
mod config;
mod digest;
mod disk;
mod error;
mod index;
mod lease;
mod load;
mod manifest;
mod reference;
mod registry;
mod rootfs;
pub mod saved;
mod store;
mod unpack;

pub use access::{Given, Holder};
pub use build::ImageBuilder;
pub use config::ImageConfig;
pub use digest::Digest;
pub use error::{Code, Error};
pub use index::{Image, Layer};
pub use lease::Lease;
pub use manifest::Platform;
pub use reference::{Reference, ReferenceError};
pub use registry::credentials::{Credentials, DockerConfig};
pub use registry::{Mirror, OnProgress, Progress, PullOptions};
pub use rootfs::Rootfs;
pub use store::{Collected, Images, Removed, StoreOptions, THREADS_MOST, Used};
pub use unpack::limits::Limits;
