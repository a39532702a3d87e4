//! What is mounted, as the kernel tells it (proc(5), mountinfo): the one truth about mounts that
//! outlives this process. Pure but for the one read.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The mounts of this process's namespace, in the order in which they were made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table(Vec<Mount>);

/// One line.
#[derive(Debug, Clone, PartialEq)]
struct Mount {
    point: PathBuf,
    /// The type of its file system.
    type_: String,
}

impl Table {
    pub fn read() -> io::Result<Table> {
        Ok(Table::parse(&std::fs::read_to_string("/proc/self/mountinfo")?))
    }

    /// Lines that are none are passed over.
    pub fn parse(text: &str) -> Table {
        let line = |line: &str| {
            let (before, after) = line.split_once(" - ")?;
            let point = unescape(before.split(' ').nth(4)?);
            Some(Mount { point, type_: after.split(' ').next()?.into() })
        };
        Table(text.lines().filter_map(line).collect())
    }

    /// Whether a file system of this type is what shows at a place.
    pub fn shows(&self, dir: &Path, type_: &str) -> bool {
        let last = self.0.iter().rev().find(|mount| mount.point == dir);
        last.is_some_and(|mount| mount.type_ == type_)
    }

    /// Places at or below a folder, those first that have to be unmounted first.
    pub fn below(&self, dir: &Path) -> impl Iterator<Item = &Path> {
        let points = self.0.iter().rev().map(|mount| &*mount.point);
        points.filter(move |point| point.starts_with(dir))
    }
}

/// Blanks, tabs, line ends and backslashes are written as `\040` and so on.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
23 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
90 23 0:50 / /n/pods/u/v rw - tmpfs tmpfs rw
91 90 0:51 / /n/pods/u/v/a\\040b\\134c rw shared:7 master:2 - fuse.x x rw
92 23 0:52 / /n/pods/u2 rw - tmpfs tmpfs rw
93 90 8:1 /x /n/pods/u/v rw - ext4 /dev/sda1 rw
no line
";

    #[test]
    fn what_is_below_goes_last_first() {
        let table = Table::parse(TEXT);
        let below: Vec<_> = table.below(Path::new("/n/pods/u")).collect();
        assert_eq!(below, ["/n/pods/u/v", "/n/pods/u/v/a b\\c", "/n/pods/u/v"].map(Path::new));
        assert!(table.shows(Path::new("/n/pods/u2"), "tmpfs"));
        assert!(!table.shows(Path::new("/n/pods/u/v"), "tmpfs"), "something covers it");
    }
}
