//! RuntimeClass as a node reads it.

use serde::Deserialize;
use skiff_api::view::{Meta, Resource, View};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct RuntimeClass {
    pub metadata: Meta,
    pub handler: String,
}

impl View for RuntimeClass {
    const RESOURCE: Resource = crate::node::runtimeclass::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
