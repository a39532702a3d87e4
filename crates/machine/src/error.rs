//! What can go wrong with a machine, named by what was attempted.

use std::io;
use std::path::PathBuf;

/// Every fallible call of this crate answers with this.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed attempt.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("machine name {0:?} is unfit; use 1 to 32 of a-z 0-9 -, a letter first")]
    BadName(String),
    #[error("machine {0} exists already; open it or destroy it first")]
    Exists(String),
    #[error("there is no machine {0}")]
    Missing(String),
    #[error("{what} {path}: {source}")]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
    #[error("machine file {path} is damaged: {reason}; destroy the machine and create it anew")]
    Damaged { path: PathBuf, reason: String },
    #[error("network of machine: {0}")]
    Network(#[from] skiff_net::Error),
    #[error("processes of machine {name} did not end: {pids:?}")]
    StillRunning { name: String, pids: Vec<u32> },
}
