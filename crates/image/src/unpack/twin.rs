//! A second copy of an unpacked layer.
//!
//! A layer that depends on those below it ([`super::settle`]) can stand in two places: twice in one
//! image, or in two images of one archive. Each place gets a copy to settle. Folders are made anew,
//! everything else is a hard link: files of layers never change.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Mode};
use rustix::io::Errno;

use crate::error::Error;
use crate::unpack::path::{OPEN_DIR, failed};
use crate::unpack::settle::{names, wear};
use crate::unpack::whiteout::{OPAQUE_XATTR, make_opaque};

/// Copies the folder `from` into `into`, an empty folder of the same file system.
pub(crate) fn copy(from: &Path, into: &Path) -> Result<(), Error> {
    let open = |path: &Path| fs::open(path, OPEN_DIR, Mode::empty());
    let copied = open(from).and_then(|from| folder(from.as_fd(), open(into)?.as_fd()));
    copied.map_err(failed(into.as_os_str().as_encoded_bytes()))
}

fn folder(from: BorrowedFd, into: BorrowedFd) -> Result<(), Errno> {
    for name in names(from)? {
        let stat = fs::statat(from, &name[..], AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            fs::linkat(from, &name[..], into, &name[..], AtFlags::empty())?;
            continue;
        }
        fs::mkdirat(into, &name[..], Mode::from_raw_mode(0o700))?;
        let open = |dir: BorrowedFd| fs::openat(dir, &name[..], OPEN_DIR, Mode::empty());
        folder(open(from)?.as_fd(), open(into)?.as_fd())?;
    }
    if fs::fgetxattr(from, OPAQUE_XATTR, &mut [0; 8]).is_ok() {
        make_opaque(into)?;
    }
    wear(from, into, &fs::fstat(from)?)
}
