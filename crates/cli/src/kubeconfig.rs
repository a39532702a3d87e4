//! The caller's kubeconfigs: our context goes in and comes out again, everything else stays as it is.
//!
//! Several files are taken as kubectl takes them: an entry is changed in the file that defines it, a new one goes into
//! the first file that exists, else into the last (`kubectl config --help`). A file is replaced as a whole (written
//! beside, renamed), under the lock that kubectl itself takes: a file of the same name with `.lock` behind it
//! (documentation of client-go's clientcmd). A key goes in, so group and others lose access to it.

mod entries;

pub use entries::Known;

use crate::user::{self, Caller};
use anyhow::{Context, Result, bail};
use rustix::fs::{Access, OFlags, access};
use skiff_base::World;
use skiff_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// kubectl holds the lock for some milliseconds.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// A kubeconfig of thousands of clusters is below that.
const SIZE_MOST: u64 = 16 << 20;

/// One caller's files.
#[derive(Debug, Clone)]
pub struct Kubeconfig {
    paths: Vec<PathBuf>,
    caller: Caller,
}

impl Kubeconfig {
    pub fn of_caller() -> Result<Kubeconfig> {
        let caller = user::caller()?;
        let variable = std::env::var("KUBECONFIG").ok();
        Ok(Kubeconfig { paths: user::kubeconfigs(&caller, variable.as_deref()), caller })
    }

    /// A file that an earlier `up` wrote to.
    pub fn at(path: &Path) -> Kubeconfig {
        let home = path.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
        let caller = Caller { home: home.to_owned(), ids: None };
        Kubeconfig { paths: vec![path.to_owned()], caller }
    }

    /// The file that new entries go to.
    pub fn path(&self) -> &Path {
        &self.paths[self.first()]
    }

    /// Whether [`Kubeconfig::merge`] can work; an error of one sentence if not.
    pub fn check(&self) -> Result<()> {
        self.with_rights(|| {
            self.read()?;
            let path = self.path();
            let me = rustix::process::geteuid();
            if let Ok(found) = std::fs::metadata(path)
                && !me.is_root()
                && found.uid() != me.as_raw()
            {
                bail!("{} belongs to user {}, not to the caller", path.display(), found.uid());
            }
            // The file is written beside and renamed: its folder has to let the caller do that.
            let folder = path.ancestors().skip(1).find(|part| part.exists()).unwrap_or(path);
            access(folder, Access::WRITE_OK)
                .with_context(|| format!("{} is not the caller's to write to", folder.display()))
        })
    }

    /// Puts the entries of `own` (a kubeconfig with one context) in and makes its context current; the context's name.
    pub fn merge(&self, own: &Value, data: &Path) -> Result<String> {
        let data = data.display().to_string();
        Ok(self.change(|documents| entries::merge(documents, own, &data))?.0)
    }

    /// Takes the entries of the cluster with this authority out.
    pub fn remove(&self, authority: &str) -> Result<()> {
        let ((), changed) = self.change(|documents| entries::remove(documents, authority))?;
        if changed { self.with_rights(|| self.tidy()) } else { Ok(()) }
    }

    pub fn knows(&self, authority: &str) -> Result<Known> {
        self.with_rights(|| Ok(entries::known(&self.read()?, authority)))
    }

    /// A user's rights for the user's files, whoever calls.
    fn with_rights<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let ids = self.caller.ids.or_else(|| user::owner_of(self.path()));
        user::with_rights_of(ids, work)
    }

    fn first(&self) -> usize {
        self.paths.iter().position(|path| path.exists()).unwrap_or(self.paths.len() - 1)
    }

    /// All files, the one for new entries first.
    fn ordered(&self) -> Vec<&PathBuf> {
        let first = self.first();
        let others = self.paths.iter().enumerate().filter(|(at, _)| *at != first);
        std::iter::once(&self.paths[first]).chain(others.map(|(_, path)| path)).collect()
    }

    fn read(&self) -> Result<Vec<Value>> {
        self.ordered().into_iter().map(|path| read(path)).collect()
    }

    /// What the change answers, and whether it changed anything.
    fn change<T: Send>(
        &self,
        change: impl Fn(&mut [Value]) -> T + Send + Sync,
    ) -> Result<(T, bool)> {
        self.with_rights(|| {
            let before = self.read()?;
            let mut after = before.clone();
            let mut result = change(&mut after);
            let paths = self.ordered();
            let differs = |(_, (before, after)): &(_, (&Value, &Value))| before != after;
            let changed = paths.iter().zip(before.iter().zip(&after)).filter(differs);
            let locks: Vec<Lock> =
                changed.map(|(path, _)| Lock::take(path)).collect::<Result<_>>()?;
            if locks.is_empty() {
                return Ok((result, false));
            }
            // What was read before the lock may have changed.
            let mut after = self.read()?;
            result = change(&mut after);
            for lock in &locks {
                let at = paths.iter().position(|path| **path == lock.named);
                let at = at.context("only files of the list are locked")?;
                replace(&lock.path, &after[at])?;
            }
            Ok((result, true))
        })
    }

    /// A file with nothing in it at the usual place, and its empty folder, are as good as none.
    fn tidy(&self) -> Result<()> {
        let usual = user::usual_kubeconfig(&self.caller.home);
        if !self.paths.contains(&usual) || !usual.exists() || usual.is_symlink() {
            return Ok(());
        }
        if entries::is_empty(&read(&usual)?) {
            std::fs::remove_file(&usual)?;
            if let Some(folder) = usual.parent() {
                // Not empty: kubectl's cache is there, which is not ours.
                std::fs::remove_dir(folder).ok();
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Value> {
    let name = path.display();
    // A FIFO without a writer would be waited for.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = match OpenOptions::new().read(true).custom_flags(nonblocking).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(json!({}));
        }
        other => other.with_context(|| format!("opening {name}"))?,
    };
    let found = file.metadata().with_context(|| format!("looking at {name}"))?;
    if !found.is_file() || found.len() > SIZE_MOST {
        bail!("{name} is no kubeconfig: it is no file, or of more than {SIZE_MOST} bytes");
    }
    let mut text = String::new();
    file.take(SIZE_MOST).read_to_string(&mut text).with_context(|| format!("reading {name}"))?;
    if text.trim().is_empty() {
        return Ok(json!({}));
    }
    let config = crate::yaml::read(&text).with_context(|| name.to_string())?;
    match entries::is_sound(&config) {
        true => Ok(config),
        false => bail!("{name} is no kubeconfig"),
    }
}

/// kubectl's lock on one file; dropping it gives it back.
struct Lock {
    /// As it was named, and what a link leads to: that is replaced, not the link.
    named: PathBuf,
    path: PathBuf,
}

impl Lock {
    fn take(named: &Path) -> Result<Lock> {
        make_folder(named)?;
        let path = std::fs::canonicalize(named).unwrap_or_else(|_| named.to_owned());
        let lock = beside(&path, ".lock");
        let make = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&lock);
        let tries = async || {
            let world = World::real();
            for _ in 0..LOCK_TRIES {
                match make() {
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                        world.sleep(LOCK_PAUSE).await;
                    }
                    made => return made.map(|_| true),
                }
            }
            Ok(false)
        };
        let taken = match make() {
            Ok(_) => true,
            Err(_) => std::thread::scope(|scope| {
                // The command line waits in a runtime of its own, which allows no second one in its thread.
                let wait = || crate::run::block(async { Ok(tries().await?) });
                scope.spawn(wait).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .with_context(|| format!("locking {}", path.display()))?,
        };
        if !taken {
            bail!("{} is locked: if no kubectl runs, remove {}", path.display(), lock.display());
        }
        Ok(Lock { named: named.to_owned(), path })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let lock = beside(&self.path, ".lock");
        if let Err(error) = std::fs::remove_file(&lock) {
            crate::say::remark(format_args!("skiff: removing {}: {error}", lock.display()));
        }
    }
}

fn make_folder(path: &Path) -> Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.exists()) else { return Ok(()) };
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder);
    made.with_context(|| format!("making {}", folder.display()))
}

fn replace(path: &Path, config: &Value) -> Result<()> {
    let old = std::fs::metadata(path).ok();
    let fresh = beside(path, ".skiff-new");
    let write = || -> Result<()> {
        // What lies there is left from a run that was killed.
        std::fs::remove_file(&fresh).ok();
        let mut file: File =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(crate::yaml::text(config)?.as_bytes())?;
        if let Some(old) = old {
            let mode = old.mode() & 0o700;
            file.set_permissions(std::fs::Permissions::from_mode(mode))?;
            if file.metadata()?.uid() != old.uid() {
                std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
            }
        }
        file.sync_all()?;
        Ok(std::fs::rename(&fresh, path)?)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    const OTHER: &str = "apiVersion: v1\nclusters:\n- cluster:\n    server: https://other\n  name: other\ncontexts:\n\
        - context:\n    cluster: other\n    namespace: \"yes\"\n    user: \"1e3\"\n  name: other\ncurrent-context: other\n\
        kind: Config\npreferences: {}\nusers: null\n";

    fn own(authority: &str) -> Value {
        json!({
            "current-context": "skiff",
            "clusters": [{"name": "skiff", "cluster": {
                "certificate-authority-data": authority, "server": "https://a"}}],
            "contexts": [{"name": "skiff", "context": {"cluster": "skiff", "user": "skiff"}}],
            "users": [{"name": "skiff", "user": {"client-key-data": "k"}}],
        })
    }

    fn kubeconfig(folder: &Path) -> Kubeconfig {
        let caller = Caller { home: folder.to_owned(), ids: None };
        Kubeconfig { paths: vec![folder.join(".kube/config")], caller }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("skiff-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn ours_goes_in_and_out_and_others_stay() {
        let folder = folder("merge");
        let file = kubeconfig(&folder);
        let data = Path::new("/d");
        std::fs::create_dir_all(folder.join(".kube")).unwrap();
        std::fs::write(file.path(), OTHER).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        file.check().unwrap();
        file.merge(&own("old"), data).unwrap();
        assert_eq!(file.merge(&own("new"), data).unwrap(), "skiff");
        let mode = std::fs::metadata(file.path()).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "an administrator's key is for its owner");
        assert_eq!(file.knows("new").unwrap(), Known::Current("skiff".to_owned()));
        assert_eq!(file.knows("old").unwrap(), Known::No);
        expect![[r#"
            apiVersion: v1
            clusters:
            - cluster:
                server: https://other
              name: other
            - cluster:
                certificate-authority-data: new
                extensions:
                - extension:
                    data: /d
                  name: skiff
                server: https://a
              name: skiff
            contexts:
            - context:
                cluster: other
                namespace: "yes"
                user: "1e3"
              name: other
            - context:
                cluster: skiff
                user: skiff
              name: skiff
            current-context: skiff
            kind: Config
            preferences: {}
            users:
            - name: skiff
              user:
                client-key-data: k
        "#]]
        .assert_eq(&std::fs::read_to_string(file.path()).unwrap());
        file.remove("old").unwrap();
        assert_eq!(file.knows("new").unwrap(), Known::Current("skiff".to_owned()));
        file.remove("new").unwrap();
        let left = read(file.path()).unwrap();
        assert_eq!(left["current-context"], "");
        assert_eq!(left["contexts"].as_array().unwrap().len(), 1);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn nothing_is_left_of_a_file_that_held_only_ours() {
        let folder = folder("empty");
        let file = kubeconfig(&folder);
        file.merge(&own("a"), &folder).unwrap();
        assert_eq!(std::fs::metadata(file.path()).unwrap().mode() & 0o777, 0o600);
        file.remove("a").unwrap();
        assert!(!folder.join(".kube").exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_lock_and_damaged_files_are_respected() {
        let folder = folder("lock");
        let file = kubeconfig(&folder);
        file.merge(&own("a"), &folder).unwrap();
        std::fs::write(beside(file.path(), ".lock"), "").unwrap();
        let error = file.merge(&own("b"), &folder).unwrap_err().to_string();
        assert!(error.contains("is locked"), "{error}");
        std::fs::remove_file(beside(file.path(), ".lock")).unwrap();
        std::fs::write(file.path(), "- a\n").unwrap();
        let error = file.merge(&own("b"), &folder).unwrap_err().to_string();
        assert!(error.contains("is no kubeconfig"), "{error}");
        assert!(!beside(file.path(), ".lock").exists());
        for text in ["a: [", "clusters: 3", "users: {a: 1}", "\u{0}", "a: *b", "\"\\xff"] {
            std::fs::write(file.path(), text).unwrap();
            let error = format!("{:#}", file.check().unwrap_err());
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        std::fs::remove_file(file.path()).unwrap();
        std::fs::create_dir(file.path()).unwrap();
        file.check().unwrap_err();
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn new_entries_go_where_kubectl_would_put_them() {
        let folder = folder("several");
        let paths = ["a", "b", "c"].map(|name| folder.join(name));
        let caller = Caller { home: folder.clone(), ids: None };
        let file = Kubeconfig { paths: paths.to_vec(), caller };
        assert_eq!(file.path(), paths[2], "none exists: the last is made");
        std::fs::write(&paths[1], OTHER).unwrap();
        assert_eq!(file.path(), paths[1], "the first that exists");
        file.merge(&own("a"), &folder).unwrap();
        assert_eq!(paths.each_ref().map(|path| path.exists()), [false, true, false]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
