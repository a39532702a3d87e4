//! CertificateSigningRequest: a certificate for a node's own key, answered at once (API reference:
//! authentication-resources).

use crate::authorization::question;
use skiff_api::kind::{Hooks, Kind};

pub fn kind() -> Kind {
    let schema = "io.k8s.api.certificates.v1.CertificateSigningRequest";
    let (kind, plural) = ("CertificateSigningRequest", "certificatesigningrequests");
    let kind = Kind::new("certificates.k8s.io/v1", kind, plural, schema);
    question(Kind { short: vec!["csr".into()], ..kind }, Hooks::NONE)
}
