//! Whiteouts: how a layer says that something below it is gone.
//!
//! In a tar (OCI image spec, "Layer Filesystem Changeset") the empty file `.wh.NAME` hides NAME of
//! the layers below, and `.wh..wh..opq` hides everything that they have in its folder. Overlayfs
//! (kernel documentation, "whiteouts and opaque directories") wants a character device 0:0 called
//! NAME, and the attribute `trusted.overlay.opaque` = `y` on the folder.
//!
//! A whiteout hides what is below, never what its own layer brings, in whatever order they come.

use std::os::fd::AsFd;

use rustix::fs::{self, AtFlags, FileType, Mode, Stat, XattrFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::unpack::path::{Tree, failed, refused};

const PREFIX: &[u8] = b".wh.";
/// Names that begin so are AUFS's own; only the opaque mark among them means something.
const META_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
pub(crate) const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// What a file name in a tar means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    Plain,
    /// Hide this name of the layers below.
    Whiteout(&'a [u8]),
    /// Hide all that the layers below have in this folder.
    Opaque,
    /// Left over from AUFS.
    Ignore,
}

pub(crate) fn meaning(last: &[u8]) -> Meaning<'_> {
    match last.strip_prefix(PREFIX) {
        None => Meaning::Plain,
        _ if last == OPAQUE => Meaning::Opaque,
        _ if last.starts_with(META_PREFIX) => Meaning::Ignore,
        Some(name) => Meaning::Whiteout(name),
    }
}

/// Hides `name` in the tree's current directory.
pub(crate) fn hide(tree: &mut Tree, name: &[u8], entry: &[u8]) -> Result<(), Error> {
    if matches!(name, b"" | b"." | b"..") {
        return Err(refused(entry, "this whiteout hides no file"));
    }
    let made = fs::mknodat(tree.here(), name, FileType::CharacterDevice, Mode::empty(), 0);
    match made {
        Ok(()) => {
            tree.touch();
            Ok(())
        }
        // This layer's own directory stays, and hides what is below it; so does any other file.
        Err(Errno::EXIST) => {
            let stat =
                fs::statat(tree.here(), name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed(entry))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Ok(());
            }
            let flags = fs::OFlags::RDONLY | fs::OFlags::DIRECTORY | fs::OFlags::NOFOLLOW;
            let dir = fs::openat(tree.here(), name, flags | fs::OFlags::CLOEXEC, Mode::empty())
                .map_err(failed(entry))?;
            make_opaque(&dir).map_err(failed(entry))
        }
        Err(errno) => Err(failed(entry)(errno)),
    }
}

pub(crate) fn make_opaque(dir: impl AsFd) -> Result<(), Errno> {
    fs::fsetxattr(dir, OPAQUE_XATTR, b"y", XattrFlags::empty())
}

pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_meanings() {
        for (name, wanted) in [
            (".wh.a", Meaning::Whiteout(b"a")),
            (".wh.", Meaning::Whiteout(b"")),
            (".wh..", Meaning::Whiteout(b".")),
            (".wh..hidden", Meaning::Whiteout(b".hidden")),
            (".wh..wh..opq", Meaning::Opaque),
            (".wh..wh.plnk", Meaning::Ignore),
            ("a.wh.b", Meaning::Plain),
        ] {
            assert_eq!(meaning(name.as_bytes()), wanted, "{name}");
        }
    }
}
