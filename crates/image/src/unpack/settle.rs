//! Settling: what a layer left open until the layers below it are known.
//!
//! Overlayfs shows a folder as its topmost layer has it. So a folder that a layer made only because
//! a file lies in it would hide owner and mode of the real one (`/tmp` would lose its sticky bit),
//! and where the layers below have a symbolic link (`lib -> usr/lib`) it would hide the link. Here
//! such folders take over the metadata from below, or their content moves to where the link
//! points. Hard links to files below become links to those very files: layers never change.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Dir, FileType, Gid, Mode, Stat, Timespec, Uid, XattrFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::unpack::limits::{DEPTH_MAX, LINKS_MAX, PATH_MAX, XATTR_MAX};
use crate::unpack::path::{OPEN_DIR, failed, refused, set_time};
use crate::unpack::whiteout::{OPAQUE_XATTR, is_whiteout};
use crate::unpack::{Loose, is_kept};

type Parts = Vec<Vec<u8>>;

/// Settles the layer in the folder `own` above `lowers` (top first).
pub(crate) fn settle(own: &Path, loose: Loose, lowers: &[PathBuf]) -> Result<(), Error> {
    let open = |path: &Path| {
        fs::open(path, OPEN_DIR, Mode::empty()).map_err(failed(path.as_os_str().as_encoded_bytes()))
    };
    let lowers = lowers.iter().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
    let mut stack = Stack { own: open(own)?, lowers, loose };
    while let Some(path) = stack.loose.dirs.pop_first() {
        stack.dir(&path)?;
    }
    while let Some((path, target)) = stack.loose.links.pop_first() {
        stack.link(&path, &target)?;
    }
    Ok(())
}

/// A layer above its layers below.
struct Stack {
    own: OwnedFd,
    lowers: Vec<OwnedFd>,
    loose: Loose,
}

/// Something that was found: the folder it is in, and what it is.
struct Found {
    dir: OwnedFd,
    stat: Stat,
}

impl Found {
    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

impl Stack {
    fn dir(&mut self, path: &[u8]) -> Result<(), Error> {
        let parts = split(path);
        let Some(below) = self.below(&parts).map_err(failed(path))? else {
            return Ok(());
        };
        match below.kind() {
            FileType::Directory => self.take_over(&parts, &below).map_err(failed(path)),
            FileType::Symlink => self.relocate(path, &parts),
            _ => Err(refused(path, "it lies in something that is no folder in the layers below")),
        }
    }

    /// Gives a folder of this layer the metadata of the one below.
    fn take_over(&self, parts: &Parts, below: &Found) -> Result<(), Errno> {
        let last = parts.last().expect("the root is never implied");
        let from = fs::openat(&below.dir, &last[..], OPEN_DIR, Mode::empty())?;
        let Some(dir) = descend(&self.own, parts)?.dir else {
            return Ok(());
        };
        wear(from.as_fd(), dir.as_fd(), &below.stat)
    }

    /// Moves what lies in a folder to where the symbolic link below points.
    fn relocate(&mut self, path: &[u8], parts: &Parts) -> Result<(), Error> {
        let target = self.resolve(path, parts)?;
        if target.starts_with(parts) {
            return Err(refused(path, "a symbolic link in the layers below points into itself"));
        }
        for depth in 1..=target.len() {
            let parent = descend(&self.own, &target[..depth - 1]).map_err(failed(path))?;
            let Some(dir) = parent.dir else {
                return Err(refused(path, "a component on the way is not a folder"));
            };
            match fs::mkdirat(&dir, &target[depth - 1][..], Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    let made = target[..depth].join(&b'/');
                    self.dir(&made)?;
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(path)(errno)),
            }
        }
        self.merge(parts, &target).map_err(failed(path))?;
        self.rename_loose(path, &target.join(&b'/'));
        Ok(())
    }

    fn merge(&self, from: &[Vec<u8>], into: &[Vec<u8>]) -> Result<(), Errno> {
        let (last, parents) = from.split_last().expect("the root is never implied");
        let Some(parent) = descend(&self.own, parents)?.dir else { return Err(Errno::NOTDIR) };
        let Some(target) = descend(&self.own, into)?.dir else { return Err(Errno::NOTDIR) };
        merge_dir(parent.as_fd(), last, target.as_fd())
    }

    /// After a move, what is still to be settled has other names.
    fn rename_loose(&mut self, from: &[u8], to: &[u8]) {
        let inside = [from, b"/"].concat();
        let rename = |path: Vec<u8>| match path.strip_prefix(&inside[..]) {
            Some(rest) => [to, b"/", rest].concat(),
            None => path,
        };
        let dirs = std::mem::take(&mut self.loose.dirs);
        self.loose.dirs = dirs.into_iter().map(&rename).collect();
        let links = std::mem::take(&mut self.loose.links);
        self.loose.links = links.into_iter().map(|(path, to)| (rename(path), to)).collect();
    }

    fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Error> {
        let fail = || failed(path);
        let parts = split(path);
        let (last, parents) = parts.split_last().expect("the root is no link");
        let Some(dir) = descend(&self.own, parents).map_err(fail())?.dir else {
            return Err(refused(path, "a component on the way is not a folder"));
        };
        if fs::statat(&dir, &last[..], AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Ok(());
        }
        let mut target = target.to_vec();
        for _ in 0..LINKS_MAX {
            let Some(next) = self.loose.links.get(&target) else { break };
            target.clone_from(next);
        }
        let wanted = split(&target);
        let (name, above) = wanted.split_last().expect("hard links to the root are refused");
        let mut place = self.resolve_from(path, Vec::new(), above.to_vec())?;
        place.push(name.clone());
        let found = match self.own(&place).map_err(fail())? {
            Some(found) => Some(found),
            None => self.below(&place).map_err(fail())?,
        };
        let usable =
            |found: &Found| found.kind() != FileType::Directory && !is_whiteout(&found.stat);
        let Some(found) = found.filter(usable) else {
            return Err(refused(path, "a hard link to a file that does not exist"));
        };
        fs::linkat(&found.dir, &name[..], &dir, &last[..], AtFlags::empty()).map_err(fail())
    }

    /// Where the symbolic link `parts` of the layers below leads to, links on the way followed.
    fn resolve(&self, path: &[u8], parts: &Parts) -> Result<Parts, Error> {
        let (last, parents) = parts.split_last().expect("the root is no link");
        let Some(found) = self.below(parts).map_err(failed(path))? else {
            return Ok(parts.clone());
        };
        let text = fs::readlinkat(&found.dir, &last[..], Vec::new()).map_err(failed(path))?;
        let start = if text.as_bytes().starts_with(b"/") { Vec::new() } else { parents.to_vec() };
        self.resolve_from(path, start, split(text.as_bytes()))
    }

    fn resolve_from(&self, path: &[u8], mut at: Parts, parts: Parts) -> Result<Parts, Error> {
        let mut rest: std::collections::VecDeque<Vec<u8>> = parts.into();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == b".." {
                if at.pop().is_none() {
                    return Err(refused(path, "a symbolic link on the way leads out of the layer"));
                }
                continue;
            }
            at.push(part);
            let found = match self.own(&at).map_err(failed(path))? {
                Some(found) => Some(found),
                None => self.below(&at).map_err(failed(path))?,
            };
            let Some(found) = found.filter(|found| found.kind() == FileType::Symlink) else {
                continue;
            };
            links += 1;
            if links > LINKS_MAX || rest.len() > PATH_MAX || at.len() > DEPTH_MAX {
                return Err(refused(path, "too many symbolic links on the way"));
            }
            let name = at.pop().expect("it was pushed above");
            let text = fs::readlinkat(&found.dir, &name[..], Vec::new()).map_err(failed(path))?;
            if text.as_bytes().starts_with(b"/") {
                at.clear();
            }
            for part in split(text.as_bytes()).into_iter().rev() {
                rest.push_front(part);
            }
        }
        Ok(at)
    }

    /// What this layer itself has there.
    fn own(&self, parts: &Parts) -> Result<Option<Found>, Errno> {
        let (last, parents) = parts.split_last().expect("not asked of the root");
        let Some(dir) = descend(&self.own, parents)?.dir else { return Ok(None) };
        stat(dir, last)
    }

    /// What the layers below show there, unless this layer hides it.
    fn below(&self, parts: &Parts) -> Result<Option<Found>, Errno> {
        let (last, parents) = parts.split_last().expect("not asked of the root");
        let own = descend(&self.own, parents)?;
        if own.opaque || own.blocked {
            return Ok(None);
        }
        for lower in &self.lowers {
            let walk = descend(lower, parents)?;
            if walk.blocked {
                return Ok(None);
            }
            if let Some(dir) = walk.dir
                && let Some(found) = stat(dir, last)?
            {
                return Ok(Some(found).filter(|found| !is_whiteout(&found.stat)));
            }
            if walk.opaque {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

/// How far a way of real folders goes in one layer.
struct Walk {
    dir: Option<OwnedFd>,
    /// A folder on the way hides the layers below.
    opaque: bool,
    /// Something that is no folder hides the layers below.
    blocked: bool,
}

fn descend(root: &OwnedFd, parts: &[Vec<u8>]) -> Result<Walk, Errno> {
    let mut dir = fs::openat(root, ".", OPEN_DIR, Mode::empty())?;
    let mut opaque = false;
    for part in parts {
        dir = match fs::openat(&dir, &part[..], OPEN_DIR, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::NOENT) => return Ok(Walk { dir: None, opaque, blocked: false }),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Ok(Walk { dir: None, opaque, blocked: true });
            }
            Err(errno) => return Err(errno),
        };
        opaque |= fs::fgetxattr(&dir, OPAQUE_XATTR, &mut [0; 8]).is_ok();
    }
    Ok(Walk { dir: Some(dir), opaque, blocked: false })
}

fn stat(dir: OwnedFd, last: &[u8]) -> Result<Option<Found>, Errno> {
    match fs::statat(&dir, last, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Found { dir, stat })),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn split(path: &[u8]) -> Parts {
    let parts = path.split(|byte| *byte == b'/');
    parts.filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec).collect()
}

/// Gives a folder owner, mode, attributes and time of another.
pub(crate) fn wear(from: BorrowedFd, dir: BorrowedFd, stat: &Stat) -> Result<(), Errno> {
    fs::fchown(dir, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fs::fchmod(dir, Mode::from_raw_mode(stat.st_mode))?;
    copy_xattrs(from, dir)?;
    set_time(dir, Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ })
}

/// What lies in a folder.
pub(crate) fn names(dir: BorrowedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(&name[..], b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

/// Moves the content of a folder into another, folder into folder, and removes it.
fn merge_dir(parent: BorrowedFd, name: &[u8], into: BorrowedFd) -> Result<(), Errno> {
    let dir = fs::openat(parent, name, OPEN_DIR, Mode::empty())?;
    for child in names(dir.as_fd())? {
        let is_dir = |at: BorrowedFd| {
            fs::statat(at, &child[..], AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
        };
        match (is_dir(dir.as_fd()), is_dir(into)) {
            (true, true) => {
                let deeper = fs::openat(into, &child[..], OPEN_DIR, Mode::empty())?;
                merge_dir(dir.as_fd(), &child, deeper.as_fd())?;
                continue;
            }
            (false, true) => remove_tree(into, &child)?,
            (true, false) => match fs::unlinkat(into, &child[..], AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            },
            (false, false) => {}
        }
        fs::renameat(&dir, &child[..], into, &child[..])?;
    }
    fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Removes a folder with all below it, following no link. Layers are at most 200 folders deep.
pub(crate) fn remove_tree(parent: BorrowedFd, name: &[u8]) -> Result<(), Errno> {
    let dir = fs::openat(parent, name, OPEN_DIR, Mode::empty())?;
    for child in names(dir.as_fd())? {
        match fs::unlinkat(&dir, &child[..], AtFlags::empty()) {
            Err(Errno::ISDIR) => remove_tree(dir.as_fd(), &child)?,
            other => other?,
        }
    }
    fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn copy_xattrs(from: BorrowedFd, to: BorrowedFd) -> Result<(), Errno> {
    let mut list = vec![0; XATTR_MAX];
    let length = match fs::flistxattr(from, &mut list[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    for name in list[..length].split(|byte| *byte == 0).filter(|name| is_kept(name)) {
        let mut value = vec![0; XATTR_MAX];
        let length = fs::fgetxattr(from, name, &mut value[..])?;
        fs::fsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}
