//! Which machines there are: a folder with a file for each, and how they are made and ended.
//!
//! The file is written before anything is made and removed last, so whatever happens in between,
//! `destroy` knows what may be there.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::record::Record;
use crate::uplink::{self, Uplink};
use crate::{Error, Machine, Result, cgroup, init};

const NAME_LIMIT: usize = 32;

/// The folder that holds the machines' files, best on a file system that ends with the boot
/// (`/run/skiff/machines`).
#[derive(Clone, Debug)]
pub struct Registry {
    folder: PathBuf,
}

/// What a machine shall be.
#[derive(Clone, Debug)]
pub struct Spec {
    /// 1 to 32 of `a-z 0-9 -`, a letter first; the host name inside.
    pub name: String,
    /// Folder for its data; created if missing, never removed.
    pub data: PathBuf,
    /// Its root in each cgroup hierarchy (`/skiff-NAME`). Missing parents are made and left.
    pub cgroup: PathBuf,
    pub uplink: Uplink,
}

impl Registry {
    pub fn at(folder: impl Into<PathBuf>) -> Registry {
        Registry { folder: folder.into() }
    }

    /// Makes a machine, which stands until [`Registry::destroy`]. If that fails, nothing is left.
    pub fn create(&self, spec: &Spec) -> Result<Machine> {
        check(spec)?;
        fs::create_dir_all(&self.folder).map_err(Error::file("create folder", &self.folder))?;
        let path = self.file(&spec.name);
        let mut record = Record {
            data: spec.data.clone(),
            cgroup: spec.cgroup.clone(),
            link: uplink::link_name(&self.folder, &spec.name),
            address: spec.uplink.inside(),
            init: None,
        };
        let mut file = match fs::File::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists(spec.name.clone()));
            }
            other => other.map_err(Error::file("create", &path))?,
        };
        record.write(&mut file).map_err(Error::file("write", &path))?;
        match self.make(spec, &mut record, &mut file) {
            Ok(()) => self.open(&spec.name),
            Err(error) => {
                // The first error is the one that says why; what cannot be undone stays listed.
                self.destroy(&spec.name).ok();
                Err(error)
            }
        }
    }

    fn make(&self, spec: &Spec, record: &mut Record, file: &mut fs::File) -> Result<()> {
        fs::create_dir_all(&spec.data).map_err(Error::file("create folder", &spec.data))?;
        cgroup::create(&spec.cgroup.join(cgroup::OWN))?;
        let init = init::start(&spec.name)?;
        record.init = Some(init.clone());
        record.write(file).map_err(Error::file("write", self.file(&spec.name)))?;
        uplink::connect(&spec.uplink, &record.link, &spec.name, &init)
    }

    /// A machine that runs.
    pub fn open(&self, name: &str) -> Result<Machine> {
        let record = self.read(name)?;
        Machine::from_record(self, name, record)
    }

    /// The names of the machines that there are, also of those that do not run any more.
    pub fn list(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(Error::file("list", &self.folder))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::file("list", &self.folder))?;
            names.extend(entry.file_name().into_string().ok().filter(|name| is_fit(name)));
        }
        names.sort();
        Ok(names)
    }

    /// Ends a machine, in whatever state it is, and removes every trace but the data folder:
    /// processes, mounts, links, cgroups, the file here.
    pub fn destroy(&self, name: &str) -> Result<()> {
        let record = self.read(name)?;
        // The cable ends with the machine, and what is noted beside it would be lost.
        uplink::disconnect(&record.link)?;
        if let Some(init) = &record.init {
            init.kill()?;
        }
        cgroup::remove(&record.cgroup)?;
        let path = self.file(name);
        fs::remove_file(&path).map_err(Error::file("remove", path))
    }

    fn read(&self, name: &str) -> Result<Record> {
        if !is_fit(name) {
            return Err(Error::BadName(name.to_string()));
        }
        let path = self.file(name);
        match fs::read_to_string(&path) {
            Ok(text) => Record::parse(&text).map_err(|reason| Error::Damaged { path, reason }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::Missing(name.to_string()))
            }
            Err(source) => Err(Error::File { what: "read", path, source }),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn check(spec: &Spec) -> Result<()> {
    if !is_fit(&spec.name) {
        return Err(Error::BadName(spec.name.clone()));
    }
    if !is_cgroup(&spec.cgroup) {
        return Err(Error::BadCgroup(spec.cgroup.clone()));
    }
    Ok(())
}

/// A name of letters that a host name, a file and a cgroup can have.
fn is_fit(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    first && name.len() <= NAME_LIMIT && name.bytes().all(letter)
}

/// An absolute path below the root of a hierarchy, which `destroy` may remove.
fn is_cgroup(path: &Path) -> bool {
    let mut parts = path.components();
    let rooted = parts.next() == Some(Component::RootDir);
    let mut names = parts.peekable();
    rooted && names.peek().is_some() && names.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_cgroups_are_checked() {
        for (name, good) in [
            ("a", true),
            ("dev-2", true),
            ("", false),
            ("2dev", false),
            ("../x", false),
            ("A", false),
        ] {
            assert_eq!(is_fit(name), good, "{name:?}");
        }
        for (path, good) in [
            ("/a", true),
            ("/a/b", true),
            ("/", false),
            ("a", false),
            ("/a/../b", false),
            ("", false),
        ] {
            assert_eq!(is_cgroup(Path::new(path)), good, "{path:?}");
        }
    }
}
