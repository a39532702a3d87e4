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

/// A process that is the container's user by now, with its capabilities in effect. What is left is
/// what only the last step may take away.
pub(super) struct Taken {
    /// The container's capabilities.
    last: u64,
    no_new_privileges: bool,
}

/// From root with everything to the container's user. `enter` goes to the working folder.
pub(super) fn take(spec: &ContainerSpec, enter: impl Fn() -> Result<()>) -> Result<Taken> {
    for limit in &spec.rlimits {
        set_limit(limit)?;
    }
    let wanted = caps::set(&spec.security)?;
    bound(wanted)?;
    // What the machine itself lacks cannot be had (CAP_SYS_RESOURCE in many virtual machines).
    let has = permitted()?;
    process::control(libc::PR_SET_KEEPCAPS, 1).map_err(failed("keep capabilities"))?;
    let effective = |set: u64, kept: u64| {
        process::set_capabilities(set, kept, 0).map_err(failed("set capabilities"))
    };
    // As elsewhere, a folder that is closed to the user is entered (WORKDIR /root in many images).
    // For that, modes are all that is passed over.
    effective(caps::DAC_READ_SEARCH & has, has)?;
    let entered = enter();
    effective(has, has)?;
    let user = &spec.user;
    process::set_user(user.uid, user.gid, &user.groups).map_err(failed("set user"))?;
    let last = if user.uid == 0 { wanted & has } else { 0 };
    let no_new_privileges = spec.security.no_new_privileges;
    effective(last, last | caps::SYS_ADMIN & has)?;
    // Folders that only the user may enter (a network share) open now.
    entered.or_else(|_| enter())?;
    Ok(Taken { last, no_new_privileges })
}

impl Taken {
    /// Only the program of the container comes after this. A filter needs CAP_SYS_ADMIN to be
    /// installed, unless there are no new privileges. `appear` is the step into the sight of others,
    /// which nobody takes with that capability.
    pub(super) fn confine(
        &self,
        filter: Option<&[u8]>,
        appear: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        if self.no_new_privileges {
            process::control(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(failed("no_new_privs"))?;
        }
        let set =
            |set: u64| process::set_capabilities(set, set, 0).map_err(failed("set capabilities"));
        let install = |filter: &[u8]| {
            process::set_seccomp(filter).map_err(failed("install the seccomp filter"))
        };
        match filter {
            Some(filter) if !self.no_new_privileges => {
                set(self.last | caps::SYS_ADMIN & permitted()?)?;
                install(filter)?;
                set(self.last)?;
                appear()
            }
            Some(filter) => {
                set(self.last)?;
                appear()?;
                install(filter)
            }
            None => set(self.last).and_then(|()| appear()),
        }
    }
}

/// Shrinks the bounding set to these.
pub(crate) fn bound(wanted: u64) -> Result<()> {
    for bit in (0..64).filter(|bit| caps::ALL & (1 << bit) != 0 && wanted & (1 << bit) == 0) {
        process::control(libc::PR_CAPBSET_DROP, bit).map_err(failed("drop a capability"))?;
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
