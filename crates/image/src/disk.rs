//! Files of a store: replaced as a whole, and read if they are there.

use std::io;
use std::path::Path;

use crate::error::Error;

/// Replaces `folder/name` as a whole.
pub(crate) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let path = folder.join(name);
    let written = skiff_base::disk::replace(&path, bytes, 0o666);
    written.map_err(Error::file("write", &path))
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
