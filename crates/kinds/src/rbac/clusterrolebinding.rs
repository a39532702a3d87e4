//! ClusterRoleBinding: gives a cluster role to subjects in the whole cluster (API reference:
//! authorization-resources).

use super::{binding_columns, default_binding, validate_binding};
use skiff_api::errors::Errors;
use skiff_api::kind::{Hooks, Kind, NameRule, Scope};
use skiff_api::object::Object;

pub fn kind() -> Kind {
    let schema = "io.k8s.api.rbac.v1.ClusterRoleBinding";
    let plural = "clusterrolebindings";
    Kind {
        scope: Scope::Cluster,
        name_rule: NameRule::Segment,
        columns: binding_columns(),
        hooks: Hooks { default: default_binding, validate, ..Hooks::NONE },
        ..Kind::new("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", plural, schema)
    }
}

pub(super) fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    validate_binding(new, old, &["ClusterRole"], errors);
}
