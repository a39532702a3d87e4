//! What the machine has: processors, memory, disk, and what it calls itself. Read once.

use crate::Error;
use crate::container::fields::Capacity;
use rustix::fs::statvfs;
use std::path::Path;

/// The machine as the Node object describes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Machine {
    pub cpus: i64,
    pub memory_bytes: i64,
    pub disk_bytes: i64,
    pub inodes: i64,
    pub pids: i64,
    pub kernel: String,
    pub os_image: String,
    pub machine_id: String,
    pub boot_id: String,
    pub system_uuid: String,
    pub swap_bytes: i64,
    pub selinux: bool,
}

impl Machine {
    /// Reads the kernel's own files; `data` says which disk counts.
    pub fn read(data: &Path) -> Result<Machine, Error> {
        let memory = file("/proc/meminfo")?;
        let disk = statvfs(data)
            .map_err(|e| Error::ReadMachine { path: "the data folder", source: e.into() })?;
        Ok(Machine {
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as i64),
            memory_bytes: kilobytes(&memory, "MemTotal:") * 1024,
            swap_bytes: kilobytes(&memory, "SwapTotal:") * 1024,
            disk_bytes: (disk.f_blocks * disk.f_frsize) as i64,
            inodes: disk.f_files as i64,
            pids: file("/proc/sys/kernel/pid_max")?.trim().parse().unwrap_or(32768),
            kernel: file("/proc/sys/kernel/osrelease")?.trim().into(),
            os_image: pretty_name(&file_or_empty("/etc/os-release")),
            machine_id: file_or_empty("/etc/machine-id").trim().into(),
            boot_id: file_or_empty("/proc/sys/kernel/random/boot_id").trim().into(),
            system_uuid: file_or_empty("/sys/class/dmi/id/product_uuid").trim().into(),
            selinux: Path::new("/sys/fs/selinux/enforce").exists(),
        })
    }

    /// What a container may have at most.
    pub fn capacity(&self) -> Capacity {
        Capacity {
            milli_cpu: self.cpus * 1000,
            memory: self.memory_bytes,
            storage: self.disk_bytes,
        }
    }
}

/// The AppArmor profiles that are loaded now; None where the kernel enforces none.
pub fn apparmor() -> Option<Vec<String>> {
    let on = skiff_runtime::apparmor::is_enabled();
    let text = on.then(|| file_or_empty("/sys/kernel/security/apparmor/profiles"))?;
    let name = |line: &str| line.rsplit_once(" (").map(|(name, _)| name.to_owned());
    Some(text.lines().filter_map(name).collect())
}

fn file(path: &'static str) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::ReadMachine { path, source })
}

/// Names that a machine may well lack.
fn file_or_empty(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|_| String::new())
}

fn kilobytes(text: &str, name: &str) -> i64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn pretty_name(text: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.map_or("Linux", |name| name.trim_matches('"')).into()
}
