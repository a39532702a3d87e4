//! Role: rules about the resources of one namespace (API reference: authorization-resources).

use super::{plain_columns, validate_rules, validate_verbs};
use skiff_api::errors::Errors;
use skiff_api::kind::{Hooks, Kind, NameRule};
use skiff_api::object::Object;

pub fn kind() -> Kind {
    Kind {
        name_rule: NameRule::Segment,
        columns: plain_columns(),
        hooks: Hooks { validate, ..Hooks::NONE },
        ..Kind::new("rbac.authorization.k8s.io/v1", "Role", "roles", "io.k8s.api.rbac.v1.Role")
    }
}

pub(super) fn validate(new: &Object, _: Option<&Object>, errors: &mut Errors) {
    validate_rules(new, true, errors);
    validate_verbs(new, errors);
}
