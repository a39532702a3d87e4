//! The file of settings: YAML, each setting by its name. What a value means is not decided here.

use super::{SETTINGS, Written};
use anyhow::{Context, Result, bail};
use skiff_json::{Map, Value};
use std::io::ErrorKind;
use std::path::Path;

/// Reads a file of settings; one that is not there says nothing.
pub fn read_file(path: &Path) -> Result<Option<Written>> {
    let text = match std::fs::read(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        other => other.with_context(|| format!("reading {}", path.display()))?,
    };
    let written = parse(&text).with_context(|| format!("settings in {}", path.display()))?;
    Ok(Some(written))
}

pub(super) fn parse(text: &[u8]) -> Result<Written> {
    let text = std::str::from_utf8(text).context("not UTF-8")?;
    if text.lines().all(|line| line.trim().is_empty() || line.trim().starts_with('#')) {
        return Ok(Written::new());
    }
    let Value::Object(map) = crate::yaml::read(text)? else {
        bail!("no settings: write lines as `listen: 127.0.0.1:6443`");
    };
    let mut written = Written::new();
    for (key, value) in map {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == key) else {
            let names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
            bail!("there is no setting {key:?}; there are: {}", names.join(", "));
        };
        let one = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            _ => bail!("{key} has to be a text"),
        };
        let values = match &value {
            Value::Array(values) if setting.repeats() => values.iter().map(one).collect(),
            value => one(value).map(|text| vec![text]),
        };
        written.insert(setting.name, values?);
    }
    Ok(written)
}

/// The text of a file of settings.
pub fn text(written: &Written) -> Result<String> {
    let one = |name: &str, values: &Vec<String>| {
        let repeats = SETTINGS.iter().any(|s| s.name == name && s.repeats());
        match values.last() {
            Some(last) if !repeats => Value::from(last.clone()),
            _ => Value::from(values.clone()),
        }
    };
    let map: Map =
        written.iter().map(|(name, values)| ((*name).to_owned(), one(name, values))).collect();
    crate::yaml::text(&Value::Object(map))
}
