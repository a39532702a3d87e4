//! Who called: through sudo it is not root whose kubeconfig is meant, but the user who typed the command.
//!
//! What lies in a user's folders is read and written with that user's rights, never with root's: a link that the user
//! put there leads no further than the user gets.

use anyhow::{Context, Result};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The person for whom files are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub home: PathBuf,
    /// User and group; `None`: whoever this process is.
    pub ids: Option<(u32, u32)>,
}

/// Reads the environment that sudo leaves.
pub fn caller() -> Result<Caller> {
    let variable = |name: &str| std::env::var(name).ok();
    let passwd = || std::fs::read_to_string("/etc/passwd").context("reading /etc/passwd");
    let ids = (number(variable("SUDO_UID")), number(variable("SUDO_GID")));
    match ids {
        (Some(uid), Some(gid)) if uid != 0 => {
            let home = home_of(&passwd()?, uid)
                .with_context(|| format!("/etc/passwd has no user {uid}, who called sudo"))?;
            Ok(Caller { home, ids: Some((uid, gid)) })
        }
        _ => {
            let home = variable("HOME").filter(|home| !home.is_empty());
            let home = home.map_or_else(|| PathBuf::from("/root"), PathBuf::from);
            Ok(Caller { home, ids: None })
        }
    }
}

/// Whose rights are enough for a file: of all who own a part of its path, the first who is not root. Whoever owns a
/// part decides what lies below it, so links are not followed here.
pub fn owner_of(path: &Path) -> Option<(u32, u32)> {
    let parts: Vec<_> = path.ancestors().collect();
    let owner = |part: &&Path| {
        let found = std::fs::symlink_metadata(part).ok()?;
        (found.uid() != 0).then_some((found.uid(), found.gid()))
    };
    parts.iter().rev().find_map(owner)
}

/// Does something with the rights of a user. They are a thread's own (credentials(7)), which ends with the work.
pub fn with_rights_of<T: Send>(
    ids: Option<(u32, u32)>,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let Some((uid, gid)) = ids else { return work() };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let become_them = move || -> rustix::io::Result<()> {
        set_thread_groups(&[gid])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)
    };
    std::thread::scope(|scope| {
        let work = || become_them().context("taking the caller's rights").and_then(|()| work());
        scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn number(text: Option<String>) -> Option<u32> {
    text?.parse().ok()
}

/// Fields of passwd(5): name, password, user, group, comment, home, shell.
fn home_of(passwd: &str, uid: u32) -> Option<PathBuf> {
    let line = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut found = line.filter(|fields| fields.get(2).is_some_and(|id| *id == uid.to_string()));
    Some(PathBuf::from(found.next()?.get(5)?))
}

/// The files that kubectl reads: those of $KUBECONFIG, else the usual one.
pub fn kubeconfigs(caller: &Caller, variable: Option<&str>) -> Vec<PathBuf> {
    let named = variable.into_iter().flat_map(|list| list.split(':'));
    let named = named.filter(|path| !path.is_empty());
    let named: Vec<_> = named.filter_map(|path| std::path::absolute(path).ok()).collect();
    if named.is_empty() { vec![usual_kubeconfig(&caller.home)] } else { named }
}

pub fn usual_kubeconfig(home: &Path) -> PathBuf {
    home.join(".kube/config")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_is_that_of_the_number() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000:Ann,,,:/home/ann:/bin/sh\n";
        assert_eq!(home_of(passwd, 1000), Some("/home/ann".into()));
        assert_eq!(home_of(passwd, 100), None);
    }

    #[test]
    fn all_files_that_are_named() {
        let caller = Caller { home: "/home/ann".into(), ids: None };
        for (variable, paths) in [
            (None, "/home/ann/.kube/config"),
            (Some(""), "/home/ann/.kube/config"),
            (Some("/a:/b"), "/a /b"),
            (Some(":/b"), "/b"),
        ] {
            let found = kubeconfigs(&caller, variable);
            let found: Vec<_> = found.iter().map(|path| path.display().to_string()).collect();
            assert_eq!(found.join(" "), paths);
        }
    }
}
