//! AppArmor: the profile that a program runs under from its first instruction on.
//!
//! The door to the kernel (proc(5), attr) is opened while the machine's own process file system is
//! there, which nobody can put another file onto, and used when the container's is: a profile that
//! was asked for is in force, or nothing starts.

use crate::sys;
use crate::{Error, Result, failed};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// The module's own door, and the one of whichever module comes first (before Linux 5.8).
const DOORS: [&str; 2] = ["/proc/thread-self/attr/apparmor/exec", "/proc/thread-self/attr/exec"];

/// A profile to be taken on execution.
pub(super) struct Profile {
    name: String,
    door: OwnedFd,
}

impl Profile {
    /// None where none is asked for.
    pub(super) fn open(name: Option<&str>) -> Result<Option<Profile>> {
        let Some(name) = name else { return Ok(None) };
        let wrong = |why: &str| Error::Invalid(format!("AppArmor profile \"{name}\": {why}"));
        if name.is_empty() || name.contains(char::is_control) {
            return Err(wrong("that is no name"));
        }
        if !crate::apparmor::is_enabled() {
            return Err(wrong("AppArmor is not enabled on this machine"));
        }
        let door = match sys::open(Path::new(DOORS[0]), libc::O_WRONLY, 0) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                sys::open(Path::new(DOORS[1]), libc::O_WRONLY, 0)
            }
            other => other,
        };
        let door = door.map_err(failed(DOORS[0]))?;
        if sys::file_system(&door).map_err(failed(DOORS[0]))? != libc::PROC_SUPER_MAGIC {
            return Err(wrong("/proc is not the process file system"));
        }
        Ok(Some(Profile { name: name.to_owned(), door }))
    }

    pub(super) fn door(&self) -> &OwnedFd {
        &self.door
    }

    /// For the next execution, of this process or one that it forks.
    pub(super) fn apply(&self) -> Result<()> {
        let name = &self.name;
        match sys::write(self.door.as_raw_fd(), format!("exec {name}").as_bytes()) {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::Invalid(format!(
                "AppArmor profile \"{name}\" is not loaded: load it with apparmor_parser -r FILE"
            ))),
            Err(e) => Err(failed(format_args!("take AppArmor profile \"{name}\""))(e)),
        }
    }
}
