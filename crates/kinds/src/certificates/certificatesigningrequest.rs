//! CertificateSigningRequest: a certificate for a node's own key, answered at once (API reference:
//! authentication-resources).

use crate::authorization::question;
use skiff_api::kind::{Hooks, Kind, Review};
use skiff_api::view::Resource;

pub const RESOURCE: Resource = Resource::of(
    "certificates.k8s.io",
    "v1",
    "certificatesigningrequests",
    "CertificateSigningRequest",
)
.cluster();

pub fn kind() -> Kind {
    Kind { short: vec!["csr".into()], ..question(RESOURCE, Review::Signing, Hooks::NONE) }
}
