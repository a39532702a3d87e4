//! The door of a [`Disk`] to the kernel: FUSE's requests, one after the other.

use super::{Disk, Node, Sort};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nobody else changes anything: the kernel may believe what it was told for as long as it likes.
const BELIEVED: Duration = Duration::from_secs(3600);
const TYPE: u32 = 0o170_000;
const SOCKET: u32 = 0o140_000;
const RIGHTS: u32 = 0o7_777;
/// A file system of 4 GiB, for those who ask.
const BLOCKS: u64 = 1 << 20;

/// Shows a disk at a folder, until what is returned is dropped.
pub fn mount(disk: &Arc<Mutex<Disk>>, folder: &Path) -> std::io::Result<BackgroundSession> {
    let mut config = Config::default();
    let name = MountOption::FSName("tearing".into());
    config.mount_options = vec![name, MountOption::DefaultPermissions, MountOption::Dev];
    fuser::spawn_mount(Door(disk.clone()), folder, &config)
}

struct Door(Arc<Mutex<Disk>>);

impl Door {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().expect("no request panics")
    }

    /// For what would change something, while the power is there.
    fn powered(&self) -> Result<MutexGuard<'_, Disk>, Errno> {
        let mut disk = self.disk();
        disk.changes().map_err(|_| Errno::EIO)?;
        Ok(disk)
    }

    fn add(
        &self,
        request: &Request,
        at: Place<'_>,
        sort: Sort,
        mode: u32,
    ) -> Result<FileAttr, Errno> {
        let mut disk = self.powered()?;
        if disk.find(at.0.0, at.1).is_some() {
            return Err(Errno::EEXIST);
        }
        let number = disk.make(at.0.0, at.1, sort, mode & RIGHTS);
        let node = disk.get_mut(number).ok_or(Errno::EIO)?;
        (node.uid, node.gid) = (request.uid(), request.gid());
        attributes(&disk, number)
    }

    fn remove(&self, at: Place<'_>) -> Result<(), Errno> {
        let mut disk = self.powered()?;
        let number = disk.find(at.0.0, at.1).ok_or(Errno::ENOENT)?;
        if disk.list(number).next().is_some() {
            return Err(Errno::ENOTEMPTY);
        }
        disk.take(at.0.0, at.1);
        Ok(())
    }

    fn rename(&self, from: Place<'_>, to: Place<'_>, flags: RenameFlags) -> Result<(), Errno> {
        let mut disk = self.powered()?;
        disk.find(from.0.0, from.1).ok_or(Errno::ENOENT)?;
        let there = disk.find(to.0.0, to.1);
        let swap = flags.contains(RenameFlags::RENAME_EXCHANGE);
        match there {
            None if swap => return Err(Errno::ENOENT),
            Some(_) if flags.contains(RenameFlags::RENAME_NOREPLACE) => return Err(Errno::EEXIST),
            Some(number) if !swap && disk.list(number).next().is_some() => {
                return Err(Errno::ENOTEMPTY);
            }
            _ => disk.rename((from.0.0, from.1), (to.0.0, to.1), swap),
        }
        Ok(())
    }

    fn sync(&self, number: INodeNo, reply: ReplyEmpty) {
        match self.powered().map(|mut disk| disk.sync(number.0)) {
            Ok(true) => reply.ok(),
            _ => reply.error(Errno::EIO),
        }
    }
}

/// A folder, and a name in it.
type Place<'a> = (INodeNo, &'a OsStr);

fn attributes(disk: &Disk, number: u64) -> Result<FileAttr, Errno> {
    let node = disk.get(number).ok_or(Errno::ENOENT)?;
    let size = match &node.sort {
        Sort::Link(target) => target.len() as u64,
        _ => node.now.len() as u64,
    };
    Ok(FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: kind(node),
        perm: (node.mode & RIGHTS) as u16,
        nlink: disk.links(number).max(1),
        uid: node.uid,
        gid: node.gid,
        rdev: node.device,
        blksize: 4096,
        flags: 0,
    })
}

fn kind(node: &Node) -> FileType {
    match node.sort {
        Sort::File => FileType::RegularFile,
        Sort::Folder => FileType::Directory,
        Sort::Link(_) => FileType::Symlink,
        Sort::Other(SOCKET) => FileType::Socket,
        Sort::Other(_) => FileType::NamedPipe,
    }
}

fn entry(made: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match made {
        Ok(attributes) => reply.entry(&BELIEVED, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn done(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Door {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let disk = self.disk();
        let found = disk.find(parent.0, name).ok_or(Errno::ENOENT);
        entry(found.and_then(|number| attributes(&disk, number)), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match attributes(&self.disk(), ino.0) {
            Ok(attributes) => reply.attr(&BELIEVED, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = || {
            let mut disk = self.powered()?;
            let node = disk.get_mut(ino.0).ok_or(Errno::ENOENT)?;
            node.mode = mode.map_or(node.mode, |mode| mode & RIGHTS);
            (node.uid, node.gid) = (uid.unwrap_or(node.uid), gid.unwrap_or(node.gid));
            if let Some(size) = size {
                node.resize(size as usize);
            }
            attributes(&disk, ino.0)
        };
        match set() {
            Ok(attributes) => reply.attr(&BELIEVED, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.disk().get(ino.0).map(|node| &node.sort) {
            Some(Sort::Link(target)) => reply.data(target),
            _ => reply.error(Errno::EINVAL),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let sort = match mode & TYPE {
            0o100_000 | 0 => Sort::File,
            other => Sort::Other(other),
        };
        entry(self.add(request, (parent, name), sort, mode & !umask), reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        entry(self.add(request, (parent, name), Sort::Folder, mode & !umask), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.remove((parent, name)), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.remove((parent, name)), reply);
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let sort = Sort::Link(target.as_os_str().as_bytes().to_owned());
        entry(self.add(request, (parent, name), sort, 0o777), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        done(Door::rename(self, (parent, name), (newparent, newname), flags), reply);
    }

    fn link(
        &self,
        _: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let link = || {
            let mut disk = self.powered()?;
            if disk.find(newparent.0, newname).is_some() {
                return Err(Errno::EEXIST);
            }
            disk.put(newparent.0, newname, ino.0);
            attributes(&disk, ino.0)
        };
        entry(link(), reply);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.disk().get(ino.0) {
            Some(node) => {
                let from = node.now.len().min(offset as usize);
                let to = node.now.len().min(from + size as usize);
                reply.data(&node.now[from..to]);
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = || {
            let mut disk = self.powered()?;
            disk.get_mut(ino.0).ok_or(Errno::ENOENT)?.write(offset as usize, data);
            Ok(())
        };
        match write() {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(ino, reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(ino, reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let disk = self.disk();
        let own = [(OsStr::new("."), ino.0), (OsStr::new(".."), ino.0)];
        let all = own.into_iter().chain(disk.list(ino.0)).enumerate();
        for (index, (name, number)) in all.skip(offset as usize) {
            let Some(node) = disk.get(number) else { continue };
            if reply.add(INodeNo(number), index as u64 + 1, kind(node), name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCKS, 4096, 255, 4096);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        match self.add(request, (parent, name), Sort::File, mode & !umask) {
            Ok(attributes) => {
                let flags = FopenFlags::empty();
                reply.created(&BELIEVED, &attributes, Generation(0), FileHandle(0), flags);
            }
            Err(error) => reply.error(error),
        }
    }
}
