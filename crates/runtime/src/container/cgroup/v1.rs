//! cgroup v1: one tree per controller (Documentation/admin-guide/cgroup-v1 of Linux).

use super::{bpf, field, get, put, put_if_there, text, write};
use crate::spec::Resources;
use crate::status::Stats;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A limit above this is none: v1 says "unlimited" by the largest page-aligned number.
const UNLIMITED: u64 = 1 << 62;

pub(super) fn limit(
    trees: &BTreeMap<String, PathBuf>,
    path: &Path,
    resources: &Resources,
) -> Result<()> {
    let folder = |controller: &str| match trees.get(controller) {
        Some(tree) => Ok(tree.join(path)),
        None => Err(Error::Invalid(format!("this machine has no {controller} cgroup controller"))),
    };
    if let Some(shares) = resources.cpu_shares {
        put(&folder("cpu")?, "cpu.shares", &shares.to_string())?;
    }
    if let Some(period) = resources.cpu_period {
        put(&folder("cpu")?, "cpu.cfs_period_us", &period.to_string())?;
    }
    if let Some(quota) = resources.cpu_quota {
        put(&folder("cpu")?, "cpu.cfs_quota_us", &quota.to_string())?;
    }
    if let Some(bytes) = resources.memory {
        memory(&folder("memory")?, bytes)?;
    }
    if let Some(pids) = resources.pids {
        let value = if pids < 0 { "max".into() } else { pids.to_string() };
        put(&folder("pids")?, "pids.max", &value)?;
    }
    for (size, bytes) in &resources.hugepages {
        let folder = folder("hugetlb")?;
        put(&folder, &format!("hugetlb.{size}.limit_in_bytes"), &bytes.to_string())?;
        let reserved = format!("hugetlb.{size}.rsvd.limit_in_bytes");
        put_if_there(&folder, &reserved, &bytes.to_string())?;
    }
    Ok(())
}

/// Memory and memory with swap get the same value (no swap), in the order that keeps the first
/// below the second: on the way down this one first, on the way up the other.
fn memory(folder: &Path, bytes: i64) -> Result<()> {
    let value = bytes.to_string();
    let with_swap = folder.join("memory.memsw.limit_in_bytes");
    if write(&folder.join("memory.limit_in_bytes"), &value).is_ok() {
        return put_if_there(folder, "memory.memsw.limit_in_bytes", &value);
    }
    if with_swap.exists() {
        put(folder, "memory.memsw.limit_in_bytes", &value)?;
    }
    put(folder, "memory.limit_in_bytes", &value)
}

/// Denies all, then allows each.
pub(super) fn devices(folder: &Path, rules: &[bpf::Rule]) -> Result<()> {
    put(folder, "devices.deny", "a")?;
    for rule in rules {
        put(folder, "devices.allow", &rule.to_string())?;
    }
    Ok(())
}

pub(super) fn stats(trees: &BTreeMap<String, PathBuf>, path: &Path) -> Result<Stats> {
    let mut stats = Stats::default();
    if let Some(tree) = trees.get("cpuacct") {
        stats.cpu_ns = get(&tree.join(path), "cpuacct.usage")?;
    }
    if let Some(tree) = trees.get("memory") {
        let folder = tree.join(path);
        let detail = text(&folder, "memory.stat")?;
        stats.memory_bytes = get(&folder, "memory.usage_in_bytes")?;
        let inactive = field(&detail, "total_inactive_file");
        stats.memory_working_set_bytes = stats.memory_bytes.saturating_sub(inactive);
        stats.memory_rss_bytes = field(&detail, "total_rss");
        stats.page_faults = field(&detail, "total_pgfault");
        stats.major_page_faults = field(&detail, "total_pgmajfault");
        let limit = get(&folder, "memory.limit_in_bytes")?;
        stats.memory_limit_bytes = Some(limit).filter(|limit| *limit < UNLIMITED);
        stats.oom_kills = field(&text(&folder, "memory.oom_control")?, "oom_kill");
    }
    if let Some(tree) = trees.get("pids").map(|tree| tree.join(path)) {
        // The tree's root has no such file.
        if tree.join("pids.current").exists() {
            stats.pids = get(&tree, "pids.current")?;
        }
    }
    Ok(stats)
}
