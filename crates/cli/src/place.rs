//! Where things lie below a data folder. Both sides of the socket read it here.

use std::path::{Path, PathBuf};

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

    /// What `up` was told by flags.
    pub fn remembered(&self) -> PathBuf {
        self.0.join("settings.yaml")
    }

    /// A kubeconfig of the cluster's owner.
    pub fn kubeconfig(&self) -> PathBuf {
        self.0.join("admin.kubeconfig")
    }

    pub fn log_folder(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// The daemon's own log; older parts have `.1`, `.2`, ... behind the name.
    pub fn log(&self) -> PathBuf {
        self.log_folder().join("skiff.log")
    }

    /// The certificate authority: its presence says that a cluster was here.
    pub fn authority(&self) -> PathBuf {
        self.0.join("pki/ca.crt")
    }
}
