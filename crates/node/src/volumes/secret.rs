//! The keys of a Secret as files (API reference: SecretVolumeSource).

use super::payload::{self, Content, Files};
use super::{Given, MEMORY_MODE, Shows, Source};
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{SecretSource, Volume};
use std::sync::Arc;

pub fn source(_: &Pod, volume: &Volume) -> Option<Arc<dyn Source>> {
    payload::source(volume.secret.as_ref())
}

impl Content for SecretSource {
    const PLUGIN: &'static str = "secret";
    const FOLDER_MODE: u32 = MEMORY_MODE;

    fn shows(&self) -> Shows {
        let mut shows = Shows::default();
        shows.names.secrets.insert(self.secret_name.clone());
        shows
    }

    fn files(&self, mode: u32, given: &Given) -> Result<Files, String> {
        let mode = self.default_mode.unwrap_or(mode);
        match given.sources.secret(&self.secret_name, self.optional)? {
            Some(data) => payload::keys(data, &self.items, mode, self.optional),
            None => Ok(Files::new()),
        }
    }
}
