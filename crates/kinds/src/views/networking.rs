//! Ranges and addresses of Services as the loops that keep them see them.

use super::{Condition, null_is_empty};
use serde::{Deserialize, Serialize};
use skiff_api::ip::{self, Cidr};
use skiff_api::view::{Meta, Resource, View};
use std::fmt;
use std::net::IpAddr;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ServiceCidr {
    pub metadata: Meta,
    pub spec: ServiceCidrSpec,
    pub status: ServiceCidrStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ServiceCidrSpec {
    #[serde(deserialize_with = "null_is_empty")]
    pub cidrs: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceCidrStatus {
    #[serde(deserialize_with = "null_is_empty")]
    pub conditions: Vec<Condition>,
}

impl ServiceCidr {
    pub fn cidrs(&self) -> impl Iterator<Item = Cidr> {
        self.spec.cidrs.iter().filter_map(|text| Some(ip::parse_cidr(text)?.0))
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct IpAddress {
    pub metadata: Meta,
    pub spec: IpAddressSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IpAddressSpec {
    pub parent_ref: ParentRef,
}

/// For whom an address is taken.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ParentRef {
    pub group: String,
    pub resource: String,
    pub namespace: String,
    pub name: String,
}

impl ParentRef {
    pub fn is_service(&self) -> bool {
        self.group.is_empty() && self.resource == "services"
    }
}

/// As upstream's events print it.
impl fmt::Display for ParentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ParentRef { group, resource, namespace, name } = self;
        write!(f, "&ParentReference{{Group:{group},Resource:{resource},")?;
        write!(f, "Namespace:{namespace},Name:{name},}}")
    }
}

impl IpAddress {
    /// The address that its name is.
    pub fn address(&self) -> Option<IpAddr> {
        self.metadata.name.parse().ok()
    }
}

impl View for ServiceCidr {
    const RESOURCE: Resource = crate::networking::servicecidr::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl View for IpAddress {
    const RESOURCE: Resource = crate::networking::ipaddress::RESOURCE;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
