//! A path of the machine itself, checked or made by its type (API reference: HostPathVolumeSource).

use super::{Given, Mounted, Place, Source};
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{HostPath, Volume};
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

pub fn source(_: &Pod, volume: &Volume) -> Option<Arc<dyn Source>> {
    let host = volume.host_path.clone()?;
    Some(Arc::new(host))
}

impl Source for HostPath {
    /// There is no folder of this name: nothing here is the pod's.
    fn plugin(&self) -> &'static str {
        "host-path"
    }

    fn mounted(&self, _: &Path) -> Mounted {
        Mounted { path: self.path.clone().into(), readonly: false }
    }

    fn mount(&self, _: &Place, _: &Given) -> Result<(), String> {
        check(Path::new(&self.path), &self.type_)
    }

    /// The machine's paths are the machine's.
    fn unmount(&self, _: &Path) -> Result<(), String> {
        Ok(())
    }
}

/// Whether a path is what it should be; what may be made is made.
pub fn check(path: &Path, type_: &str) -> Result<(), String> {
    let shown = path.display();
    let made = match type_ {
        "DirectoryOrCreate" if !path.exists() => fs::create_dir_all(path),
        "FileOrCreate" if !path.exists() => fs::write(path, b""),
        _ => Ok(()),
    };
    made.map_err(|e| format!("hostPath type check failed: cannot make {shown}: {e}"))?;
    let kind = fs::metadata(path).map(|meta| meta.file_type());
    let (good, wanted) = match type_ {
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
