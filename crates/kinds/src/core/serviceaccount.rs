//! ServiceAccount: the identity of processes in pods (API reference: authentication-resources).

use skiff_api::kind::{Kind, Subresource, act};

pub fn kind() -> Kind {
    Kind {
        short: vec!["sa".into()],
        subresources: vec![token()],
        ..Kind::new("v1", "ServiceAccount", "serviceaccounts", "io.k8s.api.core.v1.ServiceAccount")
    }
}

/// TokenRequest (KEP-1205).
fn token() -> Subresource {
    act("token", ("authentication.k8s.io", "v1", "TokenRequest"))
}
