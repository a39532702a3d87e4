//! SelfSubjectRulesReview: what may I do in this namespace? `kubectl auth can-i --list` (API
//! reference: authorization-resources). A help for showing, not for deciding.

use super::question;
use skiff_api::kind::{Hooks, Kind};

pub fn kind() -> Kind {
    let schema = "io.k8s.api.authorization.v1.SelfSubjectRulesReview";
    let plural = "selfsubjectrulesreviews";
    let kind = Kind::new("authorization.k8s.io/v1", "SelfSubjectRulesReview", plural, schema);
    question(kind, Hooks::NONE)
}
