//! What the pod is and has, as files (API reference: DownwardAPIVolumeSource).

use super::payload::{self, Content, File, Files};
use super::{Given, MEMORY_MODE, Shows, Source};
use crate::container::fields;
use skiff_kinds::views::Pod;
use skiff_kinds::views::pod::{DownwardSource, Volume};
use std::sync::Arc;

pub fn source(_: &Pod, volume: &Volume) -> Option<Arc<dyn Source>> {
    payload::source(volume.downward_api.as_ref())
}

impl Content for DownwardSource {
    const PLUGIN: &'static str = "downward-api";
    const FOLDER_MODE: u32 = MEMORY_MODE;

    fn shows(&self) -> Shows {
        Shows { pod: true, ..Shows::default() }
    }

    fn files(&self, mode: u32, given: &Given) -> Result<Files, String> {
        let mode = self.default_mode.unwrap_or(mode);
        let mut files = Files::new();
        for item in &self.items {
            let text = if let Some(field) = &item.field_ref {
                fields::field(&given.pod, &field.field_path, &given.addresses)?
            } else if let Some(resource) = &item.resource_field_ref {
                fields::resource(&given.pod, None, resource, given.node)?
            } else {
                continue;
            };
            let mode = item.mode.unwrap_or(mode);
            files.insert(item.path.clone(), File { bytes: text.into_bytes(), mode, owner: None });
        }
        Ok(files)
    }
}
