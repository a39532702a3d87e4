//! A folder that lives as long as the pod and that everybody may write to, on the disk or in memory
//! (API reference: EmptyDirVolumeSource). It is there as a whole or not at all: a folder gets its
//! name when it is done, a tmpfs has mode and group from its mount.

use super::table::Table;
use super::{Found, Given, MEMORY_MODE, Mounted, Place, Source, remove};
use rustix::mount::{MountFlags, mount};
use skiff_api::quantity::Quantity;
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{EmptyDir, Volume};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;

const DISK_MODE: u32 = 0o777;
/// New files in the folder belong to its group.
const SETGID: u32 = 0o2000;
const TMPFS: &str = "tmpfs";

pub fn source(_: &Pod, volume: &Volume) -> Option<Arc<dyn Source>> {
    let empty = volume.empty_dir.clone()?;
    Some(Arc::new(empty))
}

impl Source for EmptyDir {
    fn plugin(&self) -> &'static str {
        "empty-dir"
    }

    fn mounted(&self, dir: &Path) -> Mounted {
        Mounted { path: dir.to_owned(), readonly: false }
    }

    fn mount(&self, place: &Place, _: &Given) -> Result<(), String> {
        match &*self.medium {
            "" => on_disk(place),
            "Memory" => {
                let size = self.size_limit.as_deref().map(Quantity::parse);
                let size = size.transpose().map_err(|e| e.to_string())?;
                in_memory(place, size.map_or(0, |size| size.value()))
            }
            medium => {
                let medium = format!("emptyDir.medium {medium:?}");
                return Err(format!("{medium} is not supported by this node"));
            }
        }
        .map_err(|e| e.to_string())
    }

    fn stands(&self, dir: &Path, found: &Found) -> bool {
        match &*self.medium {
            "Memory" => found.table.shows(dir, TMPFS),
            _ => dir.is_dir(),
        }
    }
}

fn on_disk(place: &Place) -> io::Result<()> {
    let Place { dir, group, .. } = place;
    if dir.is_dir() {
        return Ok(());
    }
    let (above, name) = dir.parent().zip(dir.file_name()).ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(above)?;
    // No volume has a name like this.
    let fresh = above.join([".".as_ref(), name].join("".as_ref()));
    remove::clear(&fresh).map_err(io::Error::other)?;
    fs::create_dir(&fresh)?;
    chown(&fresh, None, *group)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(mode(DISK_MODE, *group)))?;
    fs::rename(fresh, dir)
}

/// `size` in bytes; 0 is the kernel's own limit.
fn in_memory(place: &Place, size: i64) -> io::Result<()> {
    let Place { dir, group, .. } = place;
    fs::create_dir_all(dir)?;
    if Table::read()?.shows(&dir.canonicalize()?, TMPFS) {
        return Ok(());
    }
    let mut options = format!("mode={:o}", mode(MEMORY_MODE, *group));
    if size > 0 {
        options += &format!(",size={size}");
    }
    if let Some(group) = group {
        options += &format!(",gid={group}");
    }
    Ok(mount(TMPFS, dir, TMPFS, MountFlags::empty(), CString::new(options)?.as_c_str())?)
}

fn mode(mode: u32, group: Option<u32>) -> u32 {
    if group.is_some() { mode | SETGID } else { mode }
}
