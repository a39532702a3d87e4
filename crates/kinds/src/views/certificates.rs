//! Views of the certificates group: what asks for a certificate, and what is trusted.

use super::Condition;
use crate::certificates::{certificatesigningrequest, clustertrustbundle, podcertificaterequest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use skiff_api::view::{Meta, Resource, View};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CertificateSigningRequest {
    pub metadata: Meta,
    pub spec: SigningSpec,
    pub status: SigningStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SigningSpec {
    /// PEM.
    #[serde(deserialize_with = "bytes")]
    pub request: Vec<u8>,
    pub signer_name: String,
    pub expiration_seconds: Option<u32>,
    pub usages: Vec<String>,
    pub username: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SigningStatus {
    /// PEM.
    #[serde(deserialize_with = "bytes")]
    pub certificate: Vec<u8>,
    pub conditions: Vec<Condition>,
}

impl CertificateSigningRequest {
    /// The condition of a type, if it came about.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|it| it.type_ == type_)
    }

    pub fn issued(&self) -> bool {
        !self.status.certificate.is_empty()
    }
}

impl View for CertificateSigningRequest {
    const RESOURCE: Resource = certificatesigningrequest::RESOURCE;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct ClusterTrustBundle {
    pub metadata: Meta,
    pub spec: TrustSpec,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct TrustSpec {
    pub signer_name: String,
    /// PEM.
    pub trust_bundle: String,
}

impl View for ClusterTrustBundle {
    const RESOURCE: Resource = clustertrustbundle::RESOURCE;

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn index(&self, put: &mut dyn FnMut(&'static str, &str)) {
        put("signer", &self.spec.signer_name);
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PodCertificateRequest {
    pub metadata: Meta,
    pub status: PodCertificateStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCertificateStatus {
    pub conditions: Vec<Condition>,
    /// PEM.
    pub certificate_chain: String,
    pub begin_refresh_at: Option<jiff::Timestamp>,
    pub not_after: Option<jiff::Timestamp>,
}

impl View for PodCertificateRequest {
    const RESOURCE: Resource = podcertificaterequest::RESOURCE;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = Option::<String>::deserialize(from)?.unwrap_or_default();
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}
