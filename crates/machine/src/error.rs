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
    #[error("cgroup {0:?} is unfit; write it as /skiff-NAME, without . or ..")]
    BadCgroup(PathBuf),
    #[error("machine {0} exists already; open it or destroy it first")]
    Exists(String),
    #[error("there is no machine {0}")]
    Missing(String),
    #[error("machine {0} does not run any more; destroy it and create it anew")]
    Stopped(String),
    #[error("{what} {path}: {source}")]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
    #[error("machine file {path} is damaged: {reason}; destroy the machine and create it anew")]
    Damaged { path: PathBuf, reason: String },
    #[error("network of machine: {0}")]
    Network(#[from] skiff_net::Error),
    #[error("cgroup {path} still has processes: {pids}; end them and destroy the machine again")]
    StillRunning { path: PathBuf, pids: String },
}

impl Error {
    /// For `map_err`: a failed operation on a file.
    pub(crate) fn file(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { what, path, source }
    }

    /// The failed system call of this thread just now.
    pub(crate) fn last(what: &'static str) -> Error {
        Error::System { what, source: io::Error::last_os_error() }
    }
}
