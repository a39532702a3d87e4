//! The caller's kubeconfig: our context goes in and comes out again, everything else stays as it is.
//!
//! The file is replaced as a whole (written beside, renamed), under the lock that kubectl itself takes: a file of the
//! same name with `.lock` behind it (documentation of client-go's clientcmd). Owner and mode stay those of the file.

use crate::user::{self, Caller};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use skiff_base::World;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// kubectl holds the lock for some milliseconds.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// The lists of a kubeconfig whose entries have names.
const LISTS: [&str; 3] = ["clusters", "contexts", "users"];
/// A kubeconfig of thousands of clusters is below that.
const SIZE_MOST: u64 = 16 << 20;

/// One caller's file.
#[derive(Debug, Clone)]
pub struct Kubeconfig {
    pub path: PathBuf,
    caller: Caller,
}

/// Whether the file knows a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    Current,
    Yes,
    No,
}

impl Kubeconfig {
    pub fn of_caller() -> Result<Kubeconfig> {
        let caller = user::caller()?;
        let variable = std::env::var("KUBECONFIG").ok();
        let path = user::kubeconfig(&caller, variable.as_deref());
        // What a link leads to is replaced, not the link.
        let path = std::fs::canonicalize(&path).unwrap_or(path);
        Ok(Kubeconfig { path, caller })
    }

    /// Puts the entries of `own` (a kubeconfig with one context) in and makes its context current.
    pub async fn merge(&self, own: &Value) -> Result<()> {
        self.change(|config| merge(config, own)).await
    }

    /// Takes a context out with its cluster and user, if its cluster has this authority.
    pub async fn remove(&self, context: &str, authority: &str) -> Result<()> {
        if !self.path.exists() {
            return Ok(());
        }
        self.change(|config| remove(config, context, authority)).await?;
        self.tidy()
    }

    pub fn knows(&self, context: &str, authority: &str) -> Result<Known> {
        let config = self.read()?;
        if !is_ours(&config, context, authority) {
            return Ok(Known::No);
        }
        let current = config["current-context"].as_str() == Some(context);
        Ok(if current { Known::Current } else { Known::Yes })
    }

    fn read(&self) -> Result<Value> {
        let path = self.path.display();
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(json!({})),
            other => other.with_context(|| format!("opening {path}"))?,
        };
        if file.metadata()?.len() > SIZE_MOST {
            bail!("{path} is larger than {SIZE_MOST} bytes: is it a kubeconfig?");
        }
        let text = std::io::read_to_string(file).with_context(|| format!("reading {path}"))?;
        if text.trim().is_empty() {
            return Ok(json!({}));
        }
        let config: Value = serde_saphyr::from_str(&text).with_context(|| {
            format!("{path} is no YAML: repair it, or name another $KUBECONFIG")
        })?;
        if !config.is_object() {
            bail!("{path} is no kubeconfig: repair it, or name another one in $KUBECONFIG");
        }
        Ok(config)
    }

    async fn change(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        self.make_folder()?;
        let lock = self.lock().await?;
        let result = self.replace(change);
        let unlocked = std::fs::remove_file(&lock);
        result?;
        unlocked.with_context(|| format!("removing {}", lock.display()))
    }

    fn replace(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let before = self.read()?;
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(());
        }
        let old = std::fs::metadata(&self.path).ok();
        let (owner, mode) = match &old {
            Some(old) => (Some((old.uid(), old.gid())), old.mode() & 0o777),
            None => (self.caller.owner, 0o600),
        };
        if let (Some((uid, _)), Some((owner, _))) = (self.caller.owner, owner)
            && uid != owner
        {
            bail!("{} belongs to somebody else than user {uid}, who called", self.path.display());
        }
        let fresh = beside(&self.path, ".skiff-new");
        let write = || -> Result<()> {
            // What lies there is left from a run that was killed.
            std::fs::remove_file(&fresh).ok();
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(crate::yaml::text(&after)?.as_bytes())?;
            file.set_permissions(std::fs::Permissions::from_mode(mode))?;
            if let Some((uid, gid)) = owner {
                std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
            }
            file.sync_all()?;
            Ok(std::fs::rename(&fresh, &self.path)?)
        };
        write().with_context(|| format!("writing {}", self.path.display()))
    }

    async fn lock(&self) -> Result<PathBuf> {
        let lock = beside(&self.path, ".lock");
        let world = World::real();
        for _ in 0..LOCK_TRIES {
            match OpenOptions::new().write(true).create_new(true).open(&lock) {
                Ok(_) => return Ok(lock),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    world.sleep(LOCK_PAUSE).await;
                }
                Err(error) => bail!("locking {}: {error}", self.path.display()),
            }
        }
        bail!("{} is locked: if no kubectl runs, remove {}", self.path.display(), lock.display())
    }

    fn make_folder(&self) -> Result<()> {
        let Some(folder) = self.path.parent().filter(|folder| !folder.exists()) else {
            return Ok(());
        };
        let made = std::fs::create_dir_all(folder);
        made.with_context(|| format!("making {}", folder.display()))?;
        match self.caller.owner {
            Some((uid, gid)) => Ok(std::os::unix::fs::chown(folder, Some(uid), Some(gid))?),
            None => Ok(()),
        }
    }

    /// A file with nothing in it at the usual place, and its empty folder, are as good as none.
    fn tidy(&self) -> Result<()> {
        let usual = user::usual_kubeconfig(&self.caller.home);
        let config = self.read()?;
        let empty = |list: &str| config[list].as_array().is_none_or(Vec::is_empty);
        if self.path == usual && LISTS.into_iter().all(empty) {
            std::fs::remove_file(&self.path)?;
            if let Some(folder) = self.path.parent() {
                // Not empty: kubectl's cache is there, which is not ours.
                std::fs::remove_dir(folder).ok();
            }
        }
        Ok(())
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn merge(config: &mut Value, own: &Value) {
    for (key, value) in [("apiVersion", "v1"), ("kind", "Config")] {
        if config[key].is_null() {
            config[key] = json!(value);
        }
    }
    for list in LISTS {
        for entry in own[list].as_array().into_iter().flatten() {
            put(config, list, entry);
        }
    }
    config["current-context"] = own["current-context"].clone();
}

fn put(config: &mut Value, list: &str, entry: &Value) {
    let Some(map) = config.as_object_mut() else { return };
    let entries = map.entry(list).or_insert_with(|| json!([]));
    if entries.is_null() {
        *entries = json!([]);
    }
    let Some(entries) = entries.as_array_mut() else { return };
    match entries.iter_mut().find(|known| known["name"] == entry["name"]) {
        Some(known) => *known = entry.clone(),
        None => entries.push(entry.clone()),
    }
}

fn is_ours(config: &Value, context: &str, authority: &str) -> bool {
    let cluster = entry(config, "clusters", context);
    let known = cluster.and_then(|c| c["cluster"]["certificate-authority-data"].as_str());
    known == Some(authority) && entry(config, "contexts", context).is_some()
}

fn entry<'a>(config: &'a Value, list: &str, name: &str) -> Option<&'a Value> {
    config[list].as_array()?.iter().find(|entry| entry["name"] == name)
}

fn remove(config: &mut Value, context: &str, authority: &str) {
    if !is_ours(config, context, authority) {
        return;
    }
    for list in LISTS {
        if let Some(entries) = config[list].as_array_mut() {
            entries.retain(|entry| entry["name"] != context);
        }
    }
    if config["current-context"] == context {
        config["current-context"] = json!("");
    }
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
        let caller = Caller { home: folder.to_owned(), owner: None };
        Kubeconfig { path: folder.join(".kube/config"), caller }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("skiff-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[tokio::test]
    async fn ours_goes_in_and_out_and_others_stay() {
        let folder = folder("merge");
        let file = kubeconfig(&folder);
        std::fs::create_dir_all(folder.join(".kube")).unwrap();
        std::fs::write(&file.path, OTHER).unwrap();
        std::fs::set_permissions(&file.path, std::fs::Permissions::from_mode(0o640)).unwrap();
        file.merge(&own("old")).await.unwrap();
        file.merge(&own("new")).await.unwrap();
        assert_eq!(std::fs::metadata(&file.path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(file.knows("skiff", "new").unwrap(), Known::Current);
        assert_eq!(file.knows("skiff", "old").unwrap(), Known::No);
        expect![[r#"
            apiVersion: v1
            clusters:
            - cluster:
                server: https://other
              name: other
            - cluster:
                certificate-authority-data: new
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
        .assert_eq(&std::fs::read_to_string(&file.path).unwrap());
        file.remove("skiff", "old").await.unwrap();
        assert_eq!(file.knows("skiff", "new").unwrap(), Known::Current);
        file.remove("skiff", "new").await.unwrap();
        let left = file.read().unwrap();
        assert_eq!(left["current-context"], "");
        assert_eq!(left["contexts"].as_array().unwrap().len(), 1);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_file_that_held_only_ours() {
        let folder = folder("empty");
        let file = kubeconfig(&folder);
        file.merge(&own("a")).await.unwrap();
        assert_eq!(std::fs::metadata(&file.path).unwrap().mode() & 0o777, 0o600);
        file.remove("skiff", "a").await.unwrap();
        assert!(!folder.join(".kube").exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_lock_and_a_damaged_file_are_respected() {
        let folder = folder("lock");
        let file = kubeconfig(&folder);
        file.merge(&own("a")).await.unwrap();
        std::fs::write(beside(&file.path, ".lock"), "").unwrap();
        let error = file.merge(&own("b")).await.unwrap_err().to_string();
        assert!(error.contains("is locked"), "{error}");
        std::fs::remove_file(beside(&file.path, ".lock")).unwrap();
        std::fs::write(&file.path, "- a\n").unwrap();
        let error = file.merge(&own("b")).await.unwrap_err().to_string();
        assert!(error.contains("is no kubeconfig"), "{error}");
        assert!(!beside(&file.path, ".lock").exists());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
