//! Volumes: the folders of this node that a pod's containers see.
//!
//! `prepare` reads what the API has to say, then makes the folders on a thread that may wait. It is
//! repeatable: what is there already is kept, what has changed in the API is swapped in at once, so
//! that a reader sees all of the old files or all of the new. What this node cannot mount is
//! refused by the name of its field. Never here: a mount into a container (that is the runtime's).

mod atomic;
mod folders;
pub mod payload;
mod tokens;

use crate::container::fields::Addresses;
use crate::rim::Rim;
use crate::sources::{Names, Sources};
use payload::{File, Given};
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::Volume;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use tokens::Token;

/// The folder of a config map is one of the disk upstream, the others are in memory.
const CONFIG_MODE: u32 = 0o777;

/// A volume that containers can mount.
#[derive(Debug, Clone, PartialEq)]
pub struct Mounted {
    pub path: PathBuf,
    pub readonly: bool,
}

/// What has to be made for one volume.
#[derive(Debug, Clone)]
enum Todo {
    /// Files that follow the API, in a folder that is swapped.
    Files {
        dir: PathBuf,
        mode: u32,
        files: BTreeMap<String, File>,
    },
    Empty {
        dir: PathBuf,
        memory: bool,
        size: Option<u64>,
    },
    Host {
        path: PathBuf,
        sort: String,
    },
}

/// All volumes of a pod, by name.
pub async fn prepare(
    rim: &Rim,
    pod: &Pod,
    addresses: &Addresses,
    tokens: &mut BTreeMap<(String, String), Token>,
) -> Result<BTreeMap<String, Mounted>, String> {
    let names = Names::of_volumes(pod);
    let sources = Sources::read(&rim.client, &pod.metadata.namespace, &names)
        .await
        .map_err(|status| status.to_string())?;
    tokens::renew(rim, pod, tokens).await?;
    let given = Given { pod, sources: &sources, tokens, addresses, node: rim.machine.capacity() };
    let root = rim.pod_dir(&pod.metadata.uid).join("volumes");
    let mut todo = Vec::new();
    let mut mounted = BTreeMap::new();
    for volume in &pod.spec.volumes {
        let step = plan(volume, &given, &root).map_err(|why| {
            format!("MountVolume.SetUp failed for volume {:?} : {why}", volume.name)
        })?;
        mounted.insert(volume.name.clone(), shown(&step));
        todo.push((volume.name.clone(), step));
    }
    let group = pod.spec.security_context.fs_group;
    let stamp = rim.world.now().as_nanosecond().to_string();
    rim.blocking(move || make(&todo, group, &stamp)).await?;
    Ok(mounted)
}

fn shown(step: &Todo) -> Mounted {
    match step {
        Todo::Files { dir, .. } => Mounted { path: dir.clone(), readonly: true },
        Todo::Empty { dir, .. } => Mounted { path: dir.clone(), readonly: false },
        Todo::Host { path, .. } => Mounted { path: path.clone(), readonly: false },
    }
}

fn plan(volume: &Volume, given: &Given<'_>, root: &Path) -> Result<Todo, String> {
    let dir = |plugin: &str| root.join(format!("kubernetes.io~{plugin}")).join(&volume.name);
    let files = |plugin: &str, files| {
        let mode = if plugin == "configmap" { CONFIG_MODE } else { folders::MEMORY_MODE };
        Ok(Todo::Files { dir: dir(plugin), mode, files })
    };
    if let Some(map) = &volume.config_map {
        return files("configmap", payload::config_map(map, given)?);
    }
    if let Some(secret) = &volume.secret {
        return files("secret", payload::secret(secret, given)?);
    }
    if let Some(downward) = &volume.downward_api {
        return files("downward-api", payload::downward(downward, given)?);
    }
    if let Some(projected) = &volume.projected {
        return files("projected", payload::projected(projected, given)?);
    }
    if let Some(empty) = &volume.empty_dir {
        if empty.medium.starts_with("HugePages") {
            return Err(format!(
                "emptyDir.medium {:?} is not supported by this node",
                empty.medium
            ));
        }
        let size = empty.size_limit.as_deref().map(skiff_api::quantity::Quantity::parse);
        let size = size.transpose().map_err(|e| e.to_string())?.map(|q| q.value().max(0) as u64);
        return Ok(Todo::Empty { dir: dir("empty-dir"), memory: empty.medium == "Memory", size });
    }
    if let Some(host) = &volume.host_path {
        return Ok(Todo::Host { path: host.path.clone().into(), sort: host.sort.clone() });
    }
    if volume.image.is_some() {
        return Err("volumes of type image are not supported by this node".into());
    }
    if volume.persistent_volume_claim.is_some() {
        return Err("volumes of type persistentVolumeClaim are not supported by this node".into());
    }
    let field = volume.other.keys().next().map_or("", String::as_str);
    Err(format!("volumes of type {field} are not supported by this node"))
}

fn make(todo: &[(String, Todo)], group: Option<u32>, stamp: &str) -> Result<(), String> {
    for (name, step) in todo {
        let done = match step {
            Todo::Files { dir, mode, files } => {
                atomic::write(dir, *mode, files, group, stamp).map_err(|e| e.to_string())
            }
            Todo::Empty { dir, memory, size } => {
                folders::empty(dir, *memory, *size, group).map_err(|e| e.to_string())
            }
            Todo::Host { path, sort } => folders::host(path, sort),
        };
        done.map_err(|why| format!("MountVolume.SetUp failed for volume {name:?} : {why}"))?;
    }
    Ok(())
}

/// Unmounts and removes all that `prepare` made for a pod.
pub fn remove(pod_dir: &Path) -> Result<(), String> {
    folders::remove(pod_dir).map_err(|e| format!("remove {}: {e}", pod_dir.display()))
}
