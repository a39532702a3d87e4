//! Who the program is and what it may do: limits, user, capabilities, filter.
//!
//! The order is the point. The bounding set shrinks while we may still shrink it; the user changes
//! with capabilities kept, because installing a filter needs CAP_SYS_ADMIN unless no_new_privs is
//! set; the last step leaves what the program gets. Inheritable and ambient sets stay empty.

use super::caps;
use crate::spec::{ContainerSpec, Rlimit};
use crate::sys::process;
use crate::{Error, Result, failed};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Softly: lowering needs CAP_SYS_RESOURCE below what was allowed before.
pub(crate) fn set_oom_score(wanted: i32) -> Result<()> {
    const FILE: &str = "/proc/self/oom_score_adj";
    let write = |value: i32| std::fs::write(FILE, value.to_string());
    match write(wanted) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() != io::ErrorKind::PermissionDenied => {
            return Err(Error::System(format!("write {wanted} to {FILE}: {e}")));
        }
        Err(_) => {}
    }
    let now = std::fs::read_to_string(FILE).map_err(failed(FILE))?;
    let mut allowed: i32 =
        now.trim().parse().map_err(|_| Error::System(format!("{FILE}: {now}")))?;
    let mut refused = wanted;
    while allowed - refused > 1 {
        let middle = refused + (allowed - refused) / 2;
        match write(middle) {
            Ok(()) => allowed = middle,
            Err(_) => refused = middle,
        }
    }
    Ok(())
}

/// From root with everything to the container's user with its capabilities and filter.
pub(super) fn take(spec: &ContainerSpec, filter: Option<&OwnedFd>, cwd: &str) -> Result<()> {
    for limit in &spec.rlimits {
        set_limit(limit)?;
    }
    let wanted = caps::set(&spec.security)?;
    for bit in (0..64).filter(|bit| caps::ALL & (1 << bit) != 0 && wanted & (1 << bit) == 0) {
        process::control(libc::PR_CAPBSET_DROP, bit).map_err(failed("drop a capability"))?;
    }
    // What the machine itself lacks cannot be had (CAP_SYS_RESOURCE in many virtual machines).
    let has = permitted()?;
    process::control(libc::PR_SET_KEEPCAPS, 1).map_err(failed("keep capabilities"))?;
    let user = &spec.user;
    process::set_user(user.uid, user.gid, &user.groups).map_err(failed("set user"))?;
    let last = if user.uid == 0 { wanted & has } else { 0 };
    // Folders that only the user may enter (a network share) open now, others did before.
    if let Err(e) = std::env::set_current_dir(if cwd.is_empty() { "/" } else { cwd }) {
        return Err(Error::Exec(format!("chdir to cwd (\"{cwd}\"): {e}")));
    }
    let program = match filter {
        Some(filter) => Some(
            std::fs::read(format!("/proc/self/fd/{}", filter.as_raw_fd()))
                .map_err(failed("read the seccomp filter"))?,
        ),
        None => None,
    };
    if spec.security.no_new_privileges {
        process::control(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(failed("no_new_privs"))?;
    }
    let before = if program.is_some() && !spec.security.no_new_privileges {
        last | caps::SYS_ADMIN & has
    } else {
        last
    };
    process::set_capabilities(before, before, 0).map_err(failed("set capabilities"))?;
    if let Some(program) = program {
        process::set_seccomp(&program).map_err(failed("install the seccomp filter"))?;
        if before != last {
            process::set_capabilities(last, last, 0).map_err(failed("set capabilities"))?;
        }
    }
    Ok(())
}

/// The permitted set of this process (proc(5), CapPrm).
fn permitted() -> Result<u64> {
    process::permitted_capabilities().map_err(failed("read capabilities"))
}

/// Raising a hard limit needs CAP_SYS_RESOURCE: without it, as far as it goes.
fn set_limit(limit: &Rlimit) -> Result<()> {
    let kind = limit_kind(&limit.kind)?;
    match process::set_rlimit(kind, limit.soft, limit.hard) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
        other => return other.map_err(failed(format_args!("set limit {}", limit.kind))),
    }
    let (_, hard) = process::rlimit(kind).map_err(failed("read a limit"))?;
    process::set_rlimit(kind, limit.soft.min(hard), limit.hard.min(hard))
        .map_err(failed(format_args!("set limit {}", limit.kind)))
}

/// Also checked before anything starts.
pub(crate) fn limit_kind(name: &str) -> Result<u32> {
    let lower = name.to_ascii_lowercase();
    let kind = match lower.strip_prefix("rlimit_").unwrap_or(&lower) {
        "as" => libc::RLIMIT_AS,
        "core" => libc::RLIMIT_CORE,
        "cpu" => libc::RLIMIT_CPU,
        "data" => libc::RLIMIT_DATA,
        "fsize" => libc::RLIMIT_FSIZE,
        "locks" => libc::RLIMIT_LOCKS,
        "memlock" => libc::RLIMIT_MEMLOCK,
        "msgqueue" => libc::RLIMIT_MSGQUEUE,
        "nice" => libc::RLIMIT_NICE,
        "nofile" => libc::RLIMIT_NOFILE,
        "nproc" => libc::RLIMIT_NPROC,
        "rss" => libc::RLIMIT_RSS,
        "rtprio" => libc::RLIMIT_RTPRIO,
        "rttime" => libc::RLIMIT_RTTIME,
        "sigpending" => libc::RLIMIT_SIGPENDING,
        "stack" => libc::RLIMIT_STACK,
        _ => return Err(Error::Invalid(format!("unknown rlimit \"{name}\""))),
    };
    Ok(kind)
}
