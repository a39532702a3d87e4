//! Images outside of a store: all of them as one tar, and a new store of such a tar.
//!
//! The tar is the store's own folder without what is not an image's: `index.json`, `blobs/`, `snapshots/`. Layers are
//! packed as they lie there, with whiteouts as layers have them, and unpacked with the same care as a stranger's layer.
//! No digest is asked of them, for it is not the tar that they came in: whoever keeps the stream vouches for its bytes.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::disk;
use crate::error::Error;
use crate::index::Index;
use crate::store::Images;
use crate::unpack::limits::Limits;
use crate::unpack::whiteout::OPAQUE_XATTR;
use crate::unpack::{is_kept, unpack};

/// An attribute's value (xattr(7)).
const XATTR_MOST: usize = 64 << 10;

type Tar<'a> = tar::Builder<&'a mut dyn Write>;

impl Images {
    /// Writes all images; how many. What is removed meanwhile stays until they are written.
    ///
    /// # Errors
    /// What the disk, or whoever takes the stream, says.
    pub fn save(&self, out: &mut dyn Write) -> Result<usize, Error> {
        let index = self.index().of_images();
        let numbers: Vec<u64> = index.snapshots.keys().copied().collect();
        let gone = || Error::NoSuchImage("one that was just removed".to_owned());
        let _lease = self.lease_snapshots(numbers.clone()).ok_or_else(gone)?;
        let root = &self.inner.root;
        let save = || -> io::Result<()> {
            let mut tar = tar::Builder::new(out);
            document(&mut tar, Path::new("index.json"), &serde_json::to_vec(&index)?)?;
            for digest in index.blobs() {
                let name = Path::new("blobs").join(digest.hex());
                document(&mut tar, &name, &std::fs::read(root.join(&name))?)?;
            }
            for number in numbers {
                pack(&mut tar, root, Path::new("snapshots").join(number.to_string()))?;
            }
            tar.into_inner()?.flush()
        };
        save().map_err(Error::file("save the images of", root))?;
        Ok(index.images().count())
    }
}

/// Makes a store of a saved stream, in a folder that is not there yet.
///
/// # Errors
/// It is damaged, or the disk is full; then the folder is of no use.
pub fn take(root: &Path, from: &mut dyn Read) -> Result<(), Error> {
    disk::make_dir(root)?;
    // The limits of a layer are a stranger's; all layers together may be more.
    let limits = Limits { layer_bytes: u64::MAX, entries: u64::MAX, ..Limits::default() };
    unpack(from, root, limits)?;
    // It names nothing that is not there.
    Index::read(root).map(drop)
}

fn document(tar: &mut Tar<'_>, name: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(bytes.len() as u64);
    header.set_mode(0o600);
    tar.append_data(&mut header, name, bytes)
}

/// Packs a folder below a root with all below it.
fn pack(tar: &mut Tar<'_>, root: &Path, folder: PathBuf) -> io::Result<()> {
    let mut links = BTreeMap::new();
    let mut folders = vec![folder];
    while let Some(inner) = folders.pop() {
        let full = root.join(&inner);
        entry(tar, &full, &inner, &std::fs::symlink_metadata(&full)?, &mut links)?;
        if attribute(&full, OPAQUE_XATTR.as_bytes())?.as_deref() == Some(b"y") {
            document(tar, &inner.join(".wh..wh..opq"), b"")?;
        }
        let mut names: Vec<_> =
            full.read_dir()?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
        names.sort();
        for name in names {
            let (inner, full) = (inner.join(&name), full.join(&name));
            let found = std::fs::symlink_metadata(&full)?;
            if found.is_dir() {
                folders.push(inner);
            } else if found.file_type().is_char_device() && found.rdev() == 0 {
                let hidden = [b".wh.", name.as_bytes()].concat();
                document(tar, &inner.with_file_name(std::ffi::OsStr::from_bytes(&hidden)), b"")?;
            } else {
                entry(tar, &full, &inner, &found, &mut links)?;
            }
        }
    }
    Ok(())
}

fn entry(
    tar: &mut Tar<'_>,
    full: &Path,
    name: &Path,
    found: &Metadata,
    links: &mut BTreeMap<(u64, u64), PathBuf>,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_metadata_in_mode(found, tar::HeaderMode::Complete);
    let kind = found.file_type();
    if found.nlink() > 1 && !kind.is_dir() {
        if let Some(first) = links.get(&(found.dev(), found.ino())) {
            header.set_entry_type(tar::EntryType::Link);
            header.set_size(0);
            return tar.append_link(&mut header, name, first);
        }
        links.insert((found.dev(), found.ino()), name.to_owned());
    }
    if !kind.is_symlink() {
        let kept = attributes(full)?;
        let records = kept.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        if !kept.is_empty() {
            tar.append_pax_extensions(records)?;
        }
    }
    if kind.is_symlink() {
        header.set_size(0);
        return tar.append_link(&mut header, name, std::fs::read_link(full)?);
    }
    if kind.is_file() {
        header.set_size(found.len());
        return tar.append_data(&mut header, name, File::open(full)?.take(found.len()));
    }
    if kind.is_block_device() || kind.is_char_device() {
        header.set_device_major(rustix::fs::major(found.rdev()))?;
        header.set_device_minor(rustix::fs::minor(found.rdev()))?;
    }
    header.set_size(0);
    tar.append_data(&mut header, name, io::empty())
}

/// The attributes that unpacking keeps, as records of a pax header.
fn attributes(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0; XATTR_MOST];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let mut kept = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| is_kept(name)) {
        if let Some(value) = attribute(path, name)? {
            kept.push((format!("SCHILY.xattr.{}", String::from_utf8_lossy(name)), value));
        }
    }
    Ok(kept)
}

fn attribute(path: &Path, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; XATTR_MOST];
    match rustix::fs::lgetxattr(path, name, &mut value[..]) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreOptions;
    use crate::unpack::tests::{Tape, Temp, list};
    use skiff_base::World;

    #[test]
    fn a_folder_comes_back_as_it_was() {
        let (one, other) = (Temp::new(), Temp::new());
        let tape = Tape::default()
            .dir("a")
            .file("a/b", "text")
            .hard_link("a/c", "a/b")
            .symlink("a/d", "/etc/passwd")
            .file("a/.wh.gone", "")
            .dir("o")
            .file("o/.wh..wh..opq", "")
            .pax(&[("SCHILY.xattr.user.a", "x")])
            .file("o/y", "y")
            .end();
        let (from, into) = (one.0.join("1"), other.0.join("1"));
        std::fs::create_dir(&from).unwrap();
        unpack(&mut &tape[..], &from, Limits::default()).unwrap();
        let mut stream = Vec::new();
        let out: &mut dyn Write = &mut stream;
        let mut tar = tar::Builder::new(out);
        pack(&mut tar, &one.0, "1".into()).unwrap();
        tar.finish().unwrap();
        drop(tar);
        unpack(&mut &stream[..], &other.0, Limits::default()).unwrap();
        assert_eq!(list(&from), list(&into));
        assert!(list(&from).lines().count() > 6, "{}", list(&from));
    }

    #[test]
    fn a_store_is_made_of_what_was_saved_and_of_nothing_less() {
        let (one, other, bad) = (Temp::new(), Temp::new(), Temp::new());
        let open = |path: &Path| Images::open(path, StoreOptions::new(World::real())).unwrap();
        let images = open(&one.0.join("images"));
        let mut stream = Vec::new();
        assert_eq!(images.save(&mut stream).unwrap(), 0);
        take(&other.0.join("images"), &mut &stream[..]).unwrap();
        assert!(open(&other.0.join("images")).list().is_empty());
        assert!(take(&bad.0.join("images"), &mut &stream[..100]).is_err());
    }
}
