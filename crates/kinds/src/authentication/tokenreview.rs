//! TokenReview: whose token is this? (API reference: authentication-resources)

use crate::authorization::question;
use skiff_api::kind::{Hooks, Kind};

pub fn kind() -> Kind {
    let schema = "io.k8s.api.authentication.v1.TokenReview";
    let kind = Kind::new("authentication.k8s.io/v1", "TokenReview", "tokenreviews", schema);
    question(kind, Hooks::NONE)
}
