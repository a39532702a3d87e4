//! A process that is known by its number and by when it began, because numbers come back.

#![expect(unsafe_code, reason = "process descriptors are system calls")]

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

use crate::{Error, Result};

/// A killed machine is gone when its last process is; with a thousand of them that takes a second.
const END_MS: i32 = 30_000;
/// Where the beginning stands in `/proc/PID/stat`, counted from behind the name (proc(5), 22).
const STARTED: usize = 19;

/// One process, whether it still is or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub pid: u32,
    /// In clock ticks since boot.
    pub started: u64,
}

impl Process {
    /// The process that has this number now.
    pub(crate) fn now(pid: u32) -> Result<Process> {
        let path = PathBuf::from(format!("/proc/{pid}/stat"));
        let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let started = started(&text).ok_or_else(|| {
            let reason = "no start time".to_string();
            Error::Damaged { path, reason }
        })?;
        Ok(Process { pid, started })
    }

    pub(crate) fn is_alive(&self) -> bool {
        Process::now(self.pid).is_ok_and(|now| now == *self) && !self.is_zombie()
    }

    fn is_zombie(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid));
        stat.is_ok_and(|text| text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
    }

    /// The path of one of its namespaces.
    pub(crate) fn namespace(&self, kind: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/{kind}", self.pid))
    }

    /// Ends it, and with it the machine that it is process 1 of, and waits until that has happened.
    pub(crate) fn kill(&self) -> Result<()> {
        // SAFETY: pidfd_open takes no pointers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, self.pid, 0) };
        if fd < 0 {
            return match io::Error::last_os_error().raw_os_error() {
                Some(libc::ESRCH) => Ok(()),
                _ => Err(Error::last("open machine's init")),
            };
        }
        // SAFETY: the descriptor was just made and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        // Only now: the number cannot change hands any more while the descriptor is open.
        if Process::now(self.pid).is_ok_and(|now| now == *self) {
            let none = std::ptr::null::<libc::siginfo_t>();
            // SAFETY: pidfd_send_signal reads no information when the pointer is null.
            let sent = unsafe {
                libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), libc::SIGKILL, none, 0)
            };
            if sent < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH) {
                return Err(Error::last("end machine's init"));
            }
            wait(&fd)?;
            self.reap();
        }
        Ok(())
    }

    /// Takes the dead process away if it is the caller's own child.
    fn reap(&self) {
        // SAFETY: waitpid may be given no place for the status. That it is somebody else's child,
        // who will take it away, is the usual case and no failure.
        unsafe { libc::waitpid(self.pid as i32, std::ptr::null_mut(), 0) };
    }
}

fn wait(fd: &OwnedFd) -> Result<()> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    loop {
        // SAFETY: the pointer is to one live pollfd, and the count says one.
        match unsafe { libc::poll(&raw mut poll, 1, END_MS) } {
            0 => {
                let source = io::Error::from(io::ErrorKind::TimedOut);
                return Err(Error::System { what: "wait for machine to end", source });
            }
            1.. => return Ok(()),
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => return Err(Error::last("wait for machine to end")),
        }
    }
}

fn started(stat: &str) -> Option<u64> {
    stat.rsplit_once(") ")?.1.split(' ').nth(STARTED)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_again() {
        let mut own = Process::now(std::process::id()).unwrap();
        assert!(own.is_alive());
        own.started += 1;
        assert!(!own.is_alive());
        own.kill().unwrap();
        assert_eq!(started("7 (a ) b) S 1 2"), None);
    }
}
