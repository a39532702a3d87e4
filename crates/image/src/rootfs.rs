//! Root file systems: an image's layers below, a container's own folders above.
use std::path::PathBuf;

/// What to mount as overlayfs for a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootfs {
    /// Top layer first, as overlayfs wants `lowerdir`. Empty for an image without layers.
    pub lower: Vec<PathBuf>,
    pub upper: PathBuf,
    pub work: PathBuf,
    /// An empty folder of the container to mount on.
    pub merged: PathBuf,
}
