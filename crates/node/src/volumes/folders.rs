//! Volumes that are plain folders: those that live as long as the pod, and the machine's own.

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;

const EMPTY_MODE: u32 = 0o777;
/// In memory nobody removes what is another's, as a fresh tmpfs has it (tmpfs(5)).
pub const MEMORY_MODE: u32 = 0o1777;
/// New files in the folder belong to its group.
const SETGID: u32 = 0o2000;

/// An emptyDir: a folder that everybody may write to, in memory if it is asked for.
pub fn empty(dir: &Path, memory: bool, size: Option<u64>, group: Option<u32>) -> io::Result<()> {
    let fresh = !dir.exists();
    fs::create_dir_all(dir)?;
    if memory && !is_mount(dir)? {
        let options = size.filter(|size| *size > 0).map(|size| format!("size={size}"));
        let options = std::ffi::CString::new(options.unwrap_or_default())?;
        mount("tmpfs", dir, "tmpfs", MountFlags::empty(), options.as_c_str())?;
    } else if !fresh {
        return Ok(());
    }
    let mode = if memory { MEMORY_MODE } else { EMPTY_MODE };
    let mode = if group.is_some() { mode | SETGID } else { mode };
    chown(dir, None, group)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(mode))
}

fn is_mount(dir: &Path) -> io::Result<bool> {
    let parent = dir.parent().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(fs::metadata(dir)?.dev() != fs::metadata(parent)?.dev())
}

/// A path of the machine, checked or made by its type (API reference: HostPathVolumeSource).
pub fn host(path: &Path, sort: &str) -> Result<(), String> {
    let shown = path.display();
    let made = match sort {
        "DirectoryOrCreate" if !path.exists() => fs::create_dir_all(path),
        "FileOrCreate" if !path.exists() => fs::write(path, b""),
        _ => Ok(()),
    };
    made.map_err(|e| format!("hostPath type check failed: cannot make {shown}: {e}"))?;
    let kind = fs::metadata(path).map(|meta| meta.file_type());
    let (good, wanted) = match sort {
        "" if kind.is_err() => {
            // Upstream's runtimes make a missing path a folder.
            return fs::create_dir_all(path).map_err(|e| format!("cannot make {shown}: {e}"));
        }
        "" => return Ok(()),
        "Directory" | "DirectoryOrCreate" => (kind.is_ok_and(|k| k.is_dir()), "a directory"),
        "File" | "FileOrCreate" => (kind.is_ok_and(|k| k.is_file()), "a file"),
        "Socket" => (kind.is_ok_and(|k| k.is_socket()), "a socket file"),
        "CharDevice" => (kind.is_ok_and(|k| k.is_char_device()), "a character device"),
        "BlockDevice" => (kind.is_ok_and(|k| k.is_block_device()), "a block device"),
        other => return Err(format!("hostPath type {other:?} is not known")),
    };
    if good { Ok(()) } else { Err(format!("hostPath type check failed: {shown} is not {wanted}")) }
}

/// Removes a pod's folder; what is mounted below it is unmounted, never entered.
pub fn remove(dir: &Path) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let below = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|place| Path::new(place).starts_with(dir));
    let mut below: Vec<&str> = below.collect();
    below.reverse();
    for place in below {
        unmount(place, UnmountFlags::DETACH)?;
    }
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
