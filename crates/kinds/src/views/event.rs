//! Event (core group) as the loop that expires them reads it.

use jiff::Timestamp;
use serde::Deserialize;
use skiff_api::view::{Meta, Resource, View};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    pub metadata: Meta,
    #[serde(rename = "type")]
    pub type_: String,
    pub reason: String,
    pub first_timestamp: Option<Timestamp>,
    pub last_timestamp: Option<Timestamp>,
    pub event_time: Option<Timestamp>,
    pub series: Option<EventSeries>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EventSeries {
    pub count: i64,
    pub last_observed_time: Option<Timestamp>,
}

impl View for Event {
    const RESOURCE: Resource = crate::core::event::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
