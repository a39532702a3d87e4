//! Who called: through sudo it is not root whose kubeconfig is meant, but the user who typed the command.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The person for whom files are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub home: PathBuf,
    /// Owner and group of what is written; `None`: whoever this process is.
    pub owner: Option<(u32, u32)>,
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
            Ok(Caller { home, owner: Some((uid, gid)) })
        }
        _ => {
            let home = variable("HOME").filter(|home| !home.is_empty());
            let home = home.map_or_else(|| PathBuf::from("/root"), PathBuf::from);
            Ok(Caller { home, owner: None })
        }
    }
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

/// The kubeconfig that kubectl would write to: the first of $KUBECONFIG, else the usual one.
pub fn kubeconfig(caller: &Caller, variable: Option<&str>) -> PathBuf {
    let first = variable.into_iter().flat_map(|list| list.split(':')).find(|path| !path.is_empty());
    first.map_or_else(|| usual_kubeconfig(&caller.home), PathBuf::from)
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
    fn the_first_file_that_is_named() {
        let caller = Caller { home: "/home/ann".into(), owner: None };
        for (variable, path) in [
            (None, "/home/ann/.kube/config"),
            (Some(""), "/home/ann/.kube/config"),
            (Some("/a:/b"), "/a"),
            (Some(":/b"), "/b"),
        ] {
            assert_eq!(kubeconfig(&caller, variable), Path::new(path));
        }
    }
}
