//! The keys that Skiff makes itself when it is told to encrypt secrets (`secrets-encryption`), in a file of the
//! cluster's own: an EncryptionConfiguration that only its owner reads, replaced as a whole.
//!
//! The cipher is NaCl's secretbox: its nonces are long enough to be drawn at random for ever, while AES-GCM would have
//! to be given another key every few hundred thousand writes. A key goes only when nothing is sealed with it any more.

use super::config::Config;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use skiff_base::{World, disk};
use skiff_json::{Value, json};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What is written: sealed, or plain while what was sealed once can still be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Sealed,
    Plain,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    #[error("cannot use {}: {source}; check who owns it and whether the disk is full", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error(
        "{} holds no keys ({why}): restore it from a backup; without it what it sealed cannot be read",
        path.display()
    )]
    Damaged { path: PathBuf, why: String },
}

/// The file.
#[derive(Debug, Clone)]
pub struct Own {
    path: PathBuf,
}

impl Own {
    /// In the folder of the cluster's keys.
    pub fn new(folder: &Path) -> Own {
        Own { path: folder.join("encryption.json") }
    }

    /// What it says; makes it with a first key if need be. `None`: nothing was sealed ever.
    ///
    /// # Errors
    /// The file cannot be read or made.
    pub fn open(&self, manner: Manner, world: &World) -> Result<Option<Config>, OwnError> {
        let keys = match (self.read()?, manner) {
            (Some(keys), _) => keys,
            (None, Manner::Plain) => return Ok(None),
            (None, Manner::Sealed) => {
                let keys = vec![(name(1, world), secret(world))];
                self.write(&keys)?;
                keys
            }
        };
        self.config(&keys, manner).map(Some)
    }

    /// Puts a new key in front, which writes from now on; the others read. Its name.
    ///
    /// # Errors
    /// As of [`Own::open`].
    pub fn add(&self, world: &World) -> Result<(String, Config), OwnError> {
        let mut keys = self.read()?.unwrap_or_default();
        let number = |name: &str| name.strip_prefix("key")?.split('-').next()?.parse::<u64>().ok();
        let most = keys.iter().filter_map(|(name, _)| number(name)).max().unwrap_or(0);
        let name = name(most + 1, world);
        keys.insert(0, (name.clone(), secret(world)));
        self.write(&keys)?;
        Ok((name, self.config(&keys, Manner::Sealed)?))
    }

    /// Forgets all keys but the first, with which all is sealed by now.
    ///
    /// # Errors
    /// As of [`Own::open`].
    pub fn keep_first(&self) -> Result<Config, OwnError> {
        let mut keys = self.read()?.unwrap_or_default();
        keys.truncate(1);
        self.write(&keys)?;
        self.config(&keys, Manner::Sealed)
    }

    fn config(&self, keys: &[(String, String)], manner: Manner) -> Result<Config, OwnError> {
        Config::parse(document(keys, manner).to_string().as_bytes())
            .map_err(|why| self.damaged(why))
    }

    fn damaged(&self, why: String) -> OwnError {
        OwnError::Damaged { path: self.path.clone(), why }
    }

    fn read(&self) -> Result<Option<Vec<(String, String)>>, OwnError> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(OwnError::File { path: self.path.clone(), source }),
        };
        let value: Value =
            skiff_json::from_slice(&text).map_err(|error| self.damaged(error.to_string()))?;
        let keys = value["resources"][0]["providers"][0]["secretbox"]["keys"].as_array();
        let key = |key: &Value| {
            Some((key["name"].as_str()?.to_owned(), key["secret"].as_str()?.to_owned()))
        };
        let keys: Option<Vec<_>> = keys.and_then(|keys| keys.iter().map(key).collect());
        let keys = keys.filter(|keys| !keys.is_empty());
        keys.map(Some).ok_or_else(|| self.damaged("no list of keys is in it".into()))
    }

    fn write(&self, keys: &[(String, String)]) -> Result<(), OwnError> {
        let text = format!("{:#}\n", document(keys, Manner::Sealed));
        let written = disk::replace(&self.path, text.as_bytes(), 0o600);
        written.map_err(|source| OwnError::File { path: self.path.clone(), source })
    }
}

/// No two keys share a name, not even one that is made after the file was lost.
fn name(number: u64, world: &World) -> String {
    format!("key{number}-{:08x}", world.random() >> 32)
}

fn secret(world: &World) -> String {
    let mut bytes = [0; 32];
    world.fill(&mut bytes);
    BASE64_STANDARD.encode(bytes)
}

fn document(keys: &[(String, String)], manner: Manner) -> Value {
    let keys: Vec<Value> =
        keys.iter().map(|(name, secret)| json!({"name": name, "secret": secret})).collect();
    let (sealed, plain) = (json!({"secretbox": {"keys": keys}}), json!({"identity": {}}));
    let providers = match manner {
        Manner::Sealed => [sealed, plain],
        Manner::Plain => [plain, sealed],
    };
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": providers}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_made_added_and_forgotten_in_a_file_of_their_owners() {
        let folder = std::env::temp_dir().join(format!("skiff-own-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (own, world) = (Own::new(&folder), World::real());
        assert!(own.open(Manner::Plain, &world).unwrap().is_none());
        let form = |config: &Config| config.providers("secrets/a/b")[0].form();
        let config = own.open(Manner::Sealed, &world).unwrap().unwrap();
        assert!(form(&config).starts_with("k8s:enc:secretbox:v1:key1-"));
        assert_eq!(form(&own.open(Manner::Plain, &world).unwrap().unwrap()), "");
        let (name, config) = own.add(&world).unwrap();
        assert_eq!(form(&config), format!("k8s:enc:secretbox:v1:{name}:"));
        own.keep_first().unwrap();
        let text = std::fs::read_to_string(&own.path).unwrap();
        assert!(text.contains("key2-") && !text.contains("key1-"));
        let mode = std::fs::metadata(&own.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&own.path, "{}").unwrap();
        let error = own.open(Manner::Sealed, &world).err().unwrap().to_string();
        assert!(error.contains("restore it from a backup"), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
