//! A machine's cgroups: one folder of its name in each hierarchy that is mounted, v1 or v2.
//!
//! Limits and accounting of everything inside hang below these folders. `destroy` removes them with
//! all below, so nothing is ever made elsewhere.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The leaf of the machine's own processes: v2 gives no limits to the siblings of a process, so
/// nobody lives in the machine's folder itself (cgroup-v2.rst, No Internal Process Constraint).
pub(crate) const OWN: &str = "machine";

/// So often is a folder whose processes are just ending tried again.
const TRIES: u32 = 100;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// Where the hierarchies are mounted, as the calling process sees them.
pub(crate) fn hierarchies() -> Result<Vec<PathBuf>> {
    const PATH: &str = "/proc/self/mountinfo";
    let text = fs::read_to_string(PATH).map_err(Error::file("read", PATH))?;
    Ok(parse(&text))
}

/// Lines of mountinfo (proc(5)): mount point is the fifth word, the type the first behind ` - `.
fn parse(mountinfo: &str) -> Vec<PathBuf> {
    let cgroup = |line: &&str| {
        let kind = line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').next());
        matches!(kind, Some("cgroup" | "cgroup2"))
    };
    let point = |line: &str| line.split(' ').nth(4).map(PathBuf::from);
    let mut points: Vec<_> = mountinfo.lines().filter(cgroup).filter_map(point).collect();
    points.sort();
    points.dedup();
    points
}

/// The folder of `cgroup` in each hierarchy.
pub(crate) fn folders(cgroup: &Path) -> Result<Vec<PathBuf>> {
    let below = cgroup.strip_prefix("/").unwrap_or(cgroup);
    Ok(hierarchies()?.into_iter().map(|root| root.join(below)).collect())
}

pub(crate) fn create(cgroup: &Path) -> Result<()> {
    for root in hierarchies()? {
        let mut folder = root;
        for part in cgroup.strip_prefix("/").unwrap_or(cgroup) {
            let parent = folder.clone();
            folder.push(part);
            match fs::create_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.map_err(Error::file("create cgroup", &folder))?,
            }
            inherit_cpuset(&parent, &folder)?;
        }
    }
    Ok(())
}

/// A new cpuset of v1 has neither processors nor memory, and takes no process before it has.
fn inherit_cpuset(parent: &Path, folder: &Path) -> Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let (from, to) = (parent.join(name), folder.join(name));
        // v2 has these files too, but an empty one means "all" there.
        if !from.exists() || folder.join("cgroup.controllers").exists() {
            continue;
        }
        let have = fs::read_to_string(&to).map_err(Error::file("read", &to))?;
        if have.trim().is_empty() {
            let value = fs::read_to_string(&from).map_err(Error::file("read", &from))?;
            fs::write(&to, value.trim()).map_err(Error::file("write", &to))?;
        }
    }
    Ok(())
}

/// Removes the folder and all below in each hierarchy. Processes in there have to be ending.
pub(crate) fn remove(cgroup: &Path) -> Result<()> {
    folders(cgroup)?.iter().try_for_each(|folder| remove_tree(folder))
}

fn remove_tree(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(Error::file("list cgroup", folder))?,
    };
    for entry in entries {
        let entry = entry.map_err(Error::file("list cgroup", folder))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    for _ in 0..TRIES {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() != Some(libc::EBUSY) => {
                return Err(Error::file("remove cgroup", folder)(error));
            }
            // The kernel says busy for a moment after the last process has ended.
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
    let path = folder.join("cgroup.procs");
    let pids = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    let pids = pids.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(Error::StillRunning { path: folder.to_path_buf(), pids })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let text = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                    41 31 0:38 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n\
                    27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n";
        let found = parse(text);
        assert_eq!(found, [Path::new("/sys/fs/cgroup/cpu"), Path::new("/sys/fs/cgroup/unified")]);
    }
}
