//! The keys of a ConfigMap as files (API reference: ConfigMapVolumeSource).

use super::payload::{self, Content, Files};
use super::{Given, Shows, Source};
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{ConfigMapSource, Volume};
use std::sync::Arc;

pub fn source(_: &Pod, volume: &Volume) -> Option<Arc<dyn Source>> {
    payload::source(volume.config_map.as_ref())
}

impl Content for ConfigMapSource {
    const PLUGIN: &'static str = "configmap";
    /// Upstream's is a folder of the disk; the other sources have theirs in memory.
    const FOLDER_MODE: u32 = 0o777;

    fn shows(&self) -> Shows {
        let mut shows = Shows::default();
        shows.names.config_maps.insert(self.name.clone());
        shows
    }

    fn files(&self, mode: u32, given: &Given) -> Result<Files, String> {
        let mode = self.default_mode.unwrap_or(mode);
        match given.sources.config_map(&self.name, self.optional)? {
            Some(data) => payload::keys(data, &self.items, mode, self.optional),
            None => Ok(Files::new()),
        }
    }
}
