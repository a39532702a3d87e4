//! RoleBinding: gives a role to subjects within one namespace (API reference:
//! authorization-resources). Its role can never change: who may edit the subjects must not be able
//! to hand out another role.

use super::{binding_columns, default_binding, validate_binding};
use skiff_api::errors::Errors;
use skiff_api::kind::{Hooks, Kind, NameRule};
use skiff_api::object::Object;
use skiff_api::view::Resource;

pub const RESOURCE: Resource =
    Resource::of("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding");

pub fn kind() -> Kind {
    Kind {
        name_rule: NameRule::Segment,
        columns: binding_columns(),
        hooks: Hooks { default: default_binding, validate, ..Hooks::NONE },
        ..Kind::new(RESOURCE)
    }
}

pub(super) fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    validate_binding(new, old, &["Role", "ClusterRole"], errors);
}
