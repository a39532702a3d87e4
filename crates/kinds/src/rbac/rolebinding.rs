//! RoleBinding: gives a role to subjects within one namespace (API reference:
//! authorization-resources). Its role can never change: who may edit the subjects must not be able
//! to hand out another role.

use super::{binding_columns, default_binding, validate_binding};
use skiff_api::errors::Errors;
use skiff_api::kind::{Hooks, Kind, NameRule};
use skiff_api::object::Object;

pub fn kind() -> Kind {
    let schema = "io.k8s.api.rbac.v1.RoleBinding";
    Kind {
        name_rule: NameRule::Segment,
        columns: binding_columns(),
        hooks: Hooks { default: default_binding, validate, ..Hooks::NONE },
        ..Kind::new("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", schema)
    }
}

pub(super) fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    validate_binding(new, old, &["Role", "ClusterRole"], errors);
}
