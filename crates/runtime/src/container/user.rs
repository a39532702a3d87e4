//! From `USER` of an image to numbers, by the image's own /etc/passwd and /etc/group.
//!
//! The files are read without mounting: an overlay's layers are searched from the top, and no
//! symbolic link leads out of a layer. Never here: the machine's own users.

use crate::spec::{Rootfs, User};
use crate::{Error, Result, sys};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// More of a passwd file than this is not read: thousands of users, and no honest image has more.
const MAX_FILE: u64 = 1 << 20;

/// `name`, `uid`, `name:group`, `uid:gid` and so on; empty is root. A number that the image does
/// not know is fine (group 0 then); a name must be there.
pub fn resolve(rootfs: &Rootfs, user: &str) -> Result<User> {
    let passwd = read(rootfs, "etc/passwd")?;
    let group = read(rootfs, "etc/group")?;
    lookup(&passwd, &group, user)
}

/// The home folder of a user by a passwd file's text.
pub(crate) fn home(passwd: &str, uid: u32) -> Option<&str> {
    let entry = passwd.lines().map(fields).find(|entry| number(entry, 2) == Some(uid))?;
    entry.get(5).copied().filter(|home| !home.is_empty())
}

fn lookup(passwd: &str, group: &str, user: &str) -> Result<User> {
    let (user, wanted_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let by_name = passwd.lines().map(fields).find(|entry| entry[0] == user);
    let numeric: Option<u32> = user.parse().ok();
    let entry = by_name.or_else(|| {
        passwd.lines().map(fields).find(|entry| numeric.is_some() && number(entry, 2) == numeric)
    });
    let uid = entry.as_ref().and_then(|entry| number(entry, 2)).or(numeric).ok_or_else(|| {
        Error::Invalid(format!("unable to find user {user}: no matching entries in passwd file"))
    })?;
    let groups: Vec<Vec<&str>> = group.lines().map(fields).collect();
    if let Some(wanted) = wanted_group.filter(|wanted| !wanted.is_empty()) {
        let named = groups.iter().find(|entry| entry[0] == wanted).and_then(|e| number(e, 2));
        let gid = named.or_else(|| wanted.parse().ok()).ok_or_else(|| {
            Error::Invalid(format!(
                "unable to find group {wanted}: no matching entries in group file"
            ))
        })?;
        return Ok(User { uid, gid, groups: Vec::new() });
    }
    let gid = entry.as_ref().and_then(|entry| number(entry, 3)).unwrap_or(0);
    let Some(name) = entry.as_ref().map(|entry| entry[0]) else {
        return Ok(User { uid, gid, groups: Vec::new() });
    };
    let member = |entry: &&Vec<&str>| {
        entry.get(3).is_some_and(|members| members.split(',').any(|member| member == name))
    };
    let groups = groups.iter().filter(member).filter_map(|entry| number(entry, 2)).collect();
    Ok(User { uid, gid, groups })
}

fn fields(line: &str) -> Vec<&str> {
    line.trim().split(':').collect()
}

fn number(entry: &[&str], at: usize) -> Option<u32> {
    entry.get(at)?.parse().ok()
}

/// The text of a file of the root file system; empty if it has none.
fn read(rootfs: &Rootfs, file: &str) -> Result<String> {
    let layers: Vec<&Path> = match rootfs {
        Rootfs::Folder(folder) => vec![folder],
        Rootfs::Overlay { lower, upper, .. } => {
            [upper].into_iter().chain(lower).map(|path| path.as_path()).collect()
        }
    };
    for layer in layers {
        match read_below(layer, file) {
            Ok(Some(text)) => return Ok(text),
            Ok(None) => return Ok(String::new()),
            // Not in this layer (or the upper folder has not been made yet): look further down.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => {
                let path = layer.join(file);
                return Err(Error::System(format!("read {}: {e}", path.display())));
            }
        }
    }
    Ok(String::new())
}

/// None where the layer says that the file was removed (a whiteout: overlayfs, character 0:0).
fn read_below(layer: &Path, file: &str) -> io::Result<Option<String>> {
    let layer = sys::open(layer, libc::O_PATH | libc::O_DIRECTORY, 0)?;
    let (flags, resolve) = (libc::O_RDONLY | libc::O_NONBLOCK, libc::RESOLVE_IN_ROOT);
    let found = match sys::open_at(layer.as_fd(), Path::new(file), flags, 0, resolve) {
        // Opening a whiteout: there is no driver for device 0:0.
        Err(e) if e.raw_os_error() == Some(libc::ENXIO) => return Ok(None),
        other => std::fs::File::from(other?),
    };
    if found.metadata()?.file_type().is_char_device() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    found.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/srv:/bin/sh\n\nbad\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:app,other\nlog:x:34:app\n";

    fn check(user: &str) -> String {
        match lookup(PASSWD, GROUP, user) {
            Ok(user) => format!("{} {} {:?}", user.uid, user.gid, user.groups),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn names_and_numbers() {
        expect!["0 0 []"].assert_eq(&check(""));
        expect!["1000 1001 [33, 34]"].assert_eq(&check("app"));
        expect!["1000 1001 [33, 34]"].assert_eq(&check("1000"));
        expect!["4242 0 []"].assert_eq(&check("4242"));
        expect!["4242 33 []"].assert_eq(&check("4242:web"));
        expect!["1000 7 []"].assert_eq(&check("app:7"));
        expect!["unable to find user nobody: no matching entries in passwd file"]
            .assert_eq(&check("nobody"));
        expect!["unable to find group x: no matching entries in group file"]
            .assert_eq(&check("app:x"));
    }

    #[test]
    fn homes() {
        assert_eq!(home(PASSWD, 1000), Some("/srv"));
        assert_eq!(home(PASSWD, 7), None);
    }

    #[test]
    fn layers_from_the_top_and_links_stay_inside() {
        let top = tempfolder("user-layers");
        let (upper, lower) = (top.join("upper"), top.join("lower"));
        std::fs::create_dir_all(lower.join("etc")).expect("mkdir");
        std::fs::create_dir_all(lower.join("files")).expect("mkdir");
        std::fs::write(lower.join("files/passwd"), "app:x:7:8:::\n").expect("write");
        std::os::unix::fs::symlink("/files/passwd", lower.join("etc/passwd")).expect("link");
        let rootfs =
            Rootfs::Overlay { lower: vec![lower], upper: upper.clone(), work: top.join("work") };
        assert_eq!(resolve(&rootfs, "app").expect("found").uid, 7);
        std::fs::create_dir_all(upper.join("etc")).expect("mkdir");
        std::fs::write(upper.join("etc/passwd"), "app:x:9:9:::\n").expect("write");
        assert_eq!(resolve(&rootfs, "app").expect("found").uid, 9);
        std::fs::remove_dir_all(top).expect("clean up");
    }

    fn tempfolder(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("skiff-{name}-{}", std::process::id()))
    }
}
