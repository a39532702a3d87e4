//! Paths below a folder that nothing leads out of: of a container's root, of a volume.
//!
//! Whoever makes an image or writes into a volume decides what lies at a path. So no path of theirs
//! is given to the kernel to walk as it likes: the folder counts as the root (links and `..` end
//! there, openat2(2) RESOLVE_IN_ROOT), and the links of proc(5) that are no text but lead straight
//! to a file of some process (RESOLVE_NO_MAGICLINKS) are refused. What comes back is the open file.
//! Never here: a path of the machine, or two looks at one path.

use crate::sys;
use std::collections::VecDeque;
use std::ffi::{CString, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel itself follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Somebody who renames folders all the while keeps the kernel from being sure of a `..`: it asks to
/// be called again, which it is no more often than this.
const MAX_RENAMES: usize = 128;

/// What is made where nothing is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    Folder,
    File,
}

/// What becomes of a link to something that is not there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Dangling {
    /// What it leads to is made.
    Made,
    /// It is an error.
    Refused,
}

/// The folder.
pub(crate) struct Inside(OwnedFd);

impl Inside {
    pub(crate) fn new(folder: OwnedFd) -> Inside {
        Inside(folder)
    }

    pub(crate) fn at(folder: &Path) -> io::Result<Inside> {
        sys::open(folder, libc::O_PATH | libc::O_DIRECTORY, 0).map(Inside)
    }

    /// What is there.
    pub(crate) fn open(&self, path: &Path, flags: i32) -> io::Result<OwnedFd> {
        self.resolve(path, flags, 0)
    }

    /// What is there, if no part of the path is a link.
    pub(crate) fn open_plain(&self, path: &Path, flags: i32) -> io::Result<OwnedFd> {
        self.resolve(path, flags, libc::RESOLVE_NO_SYMLINKS)
    }

    fn resolve(&self, path: &Path, flags: i32, more: u64) -> io::Result<OwnedFd> {
        let resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS | more;
        for _ in 0..MAX_RENAMES {
            match sys::open_at(self.0.as_fd(), path, flags, 0, resolve) {
                Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => {}
                Err(e) if e.raw_os_error() == Some(libc::ELOOP) => return Err(loops()),
                other => return other,
            }
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    /// What is there, made if it is missing: folders on the way have the same mode, files 0644.
    pub(crate) fn make(
        &self,
        path: &Path,
        shape: Shape,
        mode: u32,
        dangling: Dangling,
    ) -> io::Result<OwnedFd> {
        match self.open(path, libc::O_PATH) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        // `done` has no link in it: it is walked again from the root at each step.
        let (mut done, mut rest, mut links) = (PathBuf::from("/"), parts(path), 0);
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                done.pop();
                continue;
            }
            let parent = self.open_plain(&done, libc::O_PATH | libc::O_DIRECTORY)?;
            let next = Inside(parent);
            let here = Path::new(&part);
            match next.open_plain(here, libc::O_PATH | libc::O_NOFOLLOW) {
                Ok(found) if kind(&found)? == libc::S_IFLNK => {
                    links += 1;
                    if links > MAX_LINKS || dangling == Dangling::Refused {
                        return Err(loops());
                    }
                    let leads = sys::read_link(&found)?;
                    if leads.is_absolute() {
                        done = PathBuf::from("/");
                    }
                    parts(&leads).into_iter().rev().for_each(|part| rest.push_front(part));
                    continue;
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    let file = rest.is_empty() && shape == Shape::File;
                    next.add(here, if file { Shape::File } else { Shape::Folder }, mode)?;
                }
                Err(e) => return Err(e),
            }
            done.push(part);
        }
        self.open_plain(&done, libc::O_PATH)
    }

    /// One name in this very folder; somebody else may have been faster.
    fn add(&self, name: &Path, shape: Shape, mode: u32) -> io::Result<()> {
        let name = CString::new(name.as_os_str().as_bytes())?;
        let made = match shape {
            Shape::Folder => sys::mkdir_at(self.0.as_fd(), &name, mode),
            Shape::File => sys::mknod_at(self.0.as_fd(), &name, libc::S_IFREG | 0o644, 0),
        };
        match made {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// All of a regular file of at most so many bytes. Nothing else is opened: a FIFO would be
    /// waited on, and a device may do something when it is.
    pub(crate) fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let same = |fd: &OwnedFd| sys::stat(fd).map(|it| (it.st_dev, it.st_ino, it.st_mode));
        let seen = same(&self.open(path, libc::O_PATH)?)?;
        if seen.2 & libc::S_IFMT != libc::S_IFREG {
            return Err(wrong("it is not a regular file"));
        }
        let file = self.open(path, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY)?;
        if same(&file)? != seen {
            return Err(wrong("it changes while it is read"));
        }
        let mut bytes = Vec::new();
        std::fs::File::from(file).take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(wrong(&format!("it is larger than {most} bytes")));
        }
        Ok(bytes)
    }
}

fn loops() -> io::Error {
    io::Error::other("it leads through a link in a circle, to nothing, or out of the container")
}

impl AsFd for Inside {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The type of an open file, as S_IF has them.
pub(crate) fn kind(file: &OwnedFd) -> io::Result<u32> {
    sys::stat(file).map(|found| found.st_mode & libc::S_IFMT)
}

/// Names, and `..` where the path says so.
fn parts(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}
