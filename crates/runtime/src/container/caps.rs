//! Capabilities: the pieces that root's power is cut into (capabilities(7)).
//!
//! A container's bounding set decides: executing a program as root yields exactly it, and as
//! anybody else nothing but what the file itself carries within it. Inheritable and ambient stay
//! empty. Never here: system calls.

use crate::spec::Security;
use crate::{Error, Result};

/// By number, as linux/capability.h counts.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has unless it says otherwise.
pub const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// CAP_DAC_READ_SEARCH: enters folders that are closed to others.
pub(crate) const DAC_READ_SEARCH: u64 = 1 << 2;
/// CAP_SYS_ADMIN: installs a seccomp filter without no_new_privs.
pub(crate) const SYS_ADMIN: u64 = 1 << 21;
/// Every capability there is a name for.
pub(crate) const ALL: u64 = (1 << NAMES.len()) - 1;

/// The set of a container, one bit each. `ALL` counts first, added or dropped; then single names,
/// dropped after added.
pub(crate) fn set(security: &Security) -> Result<u64> {
    if security.privileged {
        return Ok(ALL);
    }
    let is_all = |name: &&String| name.eq_ignore_ascii_case("ALL");
    let mut set = 0;
    if security.add_capabilities.iter().any(|name| is_all(&name)) {
        set = ALL;
    } else if !security.drop_capabilities.iter().any(|name| is_all(&name)) {
        for name in DEFAULT {
            set |= bit(name)?;
        }
    }
    for name in security.add_capabilities.iter().filter(|name| !is_all(name)) {
        set |= bit(name)?;
    }
    for name in security.drop_capabilities.iter().filter(|name| !is_all(name)) {
        set &= !bit(name)?;
    }
    Ok(set)
}

/// Whether the set has the capability of that name (without `CAP_`).
pub(crate) fn has(set: u64, name: &str) -> bool {
    NAMES.iter().position(|known| *known == name).is_some_and(|bit| set & (1 << bit) != 0)
}

fn bit(name: &str) -> Result<u64> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    match NAMES.iter().position(|known| *known == short) {
        Some(at) => Ok(1 << at),
        None => Err(Error::Invalid(format!("unknown capability \"CAP_{short}\""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn check(add: &[&str], drop: &[&str]) -> String {
        let list = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        let security = Security {
            add_capabilities: list(add),
            drop_capabilities: list(drop),
            ..Security::default()
        };
        match set(&security) {
            Ok(set) => format!("{set:x}"),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn adds_and_drops() {
        expect!["a80425fb"].assert_eq(&check(&[], &[]));
        expect!["0"].assert_eq(&check(&[], &["all"]));
        expect!["400"].assert_eq(&check(&["NET_BIND_SERVICE"], &["ALL"]));
        expect!["1ffffffffff"].assert_eq(&check(&["ALL"], &[]));
        expect!["1fffffffffe"].assert_eq(&check(&["ALL"], &["cap_chown"]));
        expect!["a80435fb"].assert_eq(&check(&["cap_net_admin"], &[]));
        expect![[r#"unknown capability "CAP_FLY""#]].assert_eq(&check(&["FLY"], &[]));
    }
}
