//! Walking names of an archive below one folder, without ever leaving it.
//!
//! The danger: `evil -> /etc`, then `evil/passwd`. So no name is handed to the kernel as a whole:
//! every component is opened by itself, relative to the directory before, with O_NOFOLLOW, and
//! symbolic links are followed here, by their text: absolute ones begin at the layer's root
//! (`/var/run -> /run` is honest), and one that climbs above the root is refused. Names of entries
//! begin at the layer's root too, with a slash in front or without; `..` in them is taken by their
//! text, before any link is looked at, and what climbs above the root is refused.
//!
//! The directories down to the last entry stay open, because neighbours in an archive are
//! neighbours on disk. A directory whose content changed gets its time back when it is left.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::error::Error;
use crate::unpack::limits::{DEPTH_MAX, LINKS_MAX, NAME_MAX, PATH_MAX};
use crate::unpack::whiteout;

/// How a directory is opened: to be walked through and to have its time set.
pub(crate) const OPEN_DIR: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The components of an entry's name; the root has none.
pub(crate) fn components(name: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let refuse = |why: &str| Err(refused(name, why));
    if name.len() > PATH_MAX {
        return refuse("the name is longer than 4096 bytes");
    }
    let mut parts = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            // Kaniko and others write a slash in front.
            b"" | b"." => {}
            b".." if parts.pop().is_some() => {}
            b".." => return refuse("the name climbs above the image's root"),
            _ if part.len() > NAME_MAX => return refuse("a component is longer than 255 bytes"),
            _ if part.contains(&0) => return refuse("the name contains a zero byte"),
            _ => parts.push(part),
        }
    }
    match parts.len() > DEPTH_MAX {
        true => refuse("more than 200 folders deep"),
        false => Ok(parts),
    }
}

pub(crate) fn refused(name: &[u8], why: &str) -> Error {
    let path: String = String::from_utf8_lossy(name).chars().take(300).collect();
    Error::RefuseEntry { path, why: why.to_owned() }
}

pub(crate) fn failed(name: &[u8]) -> impl FnOnce(Errno) -> Error {
    let path = String::from_utf8_lossy(name).into_owned();
    move |errno| Error::Unpack { path, source: std::sync::Arc::new(errno.into()) }
}

/// The folder that a layer is unpacked into, with the directories of the last name open.
pub(crate) struct Tree {
    root: Open,
    stack: Vec<Open>,
}

struct Open {
    name: Vec<u8>,
    fd: OwnedFd,
    /// The time to put back.
    mtime: Timespec,
    touched: bool,
}

impl Open {
    fn new(name: Vec<u8>, fd: OwnedFd) -> Result<Open, Errno> {
        let stat = fs::fstat(&fd)?;
        let mtime = Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ };
        Ok(Open { name, fd, mtime, touched: false })
    }

    fn leave(self) -> Result<(), Errno> {
        match self.touched {
            true => set_time(&self.fd, self.mtime),
            false => Ok(()),
        }
    }
}

/// Sets the time of change of an open file; that of access becomes the same.
pub(crate) fn set_time(fd: impl AsFd, mtime: Timespec) -> Result<(), Errno> {
    fs::futimens(fd, &Timestamps { last_access: mtime, last_modification: mtime })
}

/// A directory that no entry of the archive described, although entries lie in it.
pub(crate) struct Implied<'a> {
    /// Its name from the root, links resolved.
    pub(crate) path: &'a [u8],
}

impl Tree {
    pub(crate) fn open(folder: &std::path::Path) -> Result<Tree, Error> {
        let name = folder.as_os_str().as_encoded_bytes();
        let fd = fs::open(folder, OPEN_DIR, Mode::empty()).map_err(failed(name))?;
        let root = Open::new(Vec::new(), fd).map_err(failed(name))?;
        Ok(Tree { root, stack: Vec::new() })
    }

    /// The directory that the last walk ended in.
    pub(crate) fn here(&self) -> BorrowedFd<'_> {
        self.stack.last().unwrap_or(&self.root).fd.as_fd()
    }

    /// The name of that directory from the root.
    pub(crate) fn here_path(&self) -> Vec<u8> {
        let names: Vec<&[u8]> = self.stack.iter().map(|open| &open.name[..]).collect();
        names.join(&b'/')
    }

    /// Says that an entry of the directory changed, and with it its time.
    pub(crate) fn touch(&mut self) {
        self.stack.last_mut().unwrap_or(&mut self.root).touched = true;
    }

    /// Says that the directory, just entered, was given this time.
    pub(crate) fn set_root_time(&mut self, mtime: Timespec) {
        self.root.mtime = mtime;
        self.root.touched = true;
    }

    /// Walks to a directory and makes what is missing. `implied` hears of every directory made.
    pub(crate) fn walk(
        &mut self,
        parts: &[&[u8]],
        name: &[u8],
        implied: &mut dyn FnMut(Implied) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut rest: VecDeque<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
        let mut depth = 0;
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            match &part[..] {
                b"" | b"." => continue,
                b".." if depth == 0 => {
                    return Err(refused(name, "a symbolic link on the way leads out of the layer"));
                }
                b".." => {
                    depth -= 1;
                    continue;
                }
                _ => {}
            }
            if self.stack.get(depth).is_some_and(|open| open.name == part) {
                depth += 1;
                continue;
            }
            self.cut(depth).map_err(failed(name))?;
            match self.enter(&part, name, implied)? {
                Entered::Dir => depth += 1,
                Entered::Link(target) => {
                    links += 1;
                    if links > LINKS_MAX || rest.len() > PATH_MAX {
                        return Err(refused(name, "too many symbolic links on the way"));
                    }
                    if target.starts_with(b"/") {
                        depth = 0;
                    }
                    for part in target.split(|byte| *byte == b'/').rev() {
                        rest.push_front(part.to_vec());
                    }
                }
            }
            if depth > DEPTH_MAX {
                return Err(refused(name, "more than 200 folders deep"));
            }
        }
        self.cut(depth).map_err(failed(name))
    }

    /// Opens one component in the current directory, or reads it as a link.
    fn enter(
        &mut self,
        part: &[u8],
        name: &[u8],
        implied: &mut dyn FnMut(Implied) -> Result<(), Error>,
    ) -> Result<Entered, Error> {
        let opened = fs::openat(self.here(), part, OPEN_DIR, Mode::empty());
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::NOENT) => {
                self.make(part).map_err(failed(name))?;
                implied(Implied { path: &self.join(part) })?;
                fs::openat(self.here(), part, OPEN_DIR, Mode::empty()).map_err(failed(name))?
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let stat = fs::statat(self.here(), part, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(failed(name))?;
                if whiteout::is_whiteout(&stat) {
                    fs::unlinkat(self.here(), part, AtFlags::empty()).map_err(failed(name))?;
                    self.make(part).map_err(failed(name))?;
                    let fd = fs::openat(self.here(), part, OPEN_DIR, Mode::empty())
                        .map_err(failed(name))?;
                    whiteout::make_opaque(&fd).map_err(failed(name))?;
                    fd
                } else if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                    let target = fs::readlinkat(self.here(), part, Vec::new());
                    return Ok(Entered::Link(target.map_err(failed(name))?.into_bytes()));
                } else {
                    return Err(refused(name, "a component on the way is not a folder"));
                }
            }
            Err(errno) => return Err(failed(name)(errno)),
        };
        self.stack.push(Open::new(part.to_vec(), fd).map_err(failed(name))?);
        Ok(Entered::Dir)
    }

    fn make(&mut self, part: &[u8]) -> Result<(), Errno> {
        fs::mkdirat(self.here(), part, Mode::from_raw_mode(0o755))?;
        fs::chmodat(self.here(), part, Mode::from_raw_mode(0o755), AtFlags::empty())?;
        self.touch();
        Ok(())
    }

    /// The folder of an existing file, links on the way followed. `None`: this layer has no such
    /// file (whiteouts are none). The last walk stays as it is.
    pub(crate) fn find(
        &self,
        parents: &[&[u8]],
        last: &[u8],
        name: &[u8],
    ) -> Result<Option<OwnedFd>, Error> {
        let root = fs::openat(&self.root.fd, ".", OPEN_DIR, Mode::empty()).map_err(failed(name))?;
        let mut stack = vec![root];
        let mut rest: VecDeque<Vec<u8>> = parents.iter().map(|part| part.to_vec()).collect();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            let here = stack.last().expect("the root stays");
            match &part[..] {
                b"" | b"." => continue,
                b".." if stack.len() == 1 => {
                    return Err(refused(name, "a symbolic link on the way leads out of the layer"));
                }
                b".." => {
                    stack.pop();
                    continue;
                }
                _ => {}
            }
            match fs::openat(here, &part[..], OPEN_DIR, Mode::empty()) {
                Ok(fd) => stack.push(fd),
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let Ok(target) = fs::readlinkat(here, &part[..], Vec::new()) else {
                        return Ok(None);
                    };
                    links += 1;
                    if links > LINKS_MAX || rest.len() > PATH_MAX {
                        return Err(refused(name, "too many symbolic links on the way"));
                    }
                    if target.as_bytes().starts_with(b"/") {
                        stack.truncate(1);
                    }
                    for part in target.as_bytes().split(|byte| *byte == b'/').rev() {
                        rest.push_front(part.to_vec());
                    }
                }
                Err(errno) => return Err(failed(name)(errno)),
            }
            if stack.len() > DEPTH_MAX + 1 {
                return Err(refused(name, "more than 200 folders deep"));
            }
        }
        let dir = stack.pop().expect("the root stays");
        match fs::statat(&dir, last, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if whiteout::is_whiteout(&stat) => Ok(None),
            Ok(_) => Ok(Some(dir)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed(name)(errno)),
        }
    }

    /// The name of something in the current directory, from the root.
    pub(crate) fn join(&self, part: &[u8]) -> Vec<u8> {
        let mut path = self.here_path();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(part);
        path
    }

    fn cut(&mut self, depth: usize) -> Result<(), Errno> {
        while self.stack.len() > depth {
            self.stack.pop().expect("it is longer than depth").leave()?;
        }
        Ok(())
    }

    /// Leaves all directories.
    pub(crate) fn close(mut self) -> Result<(), Errno> {
        self.cut(0)?;
        self.root.leave()
    }
}

enum Entered {
    Dir,
    Link(Vec<u8>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_or_refused() {
        let long = "a/".repeat(201);
        let wide = "a".repeat(256);
        for (name, wanted) in [
            ("a/b", "a b"),
            ("./a//b/./", "a b"),
            ("/", ""),
            ("./", ""),
            ("/a", "a"),
            ("//a/./b", "a b"),
            ("a/../b", "b"),
            ("a/..", ""),
            ("..", "the name climbs above the image's root"),
            ("/../a", "the name climbs above the image's root"),
            ("a/../../b", "the name climbs above the image's root"),
            ("a/./../../b/c", "the name climbs above the image's root"),
            ("..a/b..", "..a b.."),
            ("a\0b", "the name contains a zero byte"),
            (&long, "more than 200 folders deep"),
            (&wide, "a component is longer than 255 bytes"),
            (&"a/b".repeat(2000), "the name is longer than 4096 bytes"),
        ] {
            let seen = match components(name.as_bytes()) {
                Ok(parts) => String::from_utf8(parts.join(&b' ')).unwrap(),
                Err(error) => error.to_string(),
            };
            assert!(seen == wanted || seen.ends_with(&format!(": {wanted}")), "{name}: {seen}");
        }
    }
}
