//! Where things lie below a data folder. Both sides of the socket read it here.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// All that stands at the top of a data folder, the record last: what `delete` takes away, in this order.
pub const MADE: [&str; 15] = [
    "admin.sock",
    "skiff.pid",
    "admin.kubeconfig",
    "runtime",
    "node",
    "images",
    "store",
    "pki",
    "logs",
    "restore.new",
    "restore.ready",
    "settings.new",
    "settings.yaml",
    "cluster.new",
    "cluster.json",
];

/// The files of one cluster that the command line and the daemon both know.
#[derive(Debug, Clone)]
pub struct Place(PathBuf);

impl Place {
    pub fn of(data: &Path) -> Place {
        Place(data.to_owned())
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The socket of the daemon's own API, for root alone.
    pub fn admin_socket(&self) -> PathBuf {
        self.0.join("admin.sock")
    }

    /// The number of the daemon's process, for people; programs ask the socket who is behind it.
    pub fn pid_file(&self) -> PathBuf {
        self.0.join("skiff.pid")
    }

    /// What the folder is; see `Record`.
    pub fn record(&self) -> PathBuf {
        self.0.join("cluster.json")
    }

    /// A cluster from before there were records is known by these two.
    pub fn is_of_older_skiff(&self) -> bool {
        self.kubeconfig().exists() && self.0.join("store").exists()
    }

    /// What `up` was told by flags.
    pub fn remembered(&self) -> PathBuf {
        self.0.join("settings.yaml")
    }

    /// A kubeconfig of the cluster's owner.
    pub fn kubeconfig(&self) -> PathBuf {
        self.0.join("admin.kubeconfig")
    }

    /// What a restore has decided for and not yet put in its place.
    pub fn restore_ready(&self) -> PathBuf {
        self.0.join("restore.ready")
    }

    pub fn log_folder(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// The daemon's own log; older parts have `.1`, `.2`, ... behind the name.
    pub fn log(&self) -> PathBuf {
        self.log_folder().join("skiff.log")
    }
}

/// Replaces a small file as a whole: whoever is cut off half-way leaves the old one.
pub fn write(path: &Path, text: &[u8]) -> Result<()> {
    skiff_base::disk::replace(path, text, 0o600)
        .with_context(|| format!("writing {}", path.display()))
}
