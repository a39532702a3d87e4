//! Control groups: limits, accounts, and the list of a container's processes.
//!
//! Two worlds: v1 has one tree of folders per controller, v2 one tree for all. Which one a machine
//! has is read off its mounts once ([`Layout`]); a host with v1 controllers beside an empty v2 tree
//! counts as v1. A [`Cgroup`] is the same path in whichever trees there are.
//! All here are file operations below folders that come in as values, so tests use plain folders.

use crate::spec::Resources;
use crate::status::Stats;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) mod bpf;
mod v1;
mod v2;

/// The v1 controllers that matter here; others are left alone.
const V1: [&str; 6] = ["cpu", "cpuacct", "memory", "devices", "pids", "hugetlb"];

/// Where a machine has its cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Controller to the mount point of its tree. Others: trees that only group processes
    /// (systemd's own, the empty v2 tree of a hybrid host).
    V1 { trees: BTreeMap<String, PathBuf>, others: Vec<PathBuf> },
    /// The one tree.
    V2(PathBuf),
}

/// One cgroup, by its path below the mount points.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup<'a> {
    layout: &'a Layout,
    path: &'a Path,
}

impl Layout {
    /// Reads the text of /proc/self/mountinfo (proc(5)): fields 5 and, after the dash, the type and
    /// the options of the file system.
    pub(crate) fn detect(mountinfo: &str) -> Result<Layout> {
        let (mut trees, mut others, mut unified) = (BTreeMap::new(), Vec::new(), None);
        for line in mountinfo.lines() {
            let Some((mount, system)) = line.split_once(" - ") else { continue };
            let Some(point) = mount.split(' ').nth(4) else { continue };
            let mut system = system.split(' ');
            let (kind, options) = (system.next(), system.nth(1).unwrap_or(""));
            match kind {
                Some("cgroup2") if unified.is_none() => unified = Some(PathBuf::from(point)),
                Some("cgroup") => {
                    let mut known = false;
                    for name in options.split(',').filter(|name| V1.contains(name)) {
                        known = true;
                        trees.entry(name.to_string()).or_insert_with(|| PathBuf::from(point));
                    }
                    if !known && options.contains("name=") {
                        others.push(PathBuf::from(point));
                    }
                }
                _ => {}
            }
        }
        match unified {
            Some(unified) if trees.is_empty() => Ok(Layout::V2(unified)),
            unified if !trees.is_empty() => {
                others.extend(unified);
                Ok(Layout::V1 { trees, others })
            }
            _ => Err(Error::System(
                "no cgroup controllers are mounted below /sys/fs/cgroup; mount cgroup2 there"
                    .into(),
            )),
        }
    }

    /// The cgroup at a path below the mount points.
    pub(crate) fn at<'a>(&'a self, path: &'a Path) -> Cgroup<'a> {
        Cgroup { layout: self, path }
    }
}

impl Cgroup<'_> {
    /// Makes it, with those above it, in every tree.
    pub(crate) fn create(&self) -> Result<()> {
        match self.layout {
            Layout::V1 { .. } => {
                for folder in self.folders() {
                    make(&folder)?;
                }
                Ok(())
            }
            Layout::V2(root) => v2::create(root, self.path),
        }
    }

    /// Sets the limits that are given.
    pub(crate) fn limit(&self, resources: &Resources) -> Result<()> {
        match self.layout {
            Layout::V1 { trees, .. } => v1::limit(trees, self.path, resources),
            Layout::V2(root) => v2::limit(&root.join(self.path), resources),
        }
    }

    /// v2: a container that runs out of memory dies as a whole, as Kubernetes has it there
    /// (memory.oom.group). v1 has no such thing.
    pub(crate) fn group_oom(&self) -> Result<()> {
        match self.layout {
            Layout::V1 { .. } => Ok(()),
            Layout::V2(root) => put_if_there(&root.join(self.path), "memory.oom.group", "1"),
        }
    }

    /// Only these devices from now on.
    pub(crate) fn devices(&self, rules: &[bpf::Rule]) -> Result<()> {
        match self.layout {
            Layout::V1 { trees, .. } => match trees.get("devices") {
                Some(tree) => v1::devices(&tree.join(self.path), rules),
                None => Err(Error::System("no devices controller is mounted".into())),
            },
            Layout::V2(root) => bpf::attach(&root.join(self.path), rules),
        }
    }

    /// What a process must write itself into, one file per tree; none for v2, where it is born in
    /// its cgroup.
    pub(crate) fn join_files(&self) -> Vec<PathBuf> {
        match self.layout {
            Layout::V1 { .. } => {
                self.folders().into_iter().map(|folder| folder.join("cgroup.procs")).collect()
            }
            Layout::V2(_) => Vec::new(),
        }
    }

    /// v2: the folder that a process can be born in.
    pub(crate) fn birthplace(&self) -> Option<PathBuf> {
        match self.layout {
            Layout::V1 { .. } => None,
            Layout::V2(root) => Some(root.join(self.path)),
        }
    }

    /// The file that counts what the kernel killed for lack of memory (line `oom_kill N`).
    pub(crate) fn oom_file(&self) -> Option<PathBuf> {
        match self.layout {
            Layout::V1 { trees, .. } => {
                trees.get("memory").map(|tree| tree.join(self.path).join("memory.oom_control"))
            }
            Layout::V2(root) => Some(root.join(self.path).join("memory.events")),
        }
    }

    /// Moves this process into it, in every tree there is, also those without controllers: whoever
    /// kills by cgroup (a service unit that stops) must not find it where it came from.
    pub(crate) fn enter(&self) -> Result<()> {
        self.create()?;
        let mut folders = self.folders();
        if let Layout::V1 { others, .. } = self.layout {
            for tree in others {
                let folder = tree.join(self.path);
                make(&folder)?;
                folders.push(folder);
            }
        }
        for folder in folders {
            put(&folder, "cgroup.procs", "0")?;
        }
        Ok(())
    }

    /// SIGKILL to everything in it, once. v1 closes the door to forks first (pids.max), so that a
    /// few rounds always suffice.
    pub(crate) fn kill(&self) -> Result<()> {
        if let Layout::V2(root) = self.layout {
            return match put(&root.join(self.path), "cgroup.kill", "1") {
                Err(_) if !root.join(self.path).exists() => Ok(()),
                other => other,
            };
        }
        if let Layout::V1 { trees, .. } = self.layout
            && let Some(tree) = trees.get("pids")
            && tree.join(self.path).exists()
        {
            put(&tree.join(self.path), "pids.max", "0")?;
        }
        for pid in self.processes()? {
            match crate::sys::process::kill(pid, libc::SIGKILL) {
                Err(e) if e.raw_os_error() != Some(libc::ESRCH) => {
                    return Err(Error::System(format!("kill process {pid}: {e}")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The processes in it.
    pub(crate) fn processes(&self) -> Result<Vec<i32>> {
        let folder = match self.layout {
            Layout::V1 { trees, .. } => {
                let tree = ["pids", "memory", "cpu"].iter().find_map(|name| trees.get(*name));
                tree.map(|tree| tree.join(self.path))
            }
            Layout::V2(root) => Some(root.join(self.path)),
        };
        let Some(folder) = folder else { return Ok(Vec::new()) };
        match std::fs::read_to_string(folder.join("cgroup.procs")) {
            // 0 stands for a process of another pid namespace: it cannot be named from here.
            Ok(text) => {
                Ok(text.lines().filter_map(|l| l.parse().ok()).filter(|p| *p > 0).collect())
            }
            Err(e) if gone(&e) => Ok(Vec::new()),
            Err(e) => Err(Error::System(format!("read {}: {e}", folder.display()))),
        }
    }

    /// Removes it from every tree. False: something is still in it, try again soon.
    pub(crate) fn remove(&self) -> Result<bool> {
        let mut folders = self.folders();
        if let Layout::V1 { others, .. } = self.layout {
            folders.extend(others.iter().map(|tree| tree.join(self.path)));
        }
        let mut all = true;
        for folder in folders {
            match std::fs::remove_dir(&folder) {
                Ok(()) => {}
                Err(e) if gone(&e) => {}
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => all = false,
                Err(e) => {
                    return Err(Error::System(format!("remove {}: {e}", folder.display())));
                }
            }
        }
        Ok(all)
    }

    /// Removes it with all below it, as far as nothing is in them.
    pub(crate) fn remove_all(&self) -> Result<bool> {
        let mut all = true;
        for folder in self.folders() {
            for name in subfolders(&folder)? {
                let below = self.path.join(name);
                all &= self.layout.at(&below).remove_all()?;
            }
        }
        Ok(all && self.remove()?)
    }

    /// What it uses.
    pub(crate) fn stats(&self) -> Result<Stats> {
        match self.layout {
            Layout::V1 { trees, .. } => v1::stats(trees, self.path),
            Layout::V2(root) => v2::stats(&root.join(self.path)),
        }
    }

    /// Mounts for the container's /sys/fs/cgroup: (folder name, options); v2 is one without a name.
    pub(crate) fn views(&self) -> Vec<(String, String)> {
        let Layout::V1 { trees, .. } = self.layout else { return Vec::new() };
        let mut by_point: BTreeMap<&PathBuf, Vec<&str>> = BTreeMap::new();
        for (name, point) in trees {
            by_point.entry(point).or_default().push(name);
        }
        by_point.into_values().map(|names| names.join(",")).map(|n| (n.clone(), n)).collect()
    }

    /// Its folder in each tree, each once (controllers may share one).
    fn folders(&self) -> Vec<PathBuf> {
        match self.layout {
            Layout::V1 { trees, .. } => {
                let points: std::collections::BTreeSet<_> = trees.values().collect();
                points.into_iter().map(|point| point.join(self.path)).collect()
            }
            Layout::V2(root) => vec![root.join(self.path)],
        }
    }
}

/// A cgroup that is not there, or that went while its file was read.
fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn subfolders(folder: &Path) -> Result<Vec<std::ffi::OsString>> {
    let what = || format!("list {}", folder.display());
    let listing = match std::fs::read_dir(folder) {
        Err(e) if gone(&e) => return Ok(Vec::new()),
        other => other.map_err(crate::failed(what()))?,
    };
    let mut names = Vec::new();
    for entry in listing {
        let entry = entry.map_err(crate::failed(what()))?;
        if entry.file_type().map_err(crate::failed(what()))?.is_dir() {
            names.push(entry.file_name());
        }
    }
    Ok(names)
}

fn make(folder: &Path) -> Result<()> {
    match std::fs::create_dir(folder) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Only the first of a pod finds its parents missing.
        Err(e) if e.kind() == io::ErrorKind::NotFound => std::fs::create_dir_all(folder)
            .map_err(|e| Error::System(format!("make {}: {e}", folder.display()))),
        Err(e) => Err(Error::System(format!("make {}: {e}", folder.display()))),
    }
}

/// One value into one file.
fn put(folder: &Path, file: &str, value: &str) -> Result<()> {
    let path = folder.join(file);
    write(&path, value)
        .map_err(|e| Error::System(format!("write {value} to {}: {e}", path.display())))
}

/// For values that a kernel may be built without.
fn put_if_there(folder: &Path, file: &str, value: &str) -> Result<()> {
    if folder.join(file).exists() { put(folder, file, value) } else { Ok(()) }
}

/// One write to a file that the kernel has made; never creates one in a real cgroup.
fn write(path: &Path, value: &str) -> io::Result<()> {
    use std::io::Write;
    std::fs::OpenOptions::new().write(true).truncate(true).open(path)?.write_all(value.as_bytes())
}

/// A number alone in a file.
fn get(folder: &Path, file: &str) -> Result<u64> {
    let path = folder.join(file);
    let text = std::fs::read_to_string(&path)
        .map_err(|e| Error::System(format!("read {}: {e}", path.display())))?;
    text.trim().parse().map_err(|_| {
        Error::System(format!("{} holds \"{}\", not a number", path.display(), text.trim()))
    })
}

/// The number of a `key number` line; 0 if the kernel does not list the key.
fn field(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

fn text(folder: &Path, file: &str) -> Result<String> {
    let path = folder.join(file);
    std::fs::read_to_string(&path)
        .map_err(|e| Error::System(format!("read {}: {e}", path.display())))
}

/// How often the kernel killed for lack of memory, by a file of [`Cgroup::oom_file`].
pub(crate) fn oom_kills(path: &Path) -> u64 {
    // A cgroup that has gone kills no more; the count is a hint about why, never a decision.
    std::fs::read_to_string(path).map_or(0, |text| field(&text, "oom_kill"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
25 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw shared:3 - cgroup cgroup rw,cpu,cpuacct
27 25 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
28 25 0:25 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
29 25 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn layouts() {
        let Layout::V1 { trees, others } = Layout::detect(HYBRID).expect("found") else {
            panic!("hybrid counts as v1")
        };
        let shared = PathBuf::from("/sys/fs/cgroup/cpu,cpuacct");
        assert_eq!((&trees["cpu"], &trees["cpuacct"]), (&shared, &shared));
        assert_eq!(others.len(), 2);
        let pure = "30 1 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = Layout::detect(pure).expect("found");
        assert_eq!(found, Layout::V2("/sys/fs/cgroup".into()));
        assert!(Layout::detect("1 2 3:4 / / rw - ext4 /dev/vda rw\n").is_err());
    }
}
