//! Folders of pods go: what is mounted in them is unmounted first, and what is still mounted, or is
//! a link, is never entered. A mount that somebody left there leads to data that are not the node's
//! to delete, so every step goes by descriptor and crosses no mount (openat2(2), RESOLVE_NO_XDEV).
//!
//! Who filled the folder may have nested it as deep as it liked: what lies deeper than
//! [`DEPTH_MOST`] is moved up first.

use super::table::Table;
use rustix::fs::{
    AtFlags, Dir, Mode, OFlags, RenameFlags, ResolveFlags, openat2, renameat_with, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Folders that are open at once.
const DEPTH_MOST: usize = 64;
/// Looks at one folder that something is put into meanwhile.
const LOOKS_MOST: u32 = 1 << 16;

/// Unmounts what is mounted at a place or below it, then removes it. What is not there is gone.
pub fn tree(path: &Path) -> Result<(), String> {
    let found = real(path).map_err(|e| format!("find {}: {e}", path.display()))?;
    let Some(path) = found else { return Ok(()) };
    let table = Table::read().map_err(|e| format!("read what is mounted: {e}"))?;
    for point in table.below(&path) {
        // Not lazily: what is in use is not gone, and whoever waits for its end has to know.
        match unmount(point, UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(format!("unmount {}: {e}", point.display())),
        }
    }
    clear(&path)
}

/// The path as the kernel tells it, without following what the path itself may be.
fn real(path: &Path) -> std::io::Result<Option<PathBuf>> {
    let (parent, name) = path.parent().zip(path.file_name()).ok_or(Errno::INVAL)?;
    match parent.canonicalize() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        parent => parent.map(|parent| Some(parent.join(name))),
    }
}

/// Removes a file or a folder with all that is in it, unless something is mounted there.
pub fn clear(path: &Path) -> Result<(), String> {
    let (parent, name) = path.parent().zip(path.file_name()).ok_or("a path without a name")?;
    let name = CString::new(name.as_bytes()).map_err(|e| e.to_string())?;
    let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(parent, how, Mode::empty());
    let mut walk = match opened {
        Err(Errno::NOENT) => return Ok(()),
        Err(e) => return Err(format!("open {}: {e}", parent.display())),
        Ok(parent) => Walk { parent, open: Vec::new(), moved: 0 },
    };
    walk.run(&name).map_err(|errno| {
        let mut path = parent.to_owned();
        path.extend(walk.open.iter().map(|open| open.name.to_string_lossy().into_owned()));
        let why = match errno {
            Errno::XDEV | Errno::BUSY => "something is mounted there".into(),
            other => other.to_string(),
        };
        format!("remove {}: {why}", path.display())
    })
}

/// The way down from a folder's parent.
struct Walk {
    parent: OwnedFd,
    open: Vec<Open>,
    /// How many folders were moved up.
    moved: u32,
}

struct Open {
    dir: Dir,
    name: CString,
    /// How often it was read, and whether something went since the last time.
    looks: u32,
    progress: bool,
}

impl Walk {
    fn run(&mut self, name: &CStr) -> Result<(), Errno> {
        self.remove(name)?;
        while let Some(open) = self.open.last_mut() {
            match open.dir.read() {
                Some(entry) => {
                    let name = entry?.file_name().to_owned();
                    if !matches!(name.to_bytes(), b"." | b"..") {
                        self.remove(&name)?;
                    }
                }
                None => self.leave()?,
            }
        }
        Ok(())
    }

    fn at(&self, depth: usize) -> Result<BorrowedFd<'_>, Errno> {
        match depth.checked_sub(1) {
            None => Ok(self.parent.as_fd()),
            Some(above) => self.open[above].dir.fd(),
        }
    }

    /// Removes what is no folder; enters, or moves up, what is one.
    fn remove(&mut self, name: &CStr) -> Result<(), Errno> {
        let at = self.at(self.open.len())?;
        match unlinkat(at, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) if self.open.len() < DEPTH_MOST => return self.enter(name, 0),
            Err(Errno::ISDIR) => {
                let moved = format!("..moved-{}", self.moved);
                match renameat_with(at, name, self.at(1)?, &*moved, RenameFlags::NOREPLACE) {
                    // The next one gets another name; this folder is looked at again.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(e),
                }
                self.moved += 1;
                self.open[0].progress = true;
            }
            Err(e) => return Err(e),
        }
        self.progress();
        Ok(())
    }

    fn progress(&mut self) {
        if let Some(open) = self.open.last_mut() {
            open.progress = true;
        }
    }

    /// No link, and no mount, whatever its file system.
    fn enter(&mut self, name: &CStr, looks: u32) -> Result<(), Errno> {
        let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let within = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        let at = self.at(self.open.len())?;
        let dir = Dir::new(openat2(at, name, how, Mode::empty(), within)?)?;
        self.open.push(Open { dir, name: name.to_owned(), looks, progress: false });
        Ok(())
    }

    /// The folder was read to its end: it goes, or is read again when something came into it.
    fn leave(&mut self) -> Result<(), Errno> {
        // It is closed first: what is removed while it is open costs the disk twice.
        let Some(Open { name, looks, progress, .. }) = self.open.pop() else { return Ok(()) };
        match unlinkat(self.at(self.open.len())?, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {
                self.progress();
                Ok(())
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) if progress && looks < LOOKS_MOST => {
                self.enter(&name, looks + 1)
            }
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let dir = std::env::temp_dir().join(format!("skiff-{name}-{}", std::process::id()));
            fs::create_dir_all(dir.join("pod/volumes/v/inner")).expect("made");
            fs::create_dir_all(dir.join("others")).expect("made");
            fs::write(dir.join("others/data"), b"not the node's").expect("written");
            Folder(dir.canonicalize().expect("there"))
        }

        fn others_are_whole(&self) {
            let kept = fs::read_to_string(self.0.join("others/data")).expect("it is there");
            assert_eq!(kept, "not the node's");
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            // A test that has failed may leave mounts: those are not entered either.
            if let Err(why) = tree(&self.0) {
                eprintln!("{why}");
            }
        }
    }

    #[test]
    fn links_and_mounts_are_not_entered() {
        let folder = Folder::new("remove-mounts");
        let (pod, others) = (folder.0.join("pod"), folder.0.join("others"));
        std::os::unix::fs::symlink(&others, pod.join("link")).expect("linked");
        std::os::unix::fs::symlink("/", pod.join("volumes/root")).expect("linked");
        // A bind mount of the same file system: no number of a device tells it apart.
        let inner = pod.join("volumes/v/inner");
        rustix::mount::mount_bind(&others, &inner).expect("mounted: this test needs root");
        let why = clear(&pod).expect_err("a mount is in the way");
        assert_eq!(
            why,
            format!("remove {}: something is mounted there", pod.join("volumes/v").display())
        );
        folder.others_are_whole();
        // A folder that is a mount itself.
        assert!(clear(&inner).is_err());
        folder.others_are_whole();
        tree(&pod).expect("unmounted, then removed");
        assert!(!pod.exists());
        folder.others_are_whole();
        tree(&pod).expect("what is not there is gone");
    }

    #[test]
    fn what_is_in_use_stays_and_is_named() {
        let folder = Folder::new("remove-busy");
        let volume = folder.0.join("pod/volumes/v");
        let nothing = c"";
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", &volume, "tmpfs", flags, nothing).expect("mounted");
        let used = fs::File::create(volume.join("used")).expect("made");
        let why = tree(&folder.0.join("pod")).expect_err("somebody uses it");
        assert!(why.starts_with(&format!("unmount {}: ", volume.display())), "{why}");
        drop(used);
        tree(&folder.0.join("pod")).expect("now it goes");
        assert!(!folder.0.join("pod").exists());
    }

    #[test]
    fn no_nesting_is_too_deep() {
        let folder = Folder::new("remove-deep");
        let pod = folder.0.join("pod");
        let mut at = rustix::fs::open(&pod, OFlags::PATH, Mode::empty()).expect("opened");
        // Longer than any path may be.
        let name = "d".repeat(40);
        for _ in 0..300 {
            rustix::fs::mkdirat(&at, &name, Mode::RWXU).expect("made");
            at = rustix::fs::openat(&at, &name, OFlags::PATH, Mode::empty()).expect("opened");
        }
        fs::create_dir(pod.join("..moved-0")).expect("made");
        fs::write(pod.join("..moved-0/x"), b"").expect("written");
        tree(&pod).expect("removed");
        assert!(!pod.exists());
    }
}
