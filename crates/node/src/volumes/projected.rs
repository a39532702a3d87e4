//! Several sources in one folder, tokens of the pod's service account among them (API reference:
//! ProjectedVolumeSource). A later one wins a path.

use super::payload::{self, Content, File, Files};
use super::{Given, MEMORY_MODE, Shows, Source, certificates, trust};
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{Projected, Projection, TokenProjection, Volume};
use std::sync::Arc;

pub fn source(_: &Pod, volume: &Volume) -> Option<Arc<dyn Source>> {
    payload::source(volume.projected.as_ref())
}

impl Content for Projected {
    const PLUGIN: &'static str = "projected";
    const FOLDER_MODE: u32 = MEMORY_MODE;

    fn shows(&self) -> Shows {
        let mut shows = Shows::default();
        self.sources.iter().for_each(|part| shows.add(of_part(part)));
        shows
    }

    fn files(&self, mode: u32, given: &Given) -> Result<Files, String> {
        let mode = self.default_mode.unwrap_or(mode);
        let mut files = Files::new();
        for part in &self.sources {
            files.extend(part_files(part, mode, given)?);
        }
        Ok(files)
    }
}

fn of_part(part: &Projection) -> Shows {
    let tokens = part.service_account_token.iter().cloned().collect();
    let certificates = part.pod_certificate.iter().cloned().collect();
    let mut shows = Shows { tokens, certificates, ..Shows::default() };
    shows.names.bundles.extend(part.cluster_trust_bundle.iter().map(trust::selector));
    part.config_map.iter().for_each(|map| shows.add(map.shows()));
    part.secret.iter().for_each(|secret| shows.add(secret.shows()));
    part.downward_api.iter().for_each(|downward| shows.add(downward.shows()));
    shows
}

fn part_files(part: &Projection, mode: u32, given: &Given) -> Result<Files, String> {
    if let Some(map) = &part.config_map {
        return map.files(mode, given);
    }
    if let Some(secret) = &part.secret {
        return secret.files(mode, given);
    }
    if let Some(downward) = &part.downward_api {
        return downward.files(mode, given);
    }
    if let Some(token) = &part.service_account_token {
        return token_file(token, mode, given);
    }
    if let Some(bundle) = &part.cluster_trust_bundle {
        return trust::file(bundle, mode, given);
    }
    if let Some(certificate) = &part.pod_certificate {
        return certificates::files(certificate, mode, given);
    }
    let field = part.other.keys().next().map_or("", String::as_str);
    Err(format!("projected sources of type {field} are not supported by this node"))
}

fn token_file(token: &TokenProjection, mode: u32, given: &Given) -> Result<Files, String> {
    let found = given.tokens.get(&(token.audience.clone(), token.path.clone()));
    let found = found.ok_or("failed to fetch token: it has not been issued")?;
    let file = own_file(found.text.clone().into_bytes(), mode, given);
    Ok(Files::from([(token.path.clone(), file)]))
}

/// What is for the pod's own user alone, or for its group.
pub fn own_file(bytes: Vec<u8>, mode: u32, given: &Given) -> File {
    let security = &given.pod.spec.security_context;
    let owner = security.run_as_user;
    let mode = match (security.fs_group, owner) {
        (None, None) => mode,
        _ => 0o600,
    };
    File { bytes, mode, owner }
}
