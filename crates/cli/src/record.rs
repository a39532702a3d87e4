//! `cluster.json`: what a data folder is. Its presence says that the folder is ours.
//!
//! It holds the profile, the settings that cannot change (what the cluster made stands on them) and the kubeconfigs
//! that were told of the cluster, so that `delete` finds them whoever calls. Never here: what may change.

use crate::place::{self, Place};
use crate::settings::{SETTINGS, Written};
use anyhow::{Context, Result, bail};
use skiff_json::{Map, Value, json};
use std::io::ErrorKind;
use std::path::PathBuf;

/// What stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub profile: String,
    /// Values of the settings that cannot change.
    pub fixed: Written,
    /// Files that `up` wrote a context to.
    pub kubeconfigs: Vec<PathBuf>,
}

impl Record {
    /// `None`: there is no cluster.
    pub fn read(place: &Place) -> Result<Option<Record>> {
        let path = place.record();
        let text = match std::fs::read(&path) {
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            other => other.with_context(|| format!("reading {}", path.display()))?,
        };
        let damaged = || {
            let path = path.display();
            format!(
                "{path} is damaged, or not Skiff's: name another folder with --data, or mend it"
            )
        };
        let value: Value = skiff_json::from_slice(&text).with_context(damaged)?;
        Record::from_json(&value).with_context(damaged).map(Some)
    }

    pub fn write(&self, place: &Place) -> Result<()> {
        place::write(&place.record(), format!("{:#}\n", self.to_json()).as_bytes())
    }

    /// Refuses to take one profile's cluster for another's.
    pub fn belongs_to(&self, profile: &str, place: &Place) -> Result<()> {
        if self.profile == profile {
            return Ok(());
        }
        bail!(
            "{} holds the cluster of profile {:?}: name another folder with --data",
            place.folder().display(),
            self.profile
        )
    }

    fn to_json(&self) -> Value {
        let fixed = self.fixed.iter().filter_map(|(name, values)| Some((*name, values.last()?)));
        let fixed: Map = fixed.map(|(name, value)| (name.to_owned(), json!(value))).collect();
        json!({"profile": self.profile, "fixed": fixed, "kubeconfigs": self.kubeconfigs})
    }

    fn from_json(value: &Value) -> Option<Record> {
        let mut fixed = Written::new();
        for (name, value) in value["fixed"].as_object()? {
            let setting = SETTINGS.iter().find(|setting| setting.name == name)?;
            fixed.insert(setting.name, vec![value.as_str()?.to_owned()]);
        }
        let files = value["kubeconfigs"].as_array()?.iter();
        let files: Option<_> = files.map(|file| file.as_str().map(PathBuf::from)).collect();
        Some(Record { profile: value["profile"].as_str()?.to_owned(), fixed, kubeconfigs: files? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_damage_is_named() {
        let folder = std::env::temp_dir().join(format!("skiff-record-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let place = Place::of(&folder);
        assert_eq!(Record::read(&place).unwrap(), None);
        let record = Record {
            profile: "two".to_owned(),
            fixed: Written::from([("node", vec!["n".to_owned()])]),
            kubeconfigs: vec!["/home/ann/.kube/config".into()],
        };
        record.write(&place).unwrap();
        assert_eq!(Record::read(&place).unwrap().as_ref(), Some(&record));
        assert!(record.belongs_to("one", &place).is_err());
        std::fs::write(place.record(), "{").unwrap();
        let error = Record::read(&place).unwrap_err().to_string();
        assert!(error.contains("cluster.json is damaged"), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
