//! Config maps and secrets as a pod's environment and volumes take them: keys and bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skiff_api::Status;
use skiff_client::Client;
use skiff_kinds::views::{ConfigMap, Secret};
use std::collections::{BTreeMap, BTreeSet};

/// The keys of one object.
pub type Data = BTreeMap<String, Vec<u8>>;

/// What the API said about each object that was asked for; None: it is not there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sources {
    config_maps: BTreeMap<String, Option<Data>>,
    secrets: BTreeMap<String, Option<Data>>,
}

/// The names of objects that a pod uses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Names {
    pub config_maps: BTreeSet<String>,
    pub secrets: BTreeSet<String>,
}

impl Names {
    /// Those of the environment of one container.
    pub fn of_env(container: &skiff_kinds::views::pod::Container) -> Names {
        let mut names = Names::default();
        for from in &container.env_from {
            names.config_maps.extend(from.config_map_ref.iter().map(|s| s.name.clone()));
            names.secrets.extend(from.secret_ref.iter().map(|s| s.name.clone()));
        }
        for source in container.env.iter().filter_map(|variable| variable.value_from.as_ref()) {
            names.config_maps.extend(source.config_map_key_ref.iter().map(|s| s.name.clone()));
            names.secrets.extend(source.secret_key_ref.iter().map(|s| s.name.clone()));
        }
        names
    }

    pub fn is_empty(&self) -> bool {
        self.config_maps.is_empty() && self.secrets.is_empty()
    }
}

impl Sources {
    /// Reads them from the API as they are now.
    pub async fn read(client: &Client, namespace: &str, names: &Names) -> Result<Sources, Status> {
        let mut sources = Sources::default();
        for name in &names.config_maps {
            let found = there(client.view::<ConfigMap>(namespace, name).await)?;
            let data = found.map(of_config_map).transpose()?;
            sources.config_maps.insert(name.clone(), data);
        }
        for name in &names.secrets {
            let found = there(client.view::<Secret>(namespace, name).await)?;
            let data = found.map(|secret| decode(secret.data)).transpose()?;
            sources.secrets.insert(name.clone(), data);
        }
        Ok(sources)
    }

    /// The keys of a config map; an optional one may be absent.
    pub fn config_map(&self, name: &str, optional: bool) -> Result<Option<&Data>, String> {
        find(&self.config_maps, "configmap", name, optional)
    }

    /// The keys of a secret; an optional one may be absent.
    pub fn secret(&self, name: &str, optional: bool) -> Result<Option<&Data>, String> {
        find(&self.secrets, "secret", name, optional)
    }
}

fn find<'a>(
    all: &'a BTreeMap<String, Option<Data>>,
    kind: &str,
    name: &str,
    optional: bool,
) -> Result<Option<&'a Data>, String> {
    match all.get(name).and_then(Option::as_ref) {
        None if !optional => Err(format!("{kind} {name:?} not found")),
        found => Ok(found),
    }
}

fn there<T>(answer: Result<T, Status>) -> Result<Option<T>, Status> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(status) if status.code == 404 => Ok(None),
        Err(status) => Err(status),
    }
}

fn of_config_map(map: ConfigMap) -> Result<Data, Status> {
    let mut data = decode(map.binary_data)?;
    data.extend(map.data.into_iter().map(|(key, text)| (key, text.into_bytes())));
    Ok(data)
}

/// The bytes of base64 texts.
pub fn decode(texts: BTreeMap<String, String>) -> Result<Data, Status> {
    let decoded = texts.into_iter().map(|(key, text)| match STANDARD.decode(&text) {
        Ok(bytes) => Ok((key, bytes)),
        Err(e) => Err(Status::internal(format!("the value of {key} is no base64: {e}"))),
    });
    decoded.collect()
}
