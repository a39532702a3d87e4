//! The group `certificates.k8s.io`: certificates for keys that others made, and whom to trust.

pub mod certificatesigningrequest;
pub mod clustertrustbundle;
pub mod p521;
pub mod pem;
pub mod podcertificaterequest;
pub mod request;
pub mod signer;

use skiff_api::kind::Kind;
use skiff_json::Value;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] =
    &[certificatesigningrequest::kind, clustertrustbundle::kind, podcertificaterequest::kind];

/// The second at which the first certificate of a PEM text ends.
pub fn ends(text: &str) -> Option<i64> {
    let block = pem::blocks(text).next()?;
    let (_, certificate) = X509Certificate::from_der(&block.bytes).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// The conditions of one type.
fn conditions<'a>(all: &'a [Value], type_: &str) -> Vec<&'a Value> {
    all.iter().filter(|it| skiff_api::check::text(it, "type") == type_).collect()
}

#[cfg(test)]
mod tests;
