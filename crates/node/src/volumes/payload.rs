//! Which files a volume holds: pure, from config maps, secrets, tokens and the pod itself (API
//! reference: config-and-storage-resources, Volume).

use super::tokens::Token;
use crate::container::fields::{self, Addresses, Capacity};
use crate::sources::{Data, Sources};
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{
    ConfigMapSource, DownwardSource, KeyToPath, Projected, Projection, SecretSource,
};
use std::collections::BTreeMap;

/// The API's default of defaultMode.
const MODE: u32 = 0o644;

/// One file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub bytes: Vec<u8>,
    pub mode: u32,
    /// Who owns it, where that is not root.
    pub owner: Option<u32>,
}

/// Files by their path in the volume.
pub type Files = BTreeMap<String, File>;

/// What files are made from.
pub struct Given<'a> {
    pub pod: &'a Pod,
    pub sources: &'a Sources,
    /// By volume-independent audience and path.
    pub tokens: &'a BTreeMap<(String, String), Token>,
    pub addresses: &'a Addresses,
    pub node: Capacity,
}

pub fn config_map(source: &ConfigMapSource, given: &Given<'_>) -> Result<Files, String> {
    let mode = source.default_mode.unwrap_or(MODE);
    of_config_map(source, mode, given)
}

pub fn secret(source: &SecretSource, given: &Given<'_>) -> Result<Files, String> {
    let mode = source.default_mode.unwrap_or(MODE);
    of_secret(source, mode, given)
}

pub fn downward(source: &DownwardSource, given: &Given<'_>) -> Result<Files, String> {
    of_downward(source, source.default_mode.unwrap_or(MODE), given)
}

/// All sources in one folder; a later one wins a path.
pub fn projected(source: &Projected, given: &Given<'_>) -> Result<Files, String> {
    let mode = source.default_mode.unwrap_or(MODE);
    let mut files = Files::new();
    for part in &source.sources {
        files.extend(of_projection(part, mode, given)?);
    }
    Ok(files)
}

fn of_projection(part: &Projection, mode: u32, given: &Given<'_>) -> Result<Files, String> {
    if let Some(map) = &part.config_map {
        return of_config_map(map, mode, given);
    }
    if let Some(secret) = &part.secret {
        return of_secret(secret, mode, given);
    }
    if let Some(downward) = &part.downward_api {
        return of_downward(downward, mode, given);
    }
    if let Some(token) = &part.service_account_token {
        let found = given.tokens.get(&(token.audience.clone(), token.path.clone()));
        let found = found.ok_or("failed to fetch token: it has not been issued")?;
        // A token is for the pod's own user alone, or for its group.
        let security = &given.pod.spec.security_context;
        let owner = security.run_as_user;
        let mode = match (security.fs_group, owner) {
            (Some(_), _) => 0o600,
            (None, Some(_)) => 0o600,
            (None, None) => mode,
        };
        let bytes = found.text.clone().into_bytes();
        return Ok(Files::from([(token.path.clone(), File { bytes, mode, owner })]));
    }
    let field = part.other.keys().next().map_or("", String::as_str);
    Err(format!("projected sources of type {field} are not supported by this node"))
}

fn of_config_map(source: &ConfigMapSource, mode: u32, given: &Given<'_>) -> Result<Files, String> {
    match given.sources.config_map(&source.name, source.optional)? {
        Some(data) => keys(data, &source.items, mode, source.optional),
        None => Ok(Files::new()),
    }
}

fn of_secret(source: &SecretSource, mode: u32, given: &Given<'_>) -> Result<Files, String> {
    match given.sources.secret(&source.secret_name, source.optional)? {
        Some(data) => keys(data, &source.items, mode, source.optional),
        None => Ok(Files::new()),
    }
}

fn keys(data: &Data, items: &[KeyToPath], mode: u32, optional: bool) -> Result<Files, String> {
    let file = |bytes: &[u8], mode| File { bytes: bytes.to_vec(), mode, owner: None };
    if items.is_empty() {
        return Ok(data.iter().map(|(key, bytes)| (key.clone(), file(bytes, mode))).collect());
    }
    let mut files = Files::new();
    for item in items {
        match data.get(&item.key) {
            Some(bytes) => {
                files.insert(item.path.clone(), file(bytes, item.mode.unwrap_or(mode)));
            }
            None if optional => {}
            None => return Err(format!("references non-existent config key: {}", item.key)),
        }
    }
    Ok(files)
}

fn of_downward(source: &DownwardSource, mode: u32, given: &Given<'_>) -> Result<Files, String> {
    let mut files = Files::new();
    for item in &source.items {
        let text = if let Some(field) = &item.field_ref {
            fields::field(given.pod, &field.field_path, given.addresses)?
        } else if let Some(resource) = &item.resource_field_ref {
            fields::resource(given.pod, None, resource, given.node)?
        } else {
            continue;
        };
        let mode = item.mode.unwrap_or(mode);
        files.insert(item.path.clone(), File { bytes: text.into_bytes(), mode, owner: None });
    }
    Ok(files)
}
