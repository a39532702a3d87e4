//! Lease as those read it who watch over somebody's heartbeat.

use jiff::Timestamp;
use serde::Deserialize;
use skiff_api::view::{Meta, Resource, View};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Lease {
    pub metadata: Meta,
    pub spec: LeaseSpec,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    pub holder_identity: Option<String>,
    pub lease_duration_seconds: Option<i64>,
    pub acquire_time: Option<Timestamp>,
    pub renew_time: Option<Timestamp>,
    pub lease_transitions: Option<i64>,
}

impl View for Lease {
    const RESOURCE: Resource = crate::coordination::lease::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
