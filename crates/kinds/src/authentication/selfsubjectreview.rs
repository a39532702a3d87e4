//! SelfSubjectReview: who am I? `kubectl auth whoami` (API reference: authentication-resources).

use crate::authorization::question;
use skiff_api::kind::{Hooks, Kind};

pub fn kind() -> Kind {
    let schema = "io.k8s.api.authentication.v1.SelfSubjectReview";
    let plural = "selfsubjectreviews";
    let kind = Kind::new("authentication.k8s.io/v1", "SelfSubjectReview", plural, schema);
    question(kind, Hooks::NONE)
}
