//! A network namespace as a value: a descriptor that keeps it alive and can be entered.
//!
//! A thread belongs to one network namespace, and a socket keeps the one it was made in. So nothing
//! moves the caller's thread: [`NetNs::run`] enters on a thread of its own that ends afterwards.
//!
//! Never here: a guess which namespace is meant. Only [`NetNs::current`] names the caller's.

#![expect(unsafe_code, reason = "entering a namespace is a system call")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Error, Result};

/// A network namespace. Cheap to clone; it exists at least as long as a clone does.
#[derive(Clone, Debug)]
pub struct NetNs {
    file: Arc<File>,
}

impl NetNs {
    /// The namespace of the calling thread.
    pub fn current() -> Result<NetNs> {
        NetNs::open("/proc/thread-self/ns/net")
    }

    /// The namespace behind a path: `/proc/PID/ns/net`, or a file that one was bound to.
    pub fn open(path: impl AsRef<Path>) -> Result<NetNs> {
        let path = path.as_ref();
        match File::open(path) {
            Ok(file) => Ok(NetNs { file: Arc::new(file) }),
            Err(source) => Err(Error::OpenNamespace { path: path.to_path_buf(), source }),
        }
    }

    /// A new, empty namespace that ends with its last clone and its last process.
    pub fn create() -> Result<NetNs> {
        on_own_thread(|| {
            // SAFETY: unshare takes no pointers; it changes the namespace of this thread alone.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(Error::CreateNamespace(io::Error::last_os_error()));
            }
            NetNs::current()
        })
    }

    /// Runs `work` inside, on a thread of its own, and returns what it returned.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        on_own_thread(|| {
            // SAFETY: setns takes a descriptor that `self` holds open, and no pointers; it changes
            // the namespace of this thread alone, which ends after `work`.
            if unsafe { libc::setns(self.file.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                return Err(Error::EnterNamespace(io::Error::last_os_error()));
            }
            Ok(work())
        })
    }

    /// A path under which this process (only) can open the namespace again.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("skiff-netns".to_string())
            .spawn_scoped(scope, work)
            .map_err(Error::EnterNamespace)?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_namespace_has_only_a_loopback() {
        let ns = NetNs::create().unwrap();
        let links = ns.run(|| std::fs::read_to_string("/proc/thread-self/net/dev")).unwrap();
        let links = links.unwrap();
        let names: Vec<_> = links.lines().filter_map(|l| l.split_once(':')).collect();
        assert_eq!(names.len(), 1, "{links}");
        assert_eq!(names[0].0.trim(), "lo");
    }
}
