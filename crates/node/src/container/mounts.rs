//! What a container sees of its pod's volumes, and of the files that the node keeps for it.

use super::expand::expand;
use crate::volumes::Mounted;
use skiff_kinds::views::pod::{Container, VolumeMount};
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
    declared: impl ExactSizeIterator<Item = &'a String>,
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
    if declared.len() > DECLARED_MOST {
        return Err(format!("the image declares more than {DECLARED_MOST} volumes"));
    }
    for target in declared.map(|path| clean(path)) {
        let covered = |mount: &Mount| target.starts_with(clean(&mount.target.to_string_lossy()));
        let kernels = KERNEL.iter().any(|place| target.starts_with(place));
        if target != Path::new("/") && !kernels && !all.iter().any(covered) {
            all.push(Mount { target, source: MountSource::Own, readonly: false });
        }
    }
    all.sort_by_key(|mount| mount.target.components().count());
    Ok(all)
}

/// An absolute path by its words alone.
fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for word in path.split('/') {
        match word {
            "" | "." => {}
            ".." => drop(clean.pop()),
            word => clean.push(word),
        }
    }
    clean
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

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    fn check(declared: &[&str]) -> String {
        let mounts =
            json!([{"name": "v", "mountPath": "/srv/own/"}, {"name": "v", "mountPath": "/a"}]);
        let container = skiff_json::from_value(json!({"name": "c", "volumeMounts": mounts}));
        let container: Container = container.expect("a container");
        let volume = Mounted { path: "/host".into(), readonly: false };
        let volumes = BTreeMap::from([("v".to_owned(), volume)]);
        let own = [("/etc/hosts".to_owned(), PathBuf::from("/host/hosts"))];
        let declared: Vec<String> = declared.iter().map(|path| (*path).to_owned()).collect();
        match super::mounts(&container, &volumes, &own, &[], declared.iter()) {
            Err(why) => why,
            Ok(all) => {
                let own = all.into_iter().filter(|mount| mount.source == MountSource::Own);
                own.map(|mount| mount.target.display().to_string()).collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn volumes_of_the_image_that_nothing_covers() {
        for (declared, wanted) in [
            (&["/data", "/var/lib/x/", "rel/./x"][..], "/data /rel/x /var/lib/x"),
            (&["/srv/own", "/srv/own/below", "/a/b", "/etc/hosts"], ""),
            (&["/srv", "/b/../a", "/ab"], "/srv /ab"),
            (&["/", "/..", "/proc", "/proc/1/root", "/x/../sys/fs/cgroup", "/dev/shm"], ""),
            (&["/process", "/data", "/data/", "//data"], "/process /data"),
        ] {
            assert_eq!(check(declared), wanted, "{declared:?}");
        }
        let many: Vec<String> = (0..129).map(|n| format!("/v{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(check(&many), "the image declares more than 128 volumes");
        assert_eq!(check(&many[1..]).split(' ').count(), 128);
    }
}
