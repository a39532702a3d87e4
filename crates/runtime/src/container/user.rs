//! From `USER` of an image to numbers, by the image's own /etc/passwd and /etc/group.
//!
//! Digits are an id, whatever the image calls by that name: what a pod or an image says as a number
//! is what runs, and what was checked. The files are read without mounting: an overlay's layers are
//! searched from the top, and no symbolic link leads out of a layer. Never here: the machine's own
//! users.

use super::inside::{Inside, kind};
use crate::spec::{Rootfs, User};
use crate::{Error, Result, sys};
use std::io;
use std::path::Path;

/// More of a passwd file than this is not read: thousands of users, and no honest image has more.
pub(crate) const MAX_FILE: u64 = 1 << 20;
pub(crate) const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";

/// The greatest id (API reference, SecurityContext.runAsUser: 0 to 2147483647). Above are the
/// numbers that kernel interfaces take for "none", and those that wrap around to others.
const MAX_ID: u32 = i32::MAX as u32;
/// As many supplementary groups as the kernel takes (NGROUPS_MAX).
const MAX_GROUPS: usize = 65536;

/// `name`, `uid`, `name:group`, `uid:gid` and so on; empty is root. A number that the image does
/// not know is fine (group 0 then); a name must be there.
pub fn resolve(rootfs: &Rootfs, user: &str) -> Result<User> {
    let user = lookup(&read(rootfs, PASSWD)?, &read(rootfs, GROUP)?, user)?;
    check(&user)?;
    Ok(user)
}

/// Whether the kernel would take all of it for what it is.
pub(crate) fn check(user: &User) -> Result<()> {
    if let Some(id) = user.groups.iter().chain([&user.uid, &user.gid]).find(|id| **id > MAX_ID) {
        return Err(no_id(id));
    }
    if user.groups.len() > MAX_GROUPS {
        let count = user.groups.len();
        return Err(Error::Invalid(format!("{count} groups are more than {MAX_GROUPS}")));
    }
    Ok(())
}

fn no_id(id: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("{id} is no id: ids are 0 to {MAX_ID}"))
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
    let id = if user.is_empty() { Some(0) } else { id(user)? };
    let mut entries = passwd.lines().map(fields);
    let (entry, uid) = match id {
        Some(id) => (entries.find(|entry| number(entry, 2) == Some(id)), id),
        None => {
            let found = entries.find(|entry| entry[0] == user);
            let uid = found.as_ref().and_then(|entry| number(entry, 2)).ok_or_else(|| {
                let why = "no matching entries in passwd file";
                Error::Invalid(format!("unable to find user {user}: {why}"))
            })?;
            (found, uid)
        }
    };
    let mut groups = group.lines().map(fields);
    if let Some(wanted) = wanted_group.filter(|wanted| !wanted.is_empty()) {
        let named = || groups.find(|entry| entry[0] == wanted).and_then(|it| number(&it, 2));
        let gid = self::id(wanted)?.or_else(named).ok_or_else(|| {
            let why = "no matching entries in group file";
            Error::Invalid(format!("unable to find group {wanted}: {why}"))
        })?;
        return Ok(User { uid, gid, groups: Vec::new() });
    }
    let gid = entry.as_ref().and_then(|entry| number(entry, 3)).unwrap_or(0);
    let Some(name) = entry.as_ref().map(|entry| entry[0]) else {
        return Ok(User { uid, gid, groups: Vec::new() });
    };
    let member = |entry: &Vec<&str>| {
        entry.get(3).is_some_and(|members| members.split(',').any(|member| member == name))
    };
    let groups = groups.filter(member).filter_map(|entry| number(&entry, 2)).collect();
    Ok(User { uid, gid, groups })
}

/// A number, if it is one: digits and nothing else. One that is no id is an error.
fn id(text: &str) -> Result<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(id) if id <= MAX_ID => Ok(Some(id)),
        _ => Err(no_id(text)),
    }
}

fn fields(line: &str) -> Vec<&str> {
    line.trim().split(':').collect()
}

/// A field of an entry; one that holds no id matches nobody.
fn number(entry: &[&str], at: usize) -> Option<u32> {
    id(entry.get(at)?).ok().flatten()
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
    let (layer, file) = (Inside::at(layer)?, Path::new(file));
    let found = layer.open(file, libc::O_PATH)?;
    if kind(&found)? == libc::S_IFCHR && sys::stat(&found)?.st_rdev == 0 {
        return Ok(None);
    }
    let bytes = layer.read(file, MAX_FILE)?;
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
    fn digits_are_an_id_and_ids_have_a_range() {
        let passwd = "1000:x:0:0::/:\n+0:x:8:8::/:\nbig:x:4294967295:0::/:\nwrap:x:4294967296:0::/:\n\
                      odd:x:+0:-1::/:\napp:x:1000:7::/:\n0:x:9:9::/:\n";
        let group = "33:x:0:app\n34:x:34:1000\nbig:x:4294967295:app\nweb:x:5:app\n";
        let check = |user: &str| match lookup(passwd, group, user) {
            Ok(user) => format!("{} {} {:?}", user.uid, user.gid, user.groups),
            Err(e) => e.to_string(),
        };
        expect!["1000 7 [0, 5]"].assert_eq(&check("1000"));
        expect!["1000 33 []"].assert_eq(&check("1000:33"));
        expect!["0 0 [34]"].assert_eq(&check("0"));
        expect!["0 0 [34]"].assert_eq(&check("00"));
        expect!["8 8 []"].assert_eq(&check("+0"));
        for (user, why) in [
            ("4294967296", "4294967296 is no id: ids are 0 to 2147483647"),
            ("4294967295", "4294967295 is no id: ids are 0 to 2147483647"),
            ("2147483648", "2147483648 is no id: ids are 0 to 2147483647"),
            ("1:4294967295", "4294967295 is no id: ids are 0 to 2147483647"),
            ("1:big", "unable to find group big: no matching entries in group file"),
            ("big", "unable to find user big: no matching entries in passwd file"),
            ("wrap", "unable to find user wrap: no matching entries in passwd file"),
            ("odd", "unable to find user odd: no matching entries in passwd file"),
            ("0x0", "unable to find user 0x0: no matching entries in passwd file"),
            (" 0", "unable to find user  0: no matching entries in passwd file"),
            ("-1", "unable to find user -1: no matching entries in passwd file"),
            ("\u{660}", "unable to find user \u{660}: no matching entries in passwd file"),
        ] {
            assert_eq!(check(user), why);
        }
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
