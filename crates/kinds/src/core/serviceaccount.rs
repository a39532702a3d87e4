//! ServiceAccount: the identity of processes in pods (API reference: authentication-resources).

use skiff_api::kind::{Act, Kind, Subresource, act};
use skiff_api::view::Resource;

pub const RESOURCE: Resource = Resource::core("serviceaccounts", "ServiceAccount");

pub fn kind() -> Kind {
    Kind {
        short: vec!["sa".into()],
        subresources: vec![token()],
        shows_deleted: true,
        ..Kind::new(RESOURCE)
    }
}

/// TokenRequest (KEP-1205).
fn token() -> Subresource {
    act("token", Act::IssueToken, ("authentication.k8s.io", "v1", "TokenRequest"))
}
