//! Files that survive a crash: written beside, synced, renamed, and the folder synced.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::error::Error;

/// Marks what is not finished; the store removes it when it is opened.
pub(crate) const TEMPORARY: &str = ".new";

/// Replaces `folder/name` as a whole.
pub(crate) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let temporary = folder.join(format!("{name}{TEMPORARY}"));
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, folder.join(name))?;
        File::open(folder)?.sync_all()
    };
    write().map_err(Error::file("write", &folder.join(name)))
}

pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

/// Makes a folder that only root can look into (its parents as well): layers hold setuid programs.
pub(crate) fn make_dir(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).map_err(Error::file("make folder", path))
}

/// Removes a folder with all below it; none is fine.
pub(crate) fn remove_dir(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// The names in a folder.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, Error> {
    let fail = || Error::file("list", path);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fail())? {
        let name = entry.map_err(fail())?.file_name();
        // Everything in the store's own folders is named by the store: digits, hex, checked IDs.
        names.push(name.to_string_lossy().into_owned());
    }
    Ok(names)
}
