//! What a pod has on the node's disk, against what it may have (concepts: "Local ephemeral
//! storage"; API reference: EmptyDirVolumeSource.sizeLimit). The kernel tells nobody that a folder
//! has grown, so it is measured, as upstream does; pods without a limit are left alone.

use crate::rim::Rim;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use skiff_api::quantity::{Format, Quantity};
use skiff_kinds::views::Pod;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

const STORAGE: &str = "ephemeral-storage";
/// Folders in folders: each is an open file while what is in it is measured.
const DEPTH_MOST: usize = 256;
const BLOCK: u128 = 512;

/// Whether anything of the pod is limited.
pub fn limited(pod: &Pod) -> bool {
    let disk = pod.spec.volumes.iter().filter_map(|volume| volume.empty_dir.as_ref());
    disk.filter(|empty| empty.medium.is_empty()).any(|empty| empty.size_limit.is_some())
        || pod.spec.all_containers().any(|c| c.resources.limits.get(STORAGE).is_some())
}

/// Why the pod has to go, in upstream's words. `live` are the ids of its containers by name.
pub fn excess(rim: &Rim, pod: &Pod, live: &BTreeMap<String, String>) -> Option<String> {
    let meta = &pod.metadata;
    let dir = rim.pod_dir(&meta.uid);
    let mut total = 0;
    for volume in &pod.spec.volumes {
        let Some(empty) = volume.empty_dir.as_ref().filter(|it| it.medium.is_empty()) else {
            continue;
        };
        let used = used(&dir.join("volumes/kubernetes.io~empty-dir").join(&volume.name));
        total = u64::saturating_add(total, used);
        let limit = empty.size_limit.as_deref().and_then(|text| Quantity::parse(text).ok());
        if let Some(limit) = limit.filter(|limit| over(used, limit)) {
            let name = &volume.name;
            let limit = limit.to_string();
            return Some(format!(
                "Usage of EmptyDir volume {name:?} exceeds the limit {limit:?}. "
            ));
        }
    }
    let logs = rim.log_dir(&meta.namespace, &meta.name, &meta.uid);
    let own = |name: &str| {
        let written = live.get(name).and_then(|id| rim.images.container(id).ok().flatten());
        let written = written.map_or(0, |rootfs| used(&rootfs.upper));
        u64::saturating_add(written, used(&logs.join(name)))
    };
    let containers = pod.spec.all_containers().map(|container| (container, own(&container.name)));
    let containers: Vec<_> = containers.collect();
    total = containers.iter().fold(total, |sum, (_, used)| u64::saturating_add(sum, *used));
    // The files that the node keeps for the pod can be written to, and count as well.
    total = ["etc-hosts", "hostname", "resolv.conf", "containers"]
        .iter()
        .fold(total, |sum, name| u64::saturating_add(sum, used(&dir.join(name))));
    let limit = |pod: &Pod| {
        let mut sum = Quantity::new(0, Format::Binary);
        let limits = pod.spec.containers.iter().filter_map(|c| c.resources.limits.get(STORAGE));
        limits.fold(None, |_, limit| {
            sum.add(limit);
            Some(sum.clone())
        })
    };
    if let Some(limit) = limit(pod).filter(|limit| over(total, limit)) {
        let what = "Pod ephemeral local storage usage exceeds the total limit of containers";
        return Some(format!("{what} {limit}. "));
    }
    containers.into_iter().find_map(|(container, used)| {
        let limit = container.resources.limits.get(STORAGE).filter(|limit| over(used, limit))?;
        let (name, limit) = (&container.name, limit.to_string());
        Some(format!("Container {name} exceeded its local ephemeral storage limit {limit:?}. "))
    })
}

fn over(used: u64, limit: &Quantity) -> bool {
    u64::try_from(limit.value()).is_ok_and(|limit| limit > 0 && used > limit)
}

/// Bytes of the disk below a path, on its file system. What cannot be measured, because somebody
/// nests folders to hide what is in them, is more than any limit.
fn used(path: &Path) -> u64 {
    match measure(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "what is in a folder cannot be measured");
            u64::MAX
        }
    }
}

fn measure(path: &Path) -> Result<u64, Errno> {
    let Some(top) = there(statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW))? else { return Ok(0) };
    let mut total = blocks(&top);
    let mut open = Vec::new();
    if is_dir(&top) {
        open.extend(enter(CWD, PathBuf::from(path))?);
    }
    while let Some(dir) = open.last_mut() {
        let Some(entry) = dir.read() else {
            open.pop();
            continue;
        };
        let name = CString::from(entry?.file_name());
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        // What goes or changes meanwhile counts next time. No link is followed.
        let found = there(statat(dir.fd()?, &name, AtFlags::SYMLINK_NOFOLLOW))?;
        let Some(found) = found.filter(|found| found.st_dev == top.st_dev) else { continue };
        total = total.saturating_add(blocks(&found));
        if is_dir(&found) {
            let below = enter(dir.fd()?, name)?;
            open.extend(below);
        }
        if open.len() > DEPTH_MOST {
            return Err(Errno::LOOP);
        }
    }
    Ok(total)
}

fn enter(at: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> Result<Option<Dir>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    there(openat(at, name, flags, Mode::empty()))?.map(Dir::new).transpose()
}

fn there<T>(answer: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match answer {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        other => other.map(Some),
    }
}

/// A file with several names counts once, in parts.
fn blocks(stat: &rustix::fs::Stat) -> u64 {
    // Links are counted in 64 bits or in 32, by architecture.
    let names = if is_dir(stat) { 1 } else { u128::from(stat.st_nlink).max(1) };
    let bytes = u128::from(stat.st_blocks.unsigned_abs()) * BLOCK / names;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn is_dir(stat: &rustix::fs::Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_measured_without_following_links() {
        let dir = std::env::temp_dir().join(format!("skiff-storage-{}", std::process::id()));
        let (own, outside) = (dir.join("own"), dir.join("outside"));
        for folder in [own.join("a/b"), outside.clone()] {
            std::fs::create_dir_all(folder).expect("made");
        }
        assert_eq!(used(&dir.join("absent")), 0);
        let empty = used(&own);
        let bytes = vec![1; 1 << 20];
        std::fs::write(outside.join("f"), &bytes).expect("written");
        std::os::unix::fs::symlink(&outside, own.join("a/link")).expect("linked");
        assert!(used(&own) < empty + (1 << 16), "links lead nowhere");
        assert!(used(&own.join("a/link")) < 1 << 16, "not even the first");
        std::fs::write(own.join("a/b/f"), &bytes).expect("written");
        std::fs::hard_link(own.join("a/b/f"), own.join("g")).expect("linked");
        let sparse = std::fs::File::create(own.join("sparse")).expect("made");
        sparse.set_len(1 << 40).expect("set");
        let full = used(&own);
        assert!((empty + (1 << 20)..empty + (1 << 20) + (1 << 16)).contains(&full), "{full}");
        let mut deep = own.clone();
        for _ in 0..300 {
            deep.push("d");
            std::fs::create_dir(&deep).expect("made");
        }
        assert_eq!(used(&own), u64::MAX, "nothing is hidden by nesting");
        std::fs::remove_dir_all(dir).expect("cleaned up");
    }
}
