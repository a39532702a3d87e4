//! The config of an image: what to run and how, as the OCI image spec ("Image Configuration")
//! and Docker write it. The digest of its bytes is the image ID.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::Digest;
use crate::error::Error;

/// What an image says about running it. Absent fields are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    #[serde(deserialize_with = "or_empty")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_empty")]
    pub cmd: Vec<String>,
    /// `NAME=value`.
    #[serde(deserialize_with = "or_empty")]
    pub env: Vec<String>,
    pub working_dir: String,
    /// `user`, `uid`, `user:group`, `uid:gid`; empty is root.
    pub user: String,
    /// `80/tcp`.
    #[serde(deserialize_with = "or_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `SIGTERM` or a number; empty is SIGTERM.
    pub stop_signal: String,
    #[serde(deserialize_with = "or_empty")]
    pub volumes: BTreeMap<String, Empty>,
    #[serde(deserialize_with = "or_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The longest user, folder or signal of an image: errors and statuses quote them.
const WORD_MAX: usize = 4096;

/// The value of a set that is written as an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// The whole document.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ConfigFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    pub(crate) architecture: String,
    pub(crate) os: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
    #[serde(deserialize_with = "or_empty")]
    pub(crate) config: ImageConfig,
    pub(crate) rootfs: RootfsField,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RootfsField {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(deserialize_with = "or_empty")]
    pub(crate) diff_ids: Vec<Digest>,
}

impl ConfigFile {
    /// Reads a config and checks that it describes an image of layers.
    pub(crate) fn parse(bytes: &[u8]) -> Result<ConfigFile, Error> {
        let bad = |why: String| Error::ReadDocument { what: "image config".to_owned(), why };
        let file: ConfigFile =
            serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
        if file.rootfs.kind != "layers" {
            return Err(bad(format!("rootfs.type is {:?}, not \"layers\"", file.rootfs.kind)));
        }
        if !file.os.is_empty() && file.os != "linux" {
            return Err(bad(format!("the image is for {}, not for linux", file.os)));
        }
        let config = &file.config;
        let words = [&config.user, &config.working_dir, &config.stop_signal];
        if words.into_iter().chain(config.volumes.keys()).any(|word| word.len() > WORD_MAX) {
            return Err(bad(format!("a user, folder or signal is longer than {WORD_MAX} bytes")));
        }
        Ok(file)
    }
}

/// Go writes nothing of a slice or map as `null`.
fn or_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn nulls_and_absent_fields_are_empty() {
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["sh"],"Entrypoint":null,
            "Env":["A=b"],"ExposedPorts":{{"80/tcp":{{}}}},"Volumes":null,"Labels":null,
            "OnBuild":null}},"rootfs":{{"type":"layers","diff_ids":["{DIFF}"]}}}}"#
        );
        let file = ConfigFile::parse(text.as_bytes()).unwrap();
        assert_eq!(file.config.cmd, ["sh"]);
        assert!(file.config.entrypoint.is_empty() && file.config.volumes.is_empty());
        assert!(file.config.exposed_ports.contains_key("80/tcp"));
        assert_eq!(file.rootfs.diff_ids.len(), 1);
    }

    #[test]
    fn other_documents_are_refused() {
        for (text, why) in [
            ("{}", "rootfs.type is \"\""),
            ("[]", "cannot read image config"),
            (r#"{"os":"windows","rootfs":{"type":"layers"}}"#, "for windows"),
            (r#"{"rootfs":{"type":"layers","diff_ids":["md5:1"]}}"#, "unsupported digest"),
        ] {
            let error = ConfigFile::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        let long = "x".repeat(WORD_MAX + 1);
        let set = format!(r#"{{"{long}":{{}}}}"#);
        for (field, value) in
            [("User", &*long), ("WorkingDir", &long), ("StopSignal", &long), ("Volumes", &set)]
        {
            let value = if value == set { set.clone() } else { format!("{value:?}") };
            let config = format!(r#""config":{{"{field}":{value}}}"#);
            let text = format!(r#"{{{config},"rootfs":{{"type":"layers"}}}}"#);
            let error = ConfigFile::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("longer than 4096 bytes") && error.len() < 200, "{field}");
        }
    }
}
