//! A folder of files that changes all at once.
//!
//! The files are in a folder with a stamp as its name, `..data` is a link to that, and what users
//! see are links through `..data`. A change writes a new folder and swaps the one link by a rename.
//! Programs that watch for this know these names (documentation of ConfigMap: "Mounted ConfigMaps
//! are updated automatically").
//!
//! The stamp begins with the boot of the machine: what it names is whole as long as that lasts.
//! After another boot it may be anything, since nothing here waits for the disk.

use super::payload::File;
use super::{Place, remove};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";
/// Folders are open to all: who may read is a matter of the files.
const DIR_MODE: u32 = 0o755;
/// What a volume's group gets on files and folders of volumes that are read-only (concepts:
/// "Configure volume permission and ownership change policy for Pods").
const GROUP_FILE: u32 = 0o440;
const GROUP_DIR: u32 = 0o2550;

/// Makes the folder, of this mode, show exactly these files.
pub fn write(place: &Place, mode: u32, files: &BTreeMap<String, File>) -> io::Result<()> {
    let Place { dir, group, boot, stamp } = place;
    let group = *group;
    fs::create_dir_all(dir)?;
    own_dir(dir, mode, group)?;
    let data = dir.join(DATA);
    if is_of(dir, boot) && data.exists() && same(&data, files)? {
        return Ok(());
    }
    let name = stamped(boot) + stamp;
    let fresh = dir.join(&name);
    fs::create_dir(&fresh)?;
    own_dir(&fresh, DIR_MODE, group)?;
    for (path, file) in files {
        write_file(&fresh, path, file, group)?;
    }
    let next = dir.join(DATA_NEXT);
    remove_if_there(&next)?;
    symlink(&name, &next)?;
    fs::rename(&next, &data)?;
    link_all(dir, files)?;
    remove_others(dir, &name)
}

/// How the names of folders of one boot begin.
fn stamped(boot: &str) -> String {
    format!("..{boot}.")
}

/// Whether what the folder shows was written since the machine came up.
pub fn is_of(dir: &Path, boot: &str) -> bool {
    let name = fs::read_link(dir.join(DATA));
    name.is_ok_and(|name| name.as_os_str().as_encoded_bytes().starts_with(stamped(boot).as_bytes()))
}

/// Removes the folders that were shown before, and those that never were: this process may have
/// ended while it wrote one. Whoever is let write to the volume may have put anything there.
fn remove_others(dir: &Path, kept: &str) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if name.as_encoded_bytes().starts_with(b"..") && name != DATA && name != kept {
            remove::clear(&dir.join(name)).map_err(io::Error::other)?;
        }
    }
    Ok(())
}

fn own_dir(dir: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    chown(dir, None, group)?;
    let mode = if group.is_some() { mode | GROUP_DIR } else { mode };
    fs::set_permissions(dir, fs::Permissions::from_mode(mode))
}

fn write_file(root: &Path, path: &str, file: &File, group: Option<u32>) -> io::Result<()> {
    let full = root.join(path);
    if let Some(parent) = full.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&full, &file.bytes)?;
    let mode = if group.is_some() { file.mode | GROUP_FILE } else { file.mode };
    chown(&full, file.owner, group)?;
    fs::set_permissions(&full, fs::Permissions::from_mode(mode))
}

/// Whether the folder holds these files and no others.
fn same(data: &Path, files: &BTreeMap<String, File>) -> io::Result<bool> {
    let mut found = BTreeSet::new();
    walk(data, "", &mut found)?;
    if !found.iter().eq(files.keys()) {
        return Ok(false);
    }
    for (path, file) in files {
        let full = data.join(path);
        let meta = fs::metadata(&full)?;
        if meta.len() != file.bytes.len() as u64
            || meta.mode() & 0o700 != file.mode & 0o700
            || fs::read(&full)? != file.bytes
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn walk(dir: &Path, prefix: &str, found: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{name}/"), found)?;
        } else {
            found.insert(name);
        }
    }
    Ok(())
}

/// One link for each name at the top; those that lead nowhere any more go.
fn link_all(dir: &Path, files: &BTreeMap<String, File>) -> io::Result<()> {
    let tops: BTreeSet<&str> =
        files.keys().map(|path| path.split('/').next().unwrap_or(path)).collect();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !tops.contains(&*name) {
            fs::remove_file(entry.path())?;
        }
    }
    for top in tops {
        let link = dir.join(top);
        if link.symlink_metadata().is_err() {
            symlink(Path::new(DATA).join(top), link)?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn files(list: &[(&str, &str)]) -> BTreeMap<String, File> {
        let file = |text: &str| File { bytes: text.into(), mode: 0o644, owner: None };
        list.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    fn place(dir: PathBuf, group: Option<u32>, stamp: &str) -> Place {
        Place { dir, group, boot: "b1".into(), stamp: stamp.into() }
    }

    #[test]
    fn a_folder_changes_as_a_whole() {
        let dir = std::env::temp_dir().join(format!("skiff-atomic-{}", std::process::id()));
        let volume = dir.join("v");
        let write = |place: &Place, list: &[(&str, &str)]| {
            super::write(place, 0o1777, &files(list)).expect("written");
        };
        let at = |stamp| place(volume.clone(), None, stamp);
        write(&at("s1"), &[("a", "1"), ("d/x", "2")]);
        assert_eq!(fs::read_to_string(volume.join("d/x")).expect("there"), "2");
        let first = fs::read_link(volume.join("..data")).expect("a link");
        let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o7777;
        assert_eq!([mode(&volume), mode(&volume.join("..data"))], [0o1777, 0o755]);
        write(&at("s2"), &[("a", "1"), ("d/x", "2")]);
        assert_eq!(fs::read_link(volume.join("..data")).expect("a link"), first, "nothing changed");
        // The process ended before the link led there.
        fs::create_dir(volume.join("..b1.s0")).expect("made");
        write(&at("s3"), &[("a", "3")]);
        assert_eq!(fs::read_to_string(volume.join("a")).expect("there"), "3");
        assert!(volume.join("d").symlink_metadata().is_err());
        assert!(!volume.join(first).exists() && !volume.join("..b1.s0").exists());
        let grouped = dir.join("g");
        let at = |stamp| place(grouped.clone(), Some(7), stamp);
        write(&at("s1"), &[("a", "1")]);
        let modes = ["", "..data", "a"].map(|name| mode(&grouped.join(name)));
        assert_eq!(modes, [0o3777, 0o2755, 0o644]);
        assert!(
            ["", "..data", "a"]
                .iter()
                .all(|name| { fs::metadata(grouped.join(name)).expect("there").gid() == 7 })
        );
        let others = dir.join("others");
        fs::create_dir(&others).expect("made");
        for led in [others.as_path(), Path::new("../others"), Path::new("..")] {
            fs::remove_file(grouped.join("..data")).expect("removed");
            symlink(led, grouped.join("..data")).expect("linked");
            symlink(&others, grouped.join("..link")).expect("linked");
            write(&at("s2"), &[("a", "2")]);
            fs::remove_dir_all(grouped.join("..b1.s2")).expect("removed");
            assert!(others.exists() && volume.exists(), "a link leads to what is not the node's");
        }
        fs::remove_dir_all(dir).expect("cleaned up");
    }

    #[test]
    fn what_another_boot_wrote_is_written_anew() {
        let dir = std::env::temp_dir().join(format!("skiff-boots-{}", std::process::id()));
        let list = files(&[("a", "1")]);
        let first = place(dir.join("v"), None, "s1");
        write(&first, 0o777, &list).expect("written");
        assert!(is_of(&first.dir, "b1") && !is_of(&first.dir, "b2") && !is_of(&dir, "b1"));
        let next = Place { boot: "b2".into(), stamp: "s2".into(), ..first };
        write(&next, 0o777, &list).expect("written");
        assert!(is_of(&next.dir, "b2"), "though the files are the same");
        fs::remove_dir_all(dir).expect("cleaned up");
    }
}
