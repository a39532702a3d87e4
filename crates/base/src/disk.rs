//! Disk: a small file is replaced as a whole. Whoever reads it, or is cut off half-way, has the old one or the new.

use std::fs::{File, OpenOptions};
use std::io::{Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a file beside (its name with the extension `new`), synced, and renames it; the umask takes from `mode`.
/// The folder is synced too: a file that was told of is there after a power cut.
///
/// # Errors
/// What the file system says; then the old one is still there.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let fresh = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_the_old_one_or_the_new() {
        let folder = std::env::temp_dir().join(format!("skiff-disk-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.json");
        replace(&path, b"one", 0o600).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // What cannot be written beside leaves what is there.
        std::fs::create_dir(folder.join("a.new")).unwrap();
        replace(&path, b"three", 0o600).unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
