//! Device nodes of a container, and the rules about which may be opened.
//!
//! Every container has the harmless ones. A privileged one has all of the machine's; others have
//! those that they list. Nodes are facts about the machine: they are read before the container's
//! own root is entered, and made after.

use super::cgroup::bpf::{DEFAULT, Kind, MKNOD, READ, Rule, WRITE};
use super::inside::{Dangling, Inside, Shape};
use super::mounts;
use crate::spec::{ContainerSpec, Device};
use crate::{Error, Result, failed, sys};
use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// Below /dev of the machine, these are never shown: the container has its own.
const OWN: [&str; 8] = [
    "/dev/pts",
    "/dev/shm",
    "/dev/mqueue",
    "/dev/fd",
    "/dev/console",
    "/dev/ptmx",
    "/dev/lxc",
    "/dev/.udev",
];
/// Folders of devices are searched this deep (/dev/bus/usb/001, /dev/disk are the deepest).
const MAX_DEPTH: usize = 4;

/// A node to make.
pub(super) struct Node {
    path: PathBuf,
    number: u64,
    mode: u32,
    uid: u32,
    gid: u32,
}

/// What a container gets.
pub(super) fn nodes(spec: &ContainerSpec) -> Result<Vec<Node>> {
    let plain = [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8)]
        .into_iter()
        .chain([("urandom", 1, 9), ("tty", 5, 0)]);
    let mut nodes: Vec<Node> = plain
        .map(|(name, major, minor)| Node {
            path: Path::new("/dev").join(name),
            number: libc::makedev(major, minor),
            mode: libc::S_IFCHR | 0o666,
            uid: 0,
            gid: 0,
        })
        .collect();
    if spec.security.privileged {
        let known: Vec<PathBuf> = nodes.iter().map(|node| node.path.clone()).collect();
        collect(Path::new("/dev"), 0, &known, &mut nodes)?;
    }
    for device in &spec.devices {
        let (number, mode, uid, gid) = mounts::node(&device.host_path)?;
        nodes.retain(|node| node.path != device.path);
        nodes.push(Node { path: device.path.clone(), number, mode, uid, gid });
    }
    Ok(nodes)
}

fn collect(folder: &Path, depth: usize, known: &[PathBuf], into: &mut Vec<Node>) -> Result<()> {
    let listing = std::fs::read_dir(folder).map_err(failed(folder.display()))?;
    for entry in listing {
        let path = entry.map_err(failed(folder.display()))?.path();
        if OWN.iter().any(|own| path == Path::new(own)) || known.contains(&path) {
            continue;
        }
        // Devices come and go (a loop device, a USB stick): one that has just gone is not there.
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        let kind = found.file_type();
        if kind.is_dir() && depth < MAX_DEPTH {
            collect(&path, depth + 1, known, into)?;
        } else if kind.is_char_device() || kind.is_block_device() {
            let (number, mode) = (found.rdev(), found.mode());
            into.push(Node { path, number, mode, uid: found.uid(), gid: found.gid() });
        }
    }
    Ok(())
}

/// Makes them and the usual links, inside the container's root.
pub(super) fn make(root: &Inside, nodes: &[Node]) -> Result<()> {
    for node in nodes {
        make_node(root, node)
            .map_err(failed(format_args!("make device {}", node.path.display())))?;
    }
    for (target, link) in [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
        ("pts/ptmx", "/dev/ptmx"),
    ] {
        symlink(target, link).map_err(failed(link))?;
    }
    Ok(())
}

fn make_node(root: &Inside, node: &Node) -> io::Result<()> {
    let (Some(parent), Some(name)) = (node.path.parent(), node.path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let parent = root.make(parent, Shape::Folder, 0o755, Dangling::Made)?;
    let name = CString::new(name.as_bytes())?;
    sys::mknod_at(parent.as_fd(), &name, node.mode, node.number)?;
    if (node.uid, node.gid) != (0, 0) {
        sys::chown_at(parent.as_fd(), &name, node.uid, node.gid)?;
    }
    Ok(())
}

/// The rules for a container's cgroup; None allows everything.
pub(crate) fn rules(spec: &ContainerSpec) -> Result<Option<Vec<Rule>>> {
    if spec.security.privileged {
        return Ok(None);
    }
    let mut rules = DEFAULT.to_vec();
    for device in &spec.devices {
        let (number, mode, ..) = mounts::node(&device.host_path)?;
        let block = mode & libc::S_IFMT == libc::S_IFBLK;
        rules.push(Rule {
            kind: if block { Kind::Block } else { Kind::Character },
            major: Some(libc::major(number)),
            minor: Some(libc::minor(number)),
            access: access(device)?,
        });
    }
    Ok(Some(rules))
}

fn access(device: &Device) -> Result<u32> {
    let mut access = 0;
    for letter in device.access.chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            _ => {
                let path = device.path.display();
                return Err(Error::Invalid(format!("access \"{letter}\" of device {path}")));
            }
        };
    }
    Ok(access)
}
