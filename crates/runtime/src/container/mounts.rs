//! The container's file system: its root, the kernel's own file systems, its mounts, its masks.
//!
//! Sources on the machine are opened first, as detached copies of mounts, with `openat2` keeping a
//! subPath inside its volume. Then the root is mounted and entered (pivot_root), and everything
//! else is put in place from the inside, onto open files ([`Inside`]): no path of the image or of a
//! volume, however it is linked and whoever changes it meanwhile, can lead out.
//! All of it lives in the container's mount namespace and goes with it.

use super::inside::{self, Dangling, Inside, Shape};
use super::{Job, devices, program};
use crate::spec::{Mount, MountSource, ProcMount, Propagation, Rootfs};
use crate::sys::{self, mount as m};
use crate::{Error, Result, failed};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;

/// Hidden from unprivileged containers, as container runtimes agree.
const MASKED_PROC: [&str; 10] = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "timer_list",
    "timer_stats",
    "sched_debug",
    "scsi",
];
const MASKED_SYS: [&str; 2] = ["firmware", "devices/virtual/powercap"];

/// Read-only for unprivileged containers.
const READ_ONLY_PROC: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Builds it and leaves this process inside. `proc` becomes /proc, if there is one. Returns the null
/// device, too, whatever volume lies on it.
pub(super) fn build(job: &Job, proc: Option<OwnedFd>) -> Result<(Inside, OwnedFd)> {
    let security = &job.spec.security;
    let masked = !security.privileged && security.proc_mount == ProcMount::Default;
    // Modes of what is made here are as they are said.
    sys::set_umask(0);
    let sources = job.spec.mounts.iter().map(source).collect::<Result<Vec<_>>>()?;
    let shm = tree(sys::open(&job.shm, libc::O_PATH, 0).map_err(failed("open shm"))?.as_fd(), 0)?;
    let nodes = devices::nodes(&job.spec)?;
    m::mount("", Path::new("/"), "", libc::MS_REC | libc::MS_SLAVE, "")
        .map_err(failed("make mounts slaves"))?;
    mount_root(job)?;
    enter_root(&job.mountpoint)?;
    let root = Inside::at(Path::new("/")).map_err(failed("open /"))?;
    let proc = kernel_mounts(job, &root, proc)?;
    devices::make(&root, &nodes)?;
    put_own(&root, "/dev/shm", &shm)?;
    // Before anything can lie on the container's own devices.
    let null = null(&root)?;
    let masks = masked.then_some(Masks { null: &null });
    // Of the process file system while nobody else has had a say.
    if let Some(masks) = &masks {
        masks.proc(&proc)?;
    }
    for (mount, source) in job.spec.mounts.iter().zip(sources) {
        put(&root, &proc, mount, source)?;
    }
    // Whatever /sys is by now: agents that watch the machine mount its own.
    if let Some(masks) = &masks {
        masks.sys(&root)?;
    }
    program::make_folder(&root, &job.spec.cwd)?;
    if job.spec.readonly_rootfs {
        m::set_attributes(root.as_fd(), RDONLY, 0, 0, 0)
            .map_err(failed("make the root read-only"))?;
    }
    sys::set_umask(super::UMASK);
    Ok((root, null))
}

/// What goes onto a target, ready to be put there.
enum Source {
    Tree(OwnedFd, Shape),
    Tmpfs(String),
    Own,
}

fn source(mount: &Mount) -> Result<Source> {
    match &mount.source {
        MountSource::Own => Ok(Source::Own),
        MountSource::Tmpfs { size, mode } => {
            let size = size.map_or(String::new(), |size| format!(",size={size}"));
            Ok(Source::Tmpfs(format!("mode={mode:o}{size}")))
        }
        MountSource::Bind { path, sub_path, propagation, recursive_readonly } => {
            let what = || format!("mount {} at {}", path.display(), mount.target.display());
            let mut found = sys::open(path, libc::O_PATH, 0).map_err(failed(what()))?;
            if let Some(below) = sub_path {
                found = open_below(found, below)?;
            }
            if *propagation != Propagation::Private {
                check_propagation(&found, *propagation, path)?;
            }
            let kind = std::fs::metadata(proc_path(&found)).map_err(failed(what()))?;
            let shape = if kind.is_dir() { Shape::Folder } else { Shape::File };
            let tree = tree(found.as_fd(), libc::AT_RECURSIVE as u32)?;
            let kind = match propagation {
                Propagation::Private => libc::MS_PRIVATE,
                Propagation::Slave => libc::MS_SLAVE,
                Propagation::Shared => libc::MS_SHARED,
            };
            m::set_attributes(tree.as_fd(), 0, 0, kind, libc::AT_RECURSIVE)
                .map_err(failed(what()))?;
            if mount.readonly {
                let flags = if *recursive_readonly { libc::AT_RECURSIVE } else { 0 };
                m::set_attributes(tree.as_fd(), RDONLY, 0, 0, flags).map_err(failed(what()))?;
            }
            Ok(Source::Tree(tree, shape))
        }
    }
}

/// A subPath, opened (and made, if missing) without ever leaving the volume.
fn open_below(volume: OwnedFd, below: &Path) -> Result<OwnedFd> {
    let wrong =
        |e: io::Error| Error::System(format!("failed to prepare subPath {}: {e}", below.display()));
    if below.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(Error::Invalid(format!("subPath {} must stay inside", below.display())));
    }
    // Links are followed as if the volume were the root; folders are as open as the volume is (the
    // kubelet does so), or nobody but root could write to a subPath of an emptyDir.
    let mode = sys::stat(&volume).map_err(wrong)?.st_mode & 0o1777;
    Inside::new(volume).make(below, Shape::Folder, mode, Dangling::Refused).map_err(wrong)
}

/// HostToContainer needs a shared or slave mount below it, Bidirectional a shared one: else mounts
/// would silently not travel.
fn check_propagation(found: &OwnedFd, wanted: Propagation, path: &Path) -> Result<()> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", found.as_raw_fd()))
        .map_err(failed("read fdinfo"))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")).map_or("", str::trim);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(failed("mountinfo"))?;
    let line = mounts.lines().find(|line| line.split(' ').next() == Some(id)).unwrap_or("");
    let optional = line.split(" - ").next().unwrap_or("");
    let shared = optional.contains(" shared:");
    if shared || wanted == Propagation::Slave && optional.contains(" master:") {
        return Ok(());
    }
    let kind = if wanted == Propagation::Shared { "shared" } else { "shared or slave" };
    let path = path.display();
    Err(Error::Invalid(format!("path \"{path}\" is mounted on a mount that is not {kind}")))
}

fn tree(fd: BorrowedFd<'_>, flags: u32) -> Result<OwnedFd> {
    m::copy_tree(fd, flags).map_err(failed("copy a mount"))
}

/// The name under which the kernel finds an open file again, while the machine's /proc is there.
fn proc_path(fd: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

fn mount_root(job: &Job) -> Result<()> {
    let folder = |path: &Path| {
        sys::open(path, libc::O_PATH | libc::O_DIRECTORY, 0)
            .map_err(failed(format_args!("open {}", path.display())))
    };
    match &job.spec.rootfs {
        Rootfs::Folder(path) => {
            let copy = tree(folder(path)?.as_fd(), libc::AT_RECURSIVE as u32)?;
            let private = libc::MS_PRIVATE;
            m::set_attributes(copy.as_fd(), 0, 0, private, libc::AT_RECURSIVE)
                .map_err(failed("make the root private"))?;
            m::attach_tree(copy.as_fd(), folder(&job.mountpoint)?.as_fd())
                .map_err(failed("mount the root"))
        }
        Rootfs::Overlay { lower, upper, work } => {
            // The mode of the upper one is what the container sees as that of `/`.
            let mut folders = std::fs::DirBuilder::new();
            folders.recursive(true).mode(0o755);
            for path in [upper, work] {
                folders.create(path).map_err(failed(format_args!("make {}", path.display())))?;
            }
            // mount(2) takes one page of options: names of open files are short, however long the
            // paths of an image of 128 layers are.
            let open = lower.iter().chain([upper, work]).map(|path| folder(path));
            let open = open.collect::<Result<Vec<_>>>()?;
            let names: Vec<_> = open.iter().map(|fd| proc_path(fd).display().to_string()).collect();
            let (lowers, [upper, work]) = names.split_at(lower.len()) else {
                return Err(Error::Invalid("an overlay needs folders".into()));
            };
            let lowers = lowers.join(":");
            // index=off: an upper folder may come back while an old namespace still dies.
            let options = format!("lowerdir={lowers},upperdir={upper},workdir={work},index=off");
            m::mount("overlay", &job.mountpoint, "overlay", 0, &options)
                .map_err(failed("mount the overlay"))
        }
    }
}

fn enter_root(mountpoint: &Path) -> Result<()> {
    std::env::set_current_dir(mountpoint).map_err(failed("enter the root"))?;
    m::pivot_here().map_err(failed("pivot_root"))?;
    // The old root lies on top of the new one now; what is under it stays as it is elsewhere.
    m::unmount(Path::new("."), libc::MNT_DETACH).map_err(failed("leave the old root"))?;
    std::env::set_current_dir("/").map_err(failed("enter /"))
}

/// Returns /proc.
fn kernel_mounts(job: &Job, root: &Inside, proc: Option<OwnedFd>) -> Result<Inside> {
    let privileged = job.spec.security.privileged;
    let sys_mode = if privileged { 0 } else { RDONLY };
    let plain = NOSUID | NODEV | NOEXEC;
    let put = |target: &str, kind: &str, attributes: u64, options: &str| -> Result<OwnedFd> {
        let made = m::make(kind, options, attributes)
            .map_err(failed(format_args!("mount {kind} at {target}")))?;
        put_own(root, target, &made)?;
        Ok(made)
    };
    let proc = match proc {
        Some(tree) => put_own(root, "/proc", &tree).map(|()| tree)?,
        None => put("/proc", "proc", plain, "")?,
    };
    let strict = NOSUID | libc::MOUNT_ATTR_STRICTATIME;
    put("/dev", "tmpfs", strict, "mode=755,size=65536k")?;
    put("/dev/pts", "devpts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5")?;
    put("/dev/mqueue", "mqueue", plain, "")?;
    put("/sys", "sysfs", plain | sys_mode, "")?;
    if job.cgroup_views.is_empty() {
        put("/sys/fs/cgroup", "cgroup2", plain | sys_mode, "")?;
        return Ok(Inside::new(proc));
    }
    let cgroups = put("/sys/fs/cgroup", "tmpfs", plain, "mode=755")?;
    for (name, options) in &job.cgroup_views {
        put(&format!("/sys/fs/cgroup/{name}"), "cgroup", plain | sys_mode, options)?;
        for alone in name.split(',').filter(|alone| *alone != name) {
            let link = format!("/sys/fs/cgroup/{alone}");
            std::os::unix::fs::symlink(name, &link).map_err(failed(link))?;
        }
    }
    if !privileged {
        m::set_attributes(cgroups.as_fd(), RDONLY, 0, 0, 0)
            .map_err(failed("make /sys/fs/cgroup read-only"))?;
    }
    Ok(Inside::new(proc))
}

/// A mount of ours, onto a folder and nothing else: a link of the image would hide where it lies.
fn put_own(root: &Inside, target: &str, tree: &OwnedFd) -> Result<()> {
    let (path, what) = (Path::new(target), || format!("mount at {target}"));
    let folder = match root.open_plain(path, libc::O_PATH | libc::O_NOFOLLOW) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            root.make(path, Shape::Folder, 0o755, Dangling::Refused)
        }
        other => other,
    };
    let folder = folder.map_err(failed(what()))?;
    if inside::kind(&folder).map_err(failed(what()))? != libc::S_IFDIR {
        let text = format!("{target} of the image is not a folder: nothing can be mounted");
        return Err(Error::Invalid(text));
    }
    m::attach_tree(tree.as_fd(), folder.as_fd()).map_err(failed(what()))
}

fn put(root: &Inside, proc: &Inside, mount: &Mount, source: Source) -> Result<()> {
    let what = || format!("mount at {}", mount.target.display());
    let (made, shape) = match source {
        Source::Tree(tree, shape) => (Some(tree), shape),
        Source::Own => (None, Shape::Folder),
        Source::Tmpfs(options) => {
            let attributes = NOSUID | NODEV | if mount.readonly { RDONLY } else { 0 };
            let made = m::make("tmpfs", &options, attributes).map_err(failed(what()))?;
            (Some(made), Shape::Folder)
        }
    };
    let target = root.make(&mount.target, shape, 0o755, Dangling::Made).map_err(failed(what()))?;
    check_target(root, proc, &target)
        .map_err(failed(what()))?
        .map_or(Ok(()), |why| Err(Error::Invalid(format!("{}: {why}", what()))))?;
    let made = made.map_or_else(|| tree(target.as_fd(), 0), Ok)?;
    m::attach_tree(made.as_fd(), target.as_fd()).map_err(failed(what()))
}

/// Why nothing can be mounted there. What lies on /proc would be looked at in its place: by us when
/// an exec comes, and by every program that trusts it.
fn check_target(root: &Inside, proc: &Inside, at: &OwnedFd) -> io::Result<Option<&'static str>> {
    let (root, proc, at) = (sys::stat(root)?, sys::stat(proc)?, sys::stat(at)?);
    Ok(if at.st_dev == proc.st_dev {
        Some("nothing can be mounted over /proc, or below it")
    } else if (at.st_dev, at.st_ino) == (root.st_dev, root.st_ino) {
        Some("nothing can be mounted over the root itself")
    } else {
        None
    })
}

/// What hides a file: the null device. A folder is hidden by an empty one.
struct Masks<'a> {
    null: &'a OwnedFd,
}

impl Masks<'_> {
    fn proc(&self, proc: &Inside) -> Result<()> {
        for name in READ_ONLY_PROC {
            let what = || format!("make /proc/{name} read-only");
            let Some(target) = there(proc, name).map_err(failed(what()))? else { continue };
            let copy = tree(target.as_fd(), libc::AT_RECURSIVE as u32)?;
            m::set_attributes(copy.as_fd(), RDONLY, 0, 0, libc::AT_RECURSIVE)
                .map_err(failed(what()))?;
            m::attach_tree(copy.as_fd(), target.as_fd()).map_err(failed(what()))?;
        }
        MASKED_PROC.iter().try_for_each(|name| self.hide(proc, "/proc", name))
    }

    fn sys(&self, root: &Inside) -> Result<()> {
        let sys = root.open_plain(Path::new("/sys"), libc::O_PATH | libc::O_DIRECTORY);
        let sys = Inside::new(sys.map_err(failed("open /sys"))?);
        MASKED_SYS.iter().try_for_each(|name| self.hide(&sys, "/sys", name))
    }

    fn hide(&self, system: &Inside, at: &str, name: &str) -> Result<()> {
        let what = || format!("mask {at}/{name}");
        let Some(target) = there(system, name).map_err(failed(what()))? else { return Ok(()) };
        let mask = if inside::kind(&target).map_err(failed(what()))? == libc::S_IFDIR {
            let options = "mode=755,size=4k,nr_inodes=2";
            m::make("tmpfs", options, RDONLY | NOSUID | NODEV | NOEXEC).map_err(failed(what()))?
        } else {
            tree(self.null.as_fd(), 0)?
        };
        m::attach_tree(mask.as_fd(), target.as_fd()).map_err(failed(what()))
    }
}

/// What a file system of the kernel's has under a name. What it lacks needs no protection, and
/// anything else than its absence is an error: it is there, and must not stay open.
fn there(system: &Inside, name: &str) -> io::Result<Option<OwnedFd>> {
    match system.open_plain(Path::new(name), libc::O_PATH) {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The master of a new terminal, of the devpts that lies at /dev/pts: what else may lie there is no
/// terminal, and to open it could do anything.
pub(super) fn terminal(root: &Inside) -> Result<OwnedFd> {
    /// linux/magic.h.
    const DEVPTS: i64 = 0x1cd1;
    let open = |flags| {
        let found = root.open_plain(Path::new("/dev/pts/ptmx"), flags)?;
        let real = sys::file_system(&found)? == DEVPTS
            && sys::stat(&found)?.st_rdev == libc::makedev(5, 2);
        Ok(if real { Some(found) } else { None })
    };
    let none = || {
        let text = "/dev/pts/ptmx of the container is not its terminals' master";
        Error::Invalid(text.into())
    };
    open(libc::O_PATH).map_err(failed("open a pty"))?.ok_or_else(none)?;
    open(libc::O_RDWR | libc::O_NOCTTY).map_err(failed("open a pty"))?.ok_or_else(none)
}

/// The container's own null device. The machine's would be in the hands of whoever is root in the
/// container: an open file can be closed to others, or given away (fchmod(2), fchown(2)).
pub(super) fn null(root: &Inside) -> Result<OwnedFd> {
    let open = |flags| {
        let found = root.open_plain(Path::new("/dev/null"), flags | libc::O_NOFOLLOW)?;
        let it = sys::stat(&found)?;
        let real = it.st_mode & libc::S_IFMT == libc::S_IFCHR && it.st_rdev == libc::makedev(1, 3);
        Ok(if real { Some(found) } else { None })
    };
    let none = || Error::Invalid("/dev/null of the container is not the null device".into());
    let what = "open the container's /dev/null";
    open(libc::O_PATH).map_err(failed(what))?.ok_or_else(none)?;
    open(libc::O_RDWR | libc::O_NOCTTY).map_err(failed(what))?.ok_or_else(none)
}

/// A copy of the process file system that is mounted at a path, without what lies on it.
pub(super) fn proc_at(path: &Path) -> Result<OwnedFd> {
    let what = || format!("take {}", path.display());
    let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_DIRECTORY;
    let found = sys::open(path, flags, 0).map_err(failed(what()))?;
    if sys::file_system(&found).map_err(failed(what()))? != libc::PROC_SUPER_MAGIC {
        return Err(Error::System(format!("{} is no process file system", path.display())));
    }
    let copy = tree(found.as_fd(), 0)?;
    let plain = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    m::set_attributes(copy.as_fd(), plain, libc::MOUNT_ATTR_RDONLY, libc::MS_PRIVATE, 0)
        .map_err(failed(what()))?;
    Ok(copy)
}

/// The container's terminal also lies at /dev/console.
pub(super) fn console(root: &Inside, peer: BorrowedFd<'_>) -> Result<()> {
    let path = Path::new("/dev/console");
    let made = root.make(path, Shape::File, 0o755, Dangling::Refused);
    // Again, and not through a link: the terminal must not hide anything else.
    let target = made.and_then(|_| root.open_plain(path, libc::O_PATH));
    let target = target.map_err(failed("mount at /dev/console"))?;
    m::attach_tree(tree(peer, 0)?.as_fd(), target.as_fd()).map_err(failed("mount at /dev/console"))
}

/// A device node of the machine: (number, mode with type, owner, group).
pub(super) fn node(path: &Path) -> Result<(u64, u32, u32, u32)> {
    let found = std::fs::metadata(path).map_err(failed(format_args!("{}", path.display())))?;
    let kind = found.file_type();
    if !kind.is_char_device() && !kind.is_block_device() {
        return Err(Error::Invalid(format!("{} is not a device node", path.display())));
    }
    Ok((found.rdev(), found.mode(), found.uid(), found.gid()))
}
