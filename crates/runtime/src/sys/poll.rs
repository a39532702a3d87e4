//! epoll, signalfd and timerfd: what a single-threaded loop waits on.

use super::{check, check_len};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Ready to read (or at its end).
pub(crate) const IN: u32 = libc::EPOLLIN as u32;
/// Ready to write (or broken).
pub(crate) const OUT: u32 = libc::EPOLLOUT as u32;

/// Only whether the other end has gone (EPOLLERR and EPOLLHUP are always told).
pub(crate) const GONE: u32 = 0;

/// An epoll instance; each descriptor carries a number of the caller's.
#[derive(Debug)]
pub(crate) struct Poll(OwnedFd);

impl Poll {
    pub(crate) fn new() -> io::Result<Poll> {
        // SAFETY: plain integer; on success the descriptor is ours alone.
        unsafe { Ok(Poll(OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?))) }
    }

    pub(crate) fn add(&self, fd: RawFd, interest: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, interest, token)
    }

    pub(crate) fn modify(&self, fd: RawFd, interest: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, interest, token)
    }

    /// Needed where a copy of the descriptor stays open elsewhere; else closing is enough.
    pub(crate) fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    fn control(&self, operation: i32, fd: RawFd, interest: u32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest, u64: token };
        // SAFETY: the event is a live local.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd, &raw mut event) })?;
        Ok(())
    }

    /// Waits, at most for `patience`; (token, what is ready) of each.
    pub(crate) fn wait(&self, patience: Option<Duration>) -> io::Result<Vec<(u64, u32)>> {
        /// Taken at once; the others are still there at the next call.
        const BATCH: usize = 64;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        // Rounded up: a timer must be due when the wait ends.
        let patience = patience.map_or(-1, |d| d.as_nanos().div_ceil(1_000_000) as i32);
        let fd = self.0.as_raw_fd();
        // SAFETY: the array has room for BATCH events.
        let got =
            check(unsafe { libc::epoll_wait(fd, events.as_mut_ptr(), BATCH as i32, patience) });
        match got {
            Ok(n) => Ok(events[..n as usize].iter().map(|e| (e.u64, e.events)).collect()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }
}

/// Blocks the signals for this process and returns a non-blocking descriptor that reads them.
pub(crate) fn signals(list: &[i32]) -> io::Result<OwnedFd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set is a live local, emptied before use; on success the descriptor is ours alone.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in list {
            libc::sigaddset(&raw mut set, *signal);
        }
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        Ok(OwnedFd::from_raw_fd(check(libc::signalfd(-1, &raw const set, flags))?))
    }
}

/// Takes one signal off a descriptor of [`signals`].
pub(crate) fn next_signal(fd: &OwnedFd) -> io::Result<i32> {
    // SAFETY: signalfd_siginfo is plain data; the kernel writes whole ones of that size.
    unsafe {
        let mut info: libc::signalfd_siginfo = std::mem::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        check_len(libc::read(fd.as_raw_fd(), (&raw mut info).cast(), size))?;
        Ok(info.ssi_signo as i32)
    }
}

/// Tell once, when it becomes ready again.
pub(crate) const EDGE: u32 = libc::EPOLLET as u32;

/// Whether nobody reads from a pipe any more.
pub(crate) fn is_gone(fd: &impl AsFd) -> bool {
    let mut one = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one live pollfd; it does not wait.
    unsafe { libc::poll(&raw mut one, 1, 0) };
    one.revents & libc::POLLERR != 0
}

/// Waits until one descriptor can be read, for a few seconds at most.
pub(crate) fn wait_readable(fd: &OwnedFd) -> io::Result<()> {
    /// Many times what a pod init takes on a busy machine.
    const PATIENCE_MS: i32 = 5000;
    let mut one = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live pollfd.
    match check(unsafe { libc::poll(&raw mut one, 1, PATIENCE_MS) })? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}
