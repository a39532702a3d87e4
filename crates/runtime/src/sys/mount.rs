//! Mounts: the old call for file systems, the new ones (5.2 to 5.12) for trees.

use super::{c_path, check, check_long};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// mount(2). An empty `kind` and `data` are passed as none.
pub(crate) fn mount(
    source: &str,
    target: &Path,
    kind: &str,
    flags: u64,
    data: &str,
) -> io::Result<()> {
    let (source, target, kind, data) =
        (CString::new(source)?, c_path(target)?, CString::new(kind)?, CString::new(data)?);
    // SAFETY: all four are live C strings.
    check(unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast())
    })?;
    Ok(())
}

/// umount2(2).
pub(crate) fn unmount(target: &Path, flags: i32) -> io::Result<()> {
    let target = c_path(target)?;
    // SAFETY: a live C string.
    check(unsafe { libc::umount2(target.as_ptr(), flags) })?;
    Ok(())
}

/// pivot_root(".", "."): the working directory becomes the root, with the old root mounted on it.
pub(crate) fn pivot_here() -> io::Result<()> {
    let here = c".";
    // SAFETY: live C strings.
    check_long(unsafe { libc::syscall(libc::SYS_pivot_root, here.as_ptr(), here.as_ptr()) })?;
    Ok(())
}

/// A detached copy of the mount (with all below it, if recursive) that `fd` lies on.
pub(crate) fn copy_tree(fd: BorrowedFd<'_>, flags: u32) -> io::Result<OwnedFd> {
    let flags =
        flags | libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as u32;
    // SAFETY: the path is empty; on success the descriptor is ours alone.
    unsafe {
        let path = c"".as_ptr();
        let fd = check_long(libc::syscall(libc::SYS_open_tree, fd.as_raw_fd(), path, flags))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// move_mount(2): puts a detached tree onto `target`.
pub(crate) fn attach_tree(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let empty = c"".as_ptr();
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    let (tree, target) = (tree.as_raw_fd(), target.as_raw_fd());
    // SAFETY: both paths are empty.
    check_long(unsafe { libc::syscall(libc::SYS_move_mount, tree, empty, target, empty, flags) })?;
    Ok(())
}

/// A new mount of a new file system, attached nowhere yet (fsopen, fsconfig, fsmount: since 5.2).
/// `options` are those of mount(8); `attributes` are MOUNT_ATTR_.
pub(crate) fn make(kind: &str, options: &str, attributes: u64) -> io::Result<OwnedFd> {
    let (kind, none) = (CString::new(kind)?, std::ptr::null::<libc::c_char>());
    // SAFETY: a live C string; on success the descriptor is ours alone.
    let context = unsafe {
        let fd = check_long(libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC))?;
        OwnedFd::from_raw_fd(fd as RawFd)
    };
    let fd = context.as_raw_fd();
    let source = format!("source={}", kind.to_string_lossy());
    for option in
        [&*source].into_iter().chain(options.split(',')).filter(|option| !option.is_empty())
    {
        let (key, value) = match option.split_once('=') {
            Some((key, value)) => (CString::new(key)?, Some(CString::new(value)?)),
            None => (CString::new(option)?, None),
        };
        let command = if value.is_some() { FSCONFIG_SET_STRING } else { FSCONFIG_SET_FLAG };
        let value = value.as_ref().map_or(none, |value| value.as_ptr());
        // SAFETY: live C strings, or none.
        check_long(unsafe {
            libc::syscall(libc::SYS_fsconfig, fd, command, key.as_ptr(), value, 0)
        })?;
    }
    // SAFETY: no pointers; on success the descriptor is ours alone.
    unsafe {
        check_long(libc::syscall(libc::SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, none, none, 0))?;
        let mount = check_long(libc::syscall(libc::SYS_fsmount, fd, FSMOUNT_CLOEXEC, attributes))?;
        Ok(OwnedFd::from_raw_fd(mount as RawFd))
    }
}

/// linux/mount.h, which the libc crate has only in part.
const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;

/// mount_setattr(2) on the mount that `fd` is the root of.
pub(crate) fn set_attributes(
    fd: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    propagation: u64,
    flags: i32,
) -> io::Result<()> {
    // SAFETY: mount_attr is plain data for which all zeros are valid.
    let mut attributes: libc::mount_attr = unsafe { std::mem::zeroed() };
    attributes.attr_set = set;
    attributes.attr_clr = clear;
    attributes.propagation = propagation;
    let flags = flags | libc::AT_EMPTY_PATH;
    let (fd, size) = (fd.as_raw_fd(), size_of::<libc::mount_attr>());
    // SAFETY: the path is empty and the attributes are a live local of that size.
    check_long(unsafe {
        let path = c"".as_ptr();
        libc::syscall(libc::SYS_mount_setattr, fd, path, flags, &raw const attributes, size)
    })?;
    Ok(())
}
