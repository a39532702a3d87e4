//! The container's file system: its root, the kernel's own file systems, its mounts, its masks.
//!
//! Sources on the machine are opened first, as detached copies of mounts, with `openat2` keeping a
//! subPath inside its volume. Then the root is mounted and entered (pivot_root), and everything
//! else is put in place from the inside: no path of the image, however it is linked, can lead out.
//! All of it lives in the container's mount namespace and goes with it.

use super::{Job, devices};
use crate::spec::{Mount, MountSource, ProcMount, Propagation, Rootfs};
use crate::sys::{self, mount as m};
use crate::{Error, Result, failed};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

const NOSUID: u64 = libc::MS_NOSUID;
const NODEV: u64 = libc::MS_NODEV;
const NOEXEC: u64 = libc::MS_NOEXEC;

/// Hidden from unprivileged containers, as container runtimes agree.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Read-only for unprivileged containers.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Builds it and leaves this process inside.
pub(super) fn build(job: &Job) -> Result<()> {
    let security = &job.spec.security;
    let sources = job.spec.mounts.iter().map(source).collect::<Result<Vec<_>>>()?;
    let shm = tree(sys::open(&job.shm, libc::O_PATH, 0).map_err(failed("open shm"))?.as_fd(), 0)?;
    let nodes = devices::nodes(&job.spec)?;
    m::mount("", Path::new("/"), "", libc::MS_REC | libc::MS_SLAVE, "")
        .map_err(failed("make mounts slaves"))?;
    mount_root(job)?;
    enter_root(&job.mountpoint)?;
    kernel_mounts(job)?;
    devices::make(&nodes)?;
    attach(shm.as_fd(), Path::new("/dev/shm"), Shape::Folder)?;
    let null = sys::open(Path::new("/dev/null"), libc::O_PATH | libc::O_NOFOLLOW, 0)
        .map_err(failed("open the container's /dev/null"))?;
    for (mount, source) in job.spec.mounts.iter().zip(sources) {
        put(mount, source)?;
    }
    if !security.privileged && security.proc_mount == ProcMount::Default {
        READ_ONLY.iter().try_for_each(|path| make_read_only(Path::new(path)))?;
        MASKED.iter().try_for_each(|path| mask(Path::new(path), null.as_fd()))?;
    }
    if job.spec.readonly_rootfs {
        let root = sys::open(Path::new("/"), libc::O_PATH, 0).map_err(failed("open /"))?;
        m::set_attributes(root.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, 0, 0)
            .map_err(failed("make the root read-only"))?;
    }
    Ok(())
}

/// Whether a mount's target is made as a folder or a file.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Folder,
    File,
}

/// What goes onto a target, ready to be put there.
enum Source {
    Tree(OwnedFd, Shape),
    Tmpfs(String),
}

fn source(mount: &Mount) -> Result<Source> {
    match &mount.source {
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
                m::set_attributes(tree.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, 0, flags)
                    .map_err(failed(what()))?;
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
    let open = |path: &Path| {
        // Links are followed as if the volume were the root: none leads out.
        sys::open_at(volume.as_fd(), path, libc::O_PATH, 0, libc::RESOLVE_IN_ROOT)
    };
    match open(below) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        other => return other.map_err(wrong),
    }
    let mut done = PathBuf::new();
    for part in below.components() {
        let Component::Normal(name) = part else { continue };
        let parent = open(if done.as_os_str().is_empty() { Path::new(".") } else { &done })
            .map_err(wrong)?;
        let c_name = CString::new(name.as_bytes()).map_err(|e| wrong(e.into()))?;
        // As the kubelet makes them.
        match sys::mkdir_at(parent.as_fd(), &c_name, 0o750) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(wrong(e)),
            _ => done.push(name),
        }
    }
    open(below).map_err(wrong)
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
            for path in [upper, work] {
                std::fs::create_dir_all(path)
                    .map_err(failed(format_args!("make {}", path.display())))?;
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

/// Folders as mkdir -p, files as touch; parents with mode 0755.
fn make_target(target: &Path, shape: Shape) -> Result<()> {
    let what = || format!("make mount point {}", target.display());
    let folder = if shape == Shape::Folder { Some(target) } else { target.parent() };
    if target.exists() {
        return Ok(());
    }
    if let Some(folder) = folder {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)
            .map_err(failed(what()))?;
    }
    if shape == Shape::File {
        sys::open(target, libc::O_CREAT | libc::O_WRONLY, 0o644).map_err(failed(what()))?;
    }
    Ok(())
}

fn kernel_mounts(job: &Job) -> Result<()> {
    let privileged = job.spec.security.privileged;
    let sys_mode = if privileged { 0 } else { libc::MS_RDONLY };
    let plain = NOSUID | NODEV | NOEXEC;
    let put = |target: &str, kind: &str, flags: u64, data: &str| {
        let target = Path::new(target);
        make_target(target, Shape::Folder)?;
        m::mount(kind, target, kind, flags, data)
            .map_err(failed(format_args!("mount {kind} at {}", target.display())))
    };
    put("/proc", "proc", plain, "")?;
    put("/dev", "tmpfs", NOSUID | libc::MS_STRICTATIME, "mode=755,size=65536k")?;
    put("/dev/pts", "devpts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5")?;
    put("/dev/mqueue", "mqueue", plain, "")?;
    put("/sys", "sysfs", plain | sys_mode, "")?;
    if job.cgroup_views.is_empty() {
        return put("/sys/fs/cgroup", "cgroup2", plain | sys_mode, "");
    }
    put("/sys/fs/cgroup", "tmpfs", plain, "mode=755")?;
    for (name, options) in &job.cgroup_views {
        let target = format!("/sys/fs/cgroup/{name}");
        make_target(Path::new(&target), Shape::Folder)?;
        m::mount("cgroup", Path::new(&target), "cgroup", plain | sys_mode, options)
            .map_err(failed(format_args!("mount {target}")))?;
        for alone in name.split(',').filter(|alone| *alone != name) {
            let link = format!("/sys/fs/cgroup/{alone}");
            std::os::unix::fs::symlink(name, &link).map_err(failed(link))?;
        }
    }
    if privileged { Ok(()) } else { make_read_only(Path::new("/sys/fs/cgroup")) }
}

fn put(mount: &Mount, source: Source) -> Result<()> {
    match source {
        Source::Tree(tree, shape) => attach(tree.as_fd(), &mount.target, shape),
        Source::Tmpfs(options) => {
            make_target(&mount.target, Shape::Folder)?;
            let flags = NOSUID | NODEV | if mount.readonly { libc::MS_RDONLY } else { 0 };
            m::mount("tmpfs", &mount.target, "tmpfs", flags, &options)
                .map_err(failed(format_args!("mount tmpfs at {}", mount.target.display())))
        }
    }
}

fn attach(tree: BorrowedFd<'_>, target: &Path, shape: Shape) -> Result<()> {
    make_target(target, shape)?;
    let what = || format!("mount at {}", target.display());
    let target = sys::open(target, libc::O_PATH, 0).map_err(failed(what()))?;
    m::attach_tree(tree, target.as_fd()).map_err(failed(what()))
}

/// A path that this kernel does not have needs no protection.
fn open_if_there(path: &Path) -> Result<Option<OwnedFd>> {
    match sys::open(path, libc::O_PATH | libc::O_NOFOLLOW, 0) {
        Ok(fd) => Ok(Some(fd)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(format_args!("open {}", path.display()))(e)),
    }
}

/// A read-only copy of the mount on top of itself.
fn make_read_only(path: &Path) -> Result<()> {
    let Some(target) = open_if_there(path)? else { return Ok(()) };
    let copy = tree(target.as_fd(), libc::AT_RECURSIVE as u32)?;
    let what = || format!("make {} read-only", path.display());
    m::set_attributes(copy.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, 0, libc::AT_RECURSIVE)
        .map_err(failed(what()))?;
    m::attach_tree(copy.as_fd(), target.as_fd()).map_err(failed(what()))
}

/// An empty read-only folder or /dev/null on top. The null device was opened right after it was
/// made; what lies at its path by now is of no interest.
fn mask(path: &Path, null: BorrowedFd<'_>) -> Result<()> {
    let Some(target) = open_if_there(path)? else { return Ok(()) };
    let what = || format!("mask {}", path.display());
    let kind = std::fs::symlink_metadata(path).map_err(failed(what()))?;
    if kind.is_dir() {
        let options = "mode=755,size=0k,nr_inodes=2";
        return m::mount("tmpfs", path, "tmpfs", libc::MS_RDONLY, options).map_err(failed(what()));
    }
    let copy = tree(null, 0)?;
    m::attach_tree(copy.as_fd(), target.as_fd()).map_err(failed(what()))
}

/// The container's terminal also lies at /dev/console.
pub(super) fn console(peer: BorrowedFd<'_>) -> Result<()> {
    let copy = tree(peer, 0)?;
    attach(copy.as_fd(), Path::new("/dev/console"), Shape::File)
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
