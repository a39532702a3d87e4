//! Role: rules about the resources of one namespace (API reference: authorization-resources).

use super::{plain_columns, validate_rules, validate_verbs};
use skiff_api::errors::Errors;
use skiff_api::kind::{Hooks, Kind, NameRule};
use skiff_api::object::Object;
use skiff_api::view::Resource;

pub const RESOURCE: Resource = Resource::of("rbac.authorization.k8s.io", "v1", "roles", "Role");

pub fn kind() -> Kind {
    Kind {
        name_rule: NameRule::Segment,
        columns: plain_columns(),
        hooks: Hooks { validate, ..Hooks::NONE },
        ..Kind::new(RESOURCE)
    }
}

pub(super) fn validate(new: &Object, _: Option<&Object>, errors: &mut Errors) {
    validate_rules(new, true, errors);
    validate_verbs(new, errors);
}
