//! cgroup v2: one tree (Documentation/admin-guide/cgroup-v2.rst of Linux).
//!
//! A controller works in a folder only if the folder above lists it in cgroup.subtree_control, and
//! a folder that does so may have no processes of its own.

use super::{field, get, make, put, put_if_there, text};
use crate::spec::Resources;
use crate::status::Stats;
use crate::{Error, Result};
use std::path::Path;

/// What containers are limited by; one that the machine lacks is left out (and a limit that needs
/// it is refused when it is set).
const CONTROLLERS: [&str; 4] = ["cpu", "memory", "pids", "hugetlb"];

/// Makes the folder and those above it, handing the controllers down.
pub(super) fn create(root: &Path, path: &Path) -> Result<()> {
    let folder = root.join(path);
    if folder.is_dir() {
        return Ok(());
    }
    let mut here = root.to_path_buf();
    for part in path.components() {
        hand_down(&here)?;
        here.push(part);
        make(&here)?;
    }
    Ok(())
}

fn hand_down(folder: &Path) -> Result<()> {
    let (has, gives) =
        (text(folder, "cgroup.controllers")?, text(folder, "cgroup.subtree_control")?);
    let listed = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
    for name in CONTROLLERS {
        if listed(&has, name) && !listed(&gives, name) {
            put(folder, "cgroup.subtree_control", &format!("+{name}"))?;
        }
    }
    Ok(())
}

pub(super) fn limit(folder: &Path, resources: &Resources) -> Result<()> {
    let limit = |file: &str, value: &str| {
        if !folder.join(file).exists() {
            let controller = file.split('.').next().unwrap_or(file);
            return Err(Error::Invalid(format!(
                "this machine has no {controller} cgroup controller"
            )));
        }
        put(folder, file, value)
    };
    if let Some(shares) = resources.cpu_shares {
        limit("cpu.weight", &weight(shares).to_string())?;
    }
    if resources.cpu_quota.is_some() || resources.cpu_period.is_some() {
        limit("cpu.max", &cpu_max(folder, resources)?)?;
    }
    let or_max = |value: i64| if value < 0 { "max".to_string() } else { value.to_string() };
    if let Some(bytes) = resources.memory {
        limit("memory.max", &or_max(bytes))?;
        put_if_there(folder, "memory.swap.max", "0")?;
    }
    if let Some(pids) = resources.pids {
        limit("pids.max", &or_max(pids))?;
    }
    for (size, bytes) in &resources.hugepages {
        limit(&format!("hugetlb.{size}.max"), &bytes.to_string())?;
        put_if_there(folder, &format!("hugetlb.{size}.rsvd.max"), &bytes.to_string())?;
    }
    Ok(())
}

/// `quota period`, keeping whichever of the two is not given.
fn cpu_max(folder: &Path, resources: &Resources) -> Result<String> {
    let now = text(folder, "cpu.max")?;
    let mut now = now.split_whitespace();
    let (quota, period) = (now.next().unwrap_or("max"), now.next().unwrap_or("100000"));
    let quota = match resources.cpu_quota {
        None => quota.to_string(),
        Some(quota) if quota < 0 => "max".to_string(),
        Some(quota) => quota.to_string(),
    };
    let period = resources.cpu_period.map_or(period.to_string(), |period| period.to_string());
    Ok(format!("{quota} {period}"))
}

/// The curve through (2, 1), (1024, 100), (262144, 10000) on which Kubernetes (KEP-2254) and the
/// OCI runtimes have agreed, so that one core's request has v2's default weight.
fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            // The last bits of the arithmetic must not lift an exact value by one.
            (10f64.powf(exponent) - 1e-9).ceil() as u64
        }
    }
}

pub(super) fn stats(folder: &Path) -> Result<Stats> {
    let cpu_ns = field(&text(folder, "cpu.stat")?, "usage_usec") * 1000;
    let mut stats = Stats { cpu_ns, ..Stats::default() };
    if folder.join("memory.current").exists() {
        let detail = text(folder, "memory.stat")?;
        stats.memory_bytes = get(folder, "memory.current")?;
        let inactive = field(&detail, "inactive_file");
        stats.memory_working_set_bytes = stats.memory_bytes.saturating_sub(inactive);
        stats.memory_rss_bytes = field(&detail, "anon");
        stats.page_faults = field(&detail, "pgfault");
        stats.major_page_faults = field(&detail, "pgmajfault");
        stats.memory_limit_bytes = text(folder, "memory.max")?.trim().parse().ok();
        stats.oom_kills = field(&text(folder, "memory.events")?, "oom_kill");
    }
    if folder.join("pids.current").exists() {
        stats.pids = get(folder, "pids.current")?;
    }
    Ok(stats)
}

/// Lets a test stand in for the kernel: files that a new cgroup would have.
#[cfg(test)]
pub(super) fn fake(folder: &Path) {
    std::fs::create_dir_all(folder).expect("mkdir");
    for (file, value) in [
        ("cgroup.controllers", "cpu memory pids\n"),
        ("cgroup.subtree_control", "memory\n"),
        ("cpu.max", "max 100000\n"),
        ("cpu.weight", "100\n"),
        ("memory.max", "max\n"),
        ("memory.swap.max", "max\n"),
        ("pids.max", "max\n"),
        ("pids.current", "3\n"),
        ("cpu.stat", "usage_usec 7\nuser_usec 5\n"),
        ("memory.current", "4096\n"),
        ("memory.stat", "anon 1024\ninactive_file 96\npgfault 9\n"),
        ("memory.events", "oom 2\noom_kill 1\n"),
    ] {
        std::fs::write(folder.join(file), value).expect("write");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn weights() {
        let weights: Vec<_> = [0, 2, 102, 256, 512, 1024, 2048, 262_144].map(weight).to_vec();
        expect!["[1, 1, 17, 35, 59, 100, 174, 10000]"].assert_eq(&format!("{weights:?}"));
    }

    #[test]
    fn limits_land_in_their_files() {
        let root =
            std::env::temp_dir().join(format!("skiff-cgroup-v2-limits-{}", std::process::id()));
        fake(&root);
        let resources = Resources {
            cpu_shares: Some(512),
            cpu_quota: Some(50_000),
            memory: Some(1 << 20),
            pids: Some(-1),
            ..Resources::default()
        };
        limit(&root, &resources).expect("limits");
        let read = |file: &str| text(&root, file).expect("there");
        expect!["59|50000 100000|1048576|0|max"].assert_eq(
            &["cpu.weight", "cpu.max", "memory.max", "memory.swap.max", "pids.max"]
                .map(read)
                .join("|"),
        );
        let huge = Resources { hugepages: [("2MB".into(), 1)].into(), ..Resources::default() };
        expect!["this machine has no hugetlb cgroup controller"]
            .assert_eq(&limit(&root, &huge).expect_err("refused").to_string());
        let stats = stats(&root).expect("stats");
        expect!["7000 4000 1024 Some(1048576) 1"].assert_eq(&format!(
            "{} {} {} {:?} {}",
            stats.cpu_ns,
            stats.memory_working_set_bytes,
            stats.memory_rss_bytes,
            stats.memory_limit_bytes,
            stats.oom_kills
        ));
        std::fs::remove_dir_all(root).expect("clean up");
    }

    #[test]
    fn controllers_are_handed_down_on_the_way() {
        let root =
            std::env::temp_dir().join(format!("skiff-cgroup-v2-down-{}", std::process::id()));
        fake(&root);
        fake(&root.join("a"));
        create(&root, Path::new("a/b")).expect("made");
        assert!(root.join("a/b").is_dir());
        // The fake keeps the last write; the kernel would add them up.
        assert_eq!(text(&root, "cgroup.subtree_control").expect("there"), "+pids");
        assert_eq!(text(&root.join("a"), "cgroup.subtree_control").expect("there"), "+pids");
        std::fs::remove_dir_all(root).expect("clean up");
    }
}
