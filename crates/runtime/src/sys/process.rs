//! Processes: making, entering, signalling, reaping, and giving up what they may do.

use super::{check, check_long};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Which side of a [`fork`] this is.
pub(crate) enum Fork {
    /// In the new process.
    Child,
    /// In the old one.
    Parent {
        /// As this process's pid namespace counts.
        pid: i32,
        /// Refers to the child for ever, unlike a number.
        pidfd: OwnedFd,
    },
}

/// clone3(2) without sharing memory. `flags` are CLONE_NEW*; `cgroup` puts the child into a v2
/// cgroup from its first instruction on.
///
/// Only for single-threaded processes: a lock that another thread held would stay locked in the
/// child. Supervisor and pod init have one thread each, by design.
pub(crate) fn fork(flags: i32, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    /// Does not fit into the int that the libc crate has for it.
    const CLONE_INTO_CGROUP: u64 = 1 << 33;
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain data for which all zeros are valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags as u32 as u64 | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    let size = size_of::<libc::clone_args>();
    // SAFETY: without CLONE_VM the child has its own copy of all memory and goes on like after
    // fork; the process has one thread, so no lock is held by anybody else.
    let pid = check_long(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size) })?;
    if pid == 0 {
        return Ok(Fork::Child);
    }
    // SAFETY: the kernel has stored a new descriptor that is ours alone.
    Ok(Fork::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

/// clone(2) of a sibling: the child of this process's parent. None in the new process, else its
/// (pid, pidfd). By the older call, which filters of containers know (clone3 they cannot look into).
///
/// Only for single-threaded processes, as [`fork`].
pub(crate) fn fork_sibling() -> io::Result<Option<(i32, OwnedFd)>> {
    let mut pidfd: RawFd = -1;
    let flags = libc::CLONE_PARENT | libc::CLONE_PIDFD;
    // SAFETY: as for clone3; without a stack the child goes on on its copy of this one. The third
    // argument is where the kernel stores the pidfd.
    let pid = check_long(unsafe {
        libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0, &raw mut pidfd, 0, 0)
    })?;
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: the kernel has stored a new descriptor that is ours alone.
    Ok(Some((pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) })))
}

/// Closes every descriptor but these, for good: whoever owns one of the others must not drop it.
pub(crate) fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| *fd as u32).collect();
    keep.sort_unstable();
    let mut from = 0;
    for stays in keep.into_iter().chain([u32::MAX]) {
        if from < stays {
            let to = if stays == u32::MAX { stays } else { stays - 1 };
            // SAFETY: the caller drops no owner of these any more, it executes or ends.
            check_long(unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) })?;
        }
        from = stays.saturating_add(1);
    }
    Ok(())
}

/// unshare(2).
pub(crate) fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: plain integer.
    check(unsafe { libc::unshare(flags) })?;
    Ok(())
}

/// setns(2): a namespace, or with a pidfd a set of them.
pub(crate) fn enter(fd: &impl AsFd, kind: i32) -> io::Result<()> {
    // SAFETY: plain integers.
    check(unsafe { libc::setns(fd.as_fd().as_raw_fd(), kind) })?;
    Ok(())
}

/// pidfd_open(2).
pub(crate) fn open_pid(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: plain integers; on success the descriptor is ours alone.
    unsafe {
        let fd = check_long(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// pidfd_send_signal(2).
pub(crate) fn signal(pidfd: &impl AsFd, signal: i32) -> io::Result<()> {
    let none: *const libc::siginfo_t = std::ptr::null();
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: no siginfo is passed.
    check_long(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, none, 0) })?;
    Ok(())
}

/// To all of the process group that a process leads, or once led.
pub(crate) fn signal_group(pidfd: &impl AsFd, pid: u32, number: i32) -> io::Result<()> {
    /// PIDFD_SIGNAL_PROCESS_GROUP, since 6.9; EINVAL before.
    const GROUP: u32 = 1 << 2;
    let none: *const libc::siginfo_t = std::ptr::null();
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: no siginfo is passed.
    let sent =
        check_long(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, number, none, GROUP) });
    match sent {
        // The number is the process's own for as long as that can be signalled.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            signal(pidfd, 0).and_then(|()| kill(-(pid as i32), number))
        }
        other => other.map(drop),
    }
}

/// kill(2), for processes that only a cgroup names.
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: plain integers.
    check(unsafe { libc::kill(pid, signal) })?;
    Ok(())
}

/// A dead child: (pid, exit code, signal that killed it).
pub(crate) type Dead = (i32, i32, Option<i32>);

/// waitpid(2) for any child, without waiting.
pub(crate) fn reap() -> Option<Dead> {
    let mut status = 0;
    // SAFETY: the status is a live local.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    if pid <= 0 {
        return None;
    }
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        return Some((pid, 128 + signal, Some(signal)));
    }
    Some((pid, libc::WEXITSTATUS(status), None))
}

/// Ends the process without running anything else of it.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: never returns, runs no destructor.
    unsafe { libc::_exit(code) }
}

/// Null-terminated, as exec wants it; good for as long as the strings live.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// execve(2); comes back only with an error.
pub(crate) fn execute(path: &CString, args: &[CString], env: &[CString]) -> io::Error {
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both lists are null-terminated and point to live C strings.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// execveat(2) of an open file; comes back only with an error.
pub(crate) fn execute_open(file: &impl AsFd, args: &[CString], env: &[CString]) -> io::Error {
    let (args, env) = (pointers(args), pointers(env));
    let (fd, path, flags) = (file.as_fd().as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH);
    // SAFETY: as above, and the path is empty.
    unsafe {
        libc::syscall(libc::SYS_execveat, fd, path, args.as_ptr(), env.as_ptr(), flags);
    }
    io::Error::last_os_error()
}

/// setsid(2).
pub(crate) fn new_session() -> io::Result<()> {
    // SAFETY: no arguments.
    check(unsafe { libc::setsid() })?;
    Ok(())
}

/// prctl(2) with one argument.
pub(crate) fn control(option: i32, argument: u64) -> io::Result<()> {
    // SAFETY: only options that take plain integers are used in this crate, and those whose
    // argument is a pointer go through functions of their own.
    check(unsafe { libc::prctl(option, argument, 0, 0, 0) })?;
    Ok(())
}

/// PR_SET_NAME: what `ps` shows; 15 bytes.
pub(crate) fn set_name(name: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: the name is a live C string.
    check(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) })?;
    Ok(())
}

/// dup2(2), without close-on-exec.
pub(crate) fn duplicate_to(fd: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: plain integers. `to` is 0, 1 or 2 here, which no OwnedFd of this process has.
    if fd == to {
        // dup2 of a descriptor onto itself would keep close-on-exec.
        check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) })?;
    } else {
        check(unsafe { libc::dup2(fd, to) })?;
    }
    Ok(())
}

/// setgroups, setresgid, setresuid, in the one order that works. By raw system calls: there is one
/// thread, and glibc's wrappers would signal others.
pub(crate) fn set_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the slice is live; the rest are integers.
    unsafe {
        check_long(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
        check_long(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check_long(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

/// capset(2) of this process: effective, permitted, inheritable.
pub(crate) fn set_capabilities(effective: u64, permitted: u64, inherit: u64) -> io::Result<()> {
    /// _LINUX_CAPABILITY_VERSION_3: 64 bits in two halves.
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let half = |shift: u32| [effective, permitted, inherit].map(|set| (set >> shift) as u32);
    let data: [[u32; 3]; 2] = [half(0), half(32)];
    // SAFETY: header and data have the layout that version 3 prescribes.
    check_long(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) })?;
    Ok(())
}

/// setrlimit(2).
pub(crate) fn set_rlimit(kind: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the limit is a live local.
    check(unsafe { libc::setrlimit(kind, &raw const limit) })?;
    Ok(())
}

/// getrlimit(2): (soft, hard).
pub(crate) fn rlimit(kind: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is a live local.
    check(unsafe { libc::getrlimit(kind, &raw mut limit) })?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// seccomp(2) SECCOMP_SET_MODE_FILTER. `program` is a sequence of sock_filter, eight bytes each.
pub(crate) fn set_seccomp(program: &[u8]) -> io::Result<()> {
    const INSTRUCTION: usize = 8;
    // sock_filter wants an alignment of four, which a byte slice does not promise.
    let aligned: Vec<u64> = program
        .chunks_exact(INSTRUCTION)
        .map(|bytes| u64::from_ne_bytes(bytes.try_into().expect("chunks of eight")))
        .collect();
    let program =
        libc::sock_fprog { len: aligned.len() as u16, filter: aligned.as_ptr().cast_mut().cast() };
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the kernel copies the program, which lives until the call returns.
    check_long(unsafe { libc::syscall(libc::SYS_seccomp, mode, 0, &raw const program) })?;
    Ok(())
}

/// Default actions for all signals, and none blocked: what a fresh program expects.
pub(crate) fn reset_signals() {
    // SAFETY: SIG_DFL is always a valid action; errors are for signals that cannot be changed.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// SIG_IGN.
pub(crate) fn ignore_signal(signal: i32) {
    // SAFETY: SIG_IGN is always a valid action.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// sethostname(2).
pub(crate) fn set_hostname(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length are those of a live string.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })?;
    Ok(())
}

/// capget(2): the permitted set of this process.
pub(crate) fn permitted_capabilities() -> io::Result<u64> {
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let mut data = [[0u32; 3]; 2];
    // SAFETY: header and data have the layout that version 3 prescribes.
    check_long(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) })?;
    Ok(u64::from(data[0][1]) | u64::from(data[1][1]) << 32)
}
