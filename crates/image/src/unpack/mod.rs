//! Unpacking a layer: a tar from a stranger becomes a folder that overlayfs can use.
//!
//! Owners, modes (setuid included), times, attributes, hard links, devices and holes come out as
//! they were packed. An entry replaces an earlier one of the same name. Nothing is ever written
//! outside of the folder ([`path`]), nothing costs more than [`limits`] say, and whoever calls
//! throws the folder away when this fails.
//!
//! One thing cannot be known from a layer alone: entries in folders that only a layer below
//! describes, and hard links to files there. They are noted as [`Loose`] and settled when the
//! layers below are known ([`settle`]); hardly any layer has them.

pub(crate) mod decompress;
pub mod limits;
pub(crate) mod path;
pub(crate) mod pax;
pub(crate) mod settle;
pub(crate) mod sparse;
pub(crate) mod tar;
pub(crate) mod twin;
pub(crate) mod whiteout;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::digest::{Digest, HashReader};
use crate::error::Error;
use crate::unpack::limits::{LOOSE_BYTES_MAX, Limits, PATH_MAX};
use crate::unpack::path::{Implied, Tree, failed, refused};
use crate::unpack::sparse::Piece;
use crate::unpack::tar::{Kind, Member, Tar};
use crate::unpack::whiteout::Meaning;

/// Bytes that are written at once.
const CHUNK: usize = 256 << 10;

/// What came out of a layer.
#[derive(Clone, Debug)]
pub(crate) struct Unpacked {
    /// The digest of the uncompressed tar.
    pub(crate) diff_id: Digest,
    /// Bytes of all files.
    pub(crate) bytes: u64,
    pub(crate) loose: Loose,
    /// Whether the layer describes the root folder itself.
    pub(crate) root: bool,
}

/// What depends on the layers below.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loose {
    /// Folders without an entry of their own.
    pub(crate) dirs: BTreeSet<Vec<u8>>,
    /// Hard links to files that the layer does not have: path and target.
    pub(crate) links: BTreeMap<Vec<u8>, Vec<u8>>,
    bytes: usize,
}

impl Loose {
    pub(crate) fn is_empty(&self) -> bool {
        self.dirs.is_empty() && self.links.is_empty()
    }

    /// Forgets a folder that was removed, and what lay in it.
    fn forget(&mut self, gone: &[u8]) {
        let inside = [gone, b"/"].concat();
        self.dirs.remove(gone);
        while let Some(dir) = self.dirs.range(inside.clone()..).next().cloned()
            && dir.starts_with(&inside)
        {
            self.dirs.remove(&dir);
        }
        while let Some(link) =
            self.links.range(inside.clone()..).next().map(|(path, _)| path.clone())
            && link.starts_with(&inside)
        {
            self.links.remove(&link);
        }
    }

    fn count(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes += bytes + 64;
        match self.bytes > LOOSE_BYTES_MAX {
            true => Err(tar::bad("too many entries lie in folders that it does not describe")),
            false => Ok(()),
        }
    }
}

/// Unpacks an uncompressed tar into an empty folder, in one pass.
pub(crate) fn unpack(plain: &mut dyn Read, into: &Path, limits: Limits) -> Result<Unpacked, Error> {
    let mut hashed = HashReader::new(plain);
    let mut work = Work {
        tree: Tree::open(into)?,
        loose: Loose::default(),
        buffer: vec![0; CHUNK],
        bytes: 0,
        root: false,
        limits,
    };
    let mut tar = Tar::new(&mut hashed);
    let mut entries = 0;
    while let Some(member) = tar.next()? {
        entries += 1;
        if entries > limits.entries {
            return Err(tar::bad(&format!("it has more than {} entries", limits.entries)));
        }
        work.entry(&member, &mut tar)?;
    }
    decompress::drain(&mut hashed)?;
    let Work { tree, loose, bytes, root, .. } = work;
    tree.close().map_err(failed(b"/"))?;
    let (diff_id, _) = hashed.finish();
    Ok(Unpacked { diff_id, bytes, loose, root })
}

struct Work {
    tree: Tree,
    loose: Loose,
    buffer: Vec<u8>,
    bytes: u64,
    root: bool,
    limits: Limits,
}

impl Work {
    fn entry(&mut self, member: &Member, data: &mut dyn Read) -> Result<(), Error> {
        let parts = path::components(&member.path)?;
        let Some((last, parents)) = parts.split_last() else {
            return self.root(member);
        };
        if parents.iter().any(|part| whiteout::meaning(part) == Meaning::Ignore) {
            return Ok(());
        }
        let loose = &mut self.loose;
        self.tree.walk(parents, &member.path, &mut |implied: Implied| {
            loose.count(implied.path.len())?;
            loose.dirs.insert(implied.path.to_vec());
            Ok(())
        })?;
        match whiteout::meaning(last) {
            Meaning::Plain => {}
            Meaning::Whiteout(name) => return whiteout::hide(&mut self.tree, name, &member.path),
            Meaning::Opaque => {
                return whiteout::make_opaque(self.tree.here()).map_err(failed(&member.path));
            }
            Meaning::Ignore => return Ok(()),
        }
        match member.kind {
            Kind::Dir => self.dir(member, last)?,
            Kind::File => self.file(member, last, data)?,
            Kind::HardLink => self.hard_link(member, last)?,
            Kind::Symlink => self.symlink(member, last)?,
            Kind::Char | Kind::Block | Kind::Fifo => self.node(member, last)?,
        }
        self.tree.touch();
        Ok(())
    }

    fn root(&mut self, member: &Member) -> Result<(), Error> {
        if member.kind != Kind::Dir {
            return Err(refused(&member.path, "the root is not a folder"));
        }
        self.tree.walk(&[], &member.path, &mut |_| Ok(()))?;
        dress(self.tree.here(), member)?;
        self.tree.set_root_time(mtime(member));
        self.root = true;
        Ok(())
    }

    fn dir(&mut self, member: &Member, last: &[u8]) -> Result<(), Error> {
        let fail = || failed(&member.path);
        let mode = Mode::from_raw_mode(0o700);
        let mut opaque = false;
        if let Err(errno) = fs::mkdirat(self.tree.here(), last, mode) {
            if errno != Errno::EXIST {
                return Err(fail()(errno));
            }
            let stat = self.stat(last).map_err(fail())?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                self.described(last);
            } else {
                opaque = whiteout::is_whiteout(&stat);
                self.clear(last).map_err(fail())?;
                fs::mkdirat(self.tree.here(), last, mode).map_err(fail())?;
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = fs::openat(self.tree.here(), last, flags, Mode::empty()).map_err(fail())?;
        if opaque {
            whiteout::make_opaque(&dir).map_err(fail())?;
        }
        dress(dir.as_fd(), member)
    }

    fn file(&mut self, member: &Member, last: &[u8], data: &mut dyn Read) -> Result<(), Error> {
        if member.size > self.limits.layer_bytes {
            return Err(refused(&member.path, "the file is larger than a layer may be"));
        }
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd: OwnedFd = self.make(member, last, |dir, name| {
            fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))
        })?;
        let file = File::from(fd);
        let whole = [Piece { offset: 0, length: member.size }];
        for piece in member.pieces.as_deref().unwrap_or(&whole) {
            self.write(&file, *piece, data, &member.path)?;
        }
        if member.pieces.is_some() {
            fs::ftruncate(&file, member.size).map_err(failed(&member.path))?;
        }
        dress(file.as_fd(), member)
    }

    fn write(
        &mut self,
        file: &File,
        piece: Piece,
        data: &mut dyn Read,
        name: &[u8],
    ) -> Result<(), Error> {
        let (mut offset, mut left) = (piece.offset, piece.length);
        while left > 0 {
            let most = left.min(CHUNK as u64) as usize;
            let n = data.read(&mut self.buffer[..most]).map_err(Error::from_io)?;
            if n == 0 {
                return Err(refused(name, "its data ends too early"));
            }
            file.write_all_at(&self.buffer[..n], offset).map_err(|source| Error::Unpack {
                path: String::from_utf8_lossy(name).into_owned(),
                source: source.into(),
            })?;
            offset += n as u64;
            left -= n as u64;
            self.bytes += n as u64;
        }
        Ok(())
    }

    fn hard_link(&mut self, member: &Member, last: &[u8]) -> Result<(), Error> {
        // Like a name: from the root, some with the slash in front.
        let parts = path::components(&member.link)?;
        let Some((target_last, parents)) = parts.split_last() else {
            return Err(refused(&member.path, "a hard link to a folder"));
        };
        let path = self.tree.join(last);
        let here = self.tree.here().try_clone_to_owned().map_err(Error::from_io)?;
        let found = self.tree.find(parents, target_last, &member.path)?;
        let Some(dir) = found else {
            let target = parts.join(&b'/');
            self.loose.count(path.len() + target.len())?;
            self.loose.links.insert(path, target);
            return Ok(());
        };
        let link = || fs::linkat(&dir, *target_last, &here, last, AtFlags::empty());
        match link() {
            Err(Errno::EXIST) => {
                if self.same(&dir, target_last, last) {
                    return Ok(());
                }
                self.clear(last).map_err(failed(&member.path))?;
                link().map_err(failed(&member.path))
            }
            other => other.map_err(failed(&member.path)),
        }
    }

    /// Whether a hard link would replace a file by itself.
    fn same(&self, dir: &OwnedFd, target: &[u8], last: &[u8]) -> bool {
        let there = fs::statat(dir, target, AtFlags::SYMLINK_NOFOLLOW);
        match (there, self.stat(last)) {
            (Ok(a), Ok(b)) => (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino),
            _ => false,
        }
    }

    fn symlink(&mut self, member: &Member, last: &[u8]) -> Result<(), Error> {
        if member.link.is_empty() || member.link.len() > PATH_MAX || member.link.contains(&0) {
            return Err(refused(
                &member.path,
                "the target of a symbolic link is empty or too long",
            ));
        }
        self.make(member, last, |dir, name| fs::symlinkat(&member.link[..], dir, name))?;
        let (uid, gid) = owner(member)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        fs::chownat(self.tree.here(), last, Some(uid), Some(gid), flags)
            .and_then(|()| fs::utimensat(self.tree.here(), last, &times(member), flags))
            .map_err(failed(&member.path))
    }

    fn node(&mut self, member: &Member, last: &[u8]) -> Result<(), Error> {
        let kind = match member.kind {
            Kind::Char => FileType::CharacterDevice,
            Kind::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let (major, minor) = member.device;
        if kind == FileType::CharacterDevice && (major, minor) == (0, 0) {
            return Err(refused(&member.path, "character device 0:0 would be a whiteout"));
        }
        let device = fs::makedev(major, minor);
        self.make(member, last, |dir, name| {
            fs::mknodat(dir, name, kind, Mode::from_raw_mode(0o600), device)
        })?;
        let (uid, gid) = owner(member)?;
        let (here, flags) = (self.tree.here(), AtFlags::SYMLINK_NOFOLLOW);
        fs::chownat(here, last, Some(uid), Some(gid), flags)
            .and_then(|()| {
                fs::chmodat(here, last, Mode::from_raw_mode(member.mode), AtFlags::empty())
            })
            .and_then(|()| fs::utimensat(here, last, &times(member), flags))
            .map_err(failed(&member.path))
    }

    /// Makes something in the current directory, in place of what has that name.
    fn make<T>(
        &mut self,
        member: &Member,
        last: &[u8],
        how: impl Fn(BorrowedFd, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, Error> {
        match how(self.tree.here(), last) {
            Err(Errno::EXIST) => {
                self.clear(last).map_err(failed(&member.path))?;
                how(self.tree.here(), last).map_err(failed(&member.path))
            }
            other => other.map_err(failed(&member.path)),
        }
    }

    /// Removes a name, with all below it.
    fn clear(&mut self, last: &[u8]) -> Result<(), Errno> {
        let stat = self.stat(last)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return fs::unlinkat(self.tree.here(), last, AtFlags::empty());
        }
        let gone = self.tree.join(last);
        self.loose.forget(&gone);
        settle::remove_tree(self.tree.here(), last)
    }

    /// A folder that was implied has an entry after all.
    fn described(&mut self, last: &[u8]) {
        if !self.loose.dirs.is_empty() {
            self.loose.dirs.remove(&self.tree.join(last));
        }
    }

    fn stat(&self, last: &[u8]) -> Result<fs::Stat, Errno> {
        fs::statat(self.tree.here(), last, AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// Gives an open file or folder its owner, mode, attributes and time, in the order in which none
/// undoes another (a change of owner clears setuid and capabilities).
fn dress(fd: BorrowedFd, member: &Member) -> Result<(), Error> {
    let (uid, gid) = owner(member)?;
    fs::fchown(fd, Some(uid), Some(gid))
        .and_then(|()| fs::fchmod(fd, Mode::from_raw_mode(member.mode)))
        .map_err(failed(&member.path))?;
    for (name, value) in &member.xattrs {
        if !is_kept(name) {
            continue;
        }
        fs::fsetxattr(fd, &name[..], value, XattrFlags::empty()).map_err(failed(&member.path))?;
    }
    path::set_time(fd, mtime(member)).map_err(failed(&member.path))
}

/// Attributes that belong to the file and not to the machine that packed it: labels of security
/// modules are that machine's, and `trusted.*` would speak to overlayfs.
pub(crate) fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability"
        || name.starts_with(b"user.")
        || name.starts_with(b"system.posix_acl_")
}

fn owner(member: &Member) -> Result<(Uid, Gid), Error> {
    let id = |id: u64| {
        // The kernel takes 2^32 - 1 for "leave it".
        u32::try_from(id)
            .ok()
            .filter(|id| *id != u32::MAX)
            .ok_or_else(|| refused(&member.path, "a user or group ID is out of range"))
    };
    Ok((Uid::from_raw(id(member.uid)?), Gid::from_raw(id(member.gid)?)))
}

fn mtime(member: &Member) -> Timespec {
    Timespec { tv_sec: member.mtime.0, tv_nsec: member.mtime.1.into() }
}

fn times(member: &Member) -> Timestamps {
    Timestamps { last_access: mtime(member), last_modification: mtime(member) }
}
