//! The group `networking.k8s.io`.

pub mod ingress;
pub mod ingressclass;
pub mod ipaddress;
pub mod networkpolicy;
pub mod servicecidr;

use skiff_api::kind::Kind;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] =
    &[ingress::kind, ingressclass::kind, ipaddress::kind, networkpolicy::kind, servicecidr::kind];
