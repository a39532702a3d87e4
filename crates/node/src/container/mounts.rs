//! What a container sees of its pod's volumes, and of the files that the node keeps for it.

use super::expand::expand;
use crate::volumes::Mounted;
use skiff_api::views::pod::{Container, VolumeMount};
use skiff_runtime::spec::{Mount, MountSource, Propagation};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The longest path that the kernel takes.
const PATH_MOST: usize = 4096;
/// VOLUMEs of one image; honest ones have a handful.
const DECLARED_MOST: usize = 128;
/// What the runtime mounts there covers an image's VOLUME; images for systemd name /sys/fs/cgroup.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Mounts in the order in which they have to be made: outer before inner. `declared` are the
/// VOLUMEs of the image: each is a folder of the container that can be written to.
pub fn mounts<'a>(
    container: &Container,
    volumes: &BTreeMap<String, Mounted>,
    own: &[(String, PathBuf)],
    env: &[(String, String)],
) -> Result<Vec<Mount>, String> {
    let mut all = Vec::new();
    for mount in &container.volume_mounts {
        let volume = volumes
            .get(&mount.name)
            .ok_or_else(|| format!("volume {:?} is not mounted yet", mount.name))?;
        all.push(of_volume(mount, volume, env)?);
    }
    for (target, path) in own {
        let taken = container.volume_mounts.iter().any(|mount| mount.mount_path == *target);
        if !taken {
            all.push(bind(target, path));
        }
    }
    all.sort_by_key(|mount| mount.target.components().count());
    Ok(all)
}

fn bind(target: &str, path: &Path) -> Mount {
    let source = MountSource::Bind {
        path: path.to_owned(),
        sub_path: None,
        propagation: Propagation::Private,
        recursive_readonly: false,
    };
    Mount { target: target.into(), source, readonly: false }
}

fn of_volume(
    mount: &VolumeMount,
    volume: &Mounted,
    env: &[(String, String)],
) -> Result<Mount, String> {
    let lookup = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, value)| &**value);
    let sub = match (&*mount.sub_path, &*mount.sub_path_expr) {
        ("", "") => None,
        ("", expression) => {
            let path = expand(expression, &lookup).ok().filter(|path| path.len() <= PATH_MOST);
            let path = path.ok_or("subPathExpr grows longer than a path can be")?;
            if path.contains("$(") {
                return Err(format!("missing value for subPathExpr {expression:?}"));
            }
            if path.starts_with('/') || path.split('/').any(|part| part == "..") {
                return Err(format!("unable to provision SubPath `{path}`: must not contain '..'"));
            }
            Some(path)
        }
        (path, _) => Some(path.to_owned()),
    };
    let readonly = mount.read_only || volume.readonly;
    let source = MountSource::Bind {
        path: volume.path.clone(),
        sub_path: sub.map(PathBuf::from),
        propagation: match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => Propagation::Slave,
            Some("Bidirectional") => Propagation::Shared,
            _ => Propagation::Private,
        },
        recursive_readonly: readonly
            && matches!(mount.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible")),
    };
    Ok(Mount { target: mount.mount_path.clone().into(), source, readonly })
}
