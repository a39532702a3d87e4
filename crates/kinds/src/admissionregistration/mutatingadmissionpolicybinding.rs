//! MutatingAdmissionPolicyBinding: where a policy changes what requests bring (API reference: policy-resources).

use super::{bindings, rules, webhooks};
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Hooks, Kind};
use skiff_api::object::{Object, at};
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource =
    super::resource("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding");

pub fn kind() -> Kind {
    bindings::binding(RESOURCE, Hooks { validate, ..Hooks::NONE })
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    validate_spec(new, errors);
    webhooks::own_name(new, old, errors);
}

fn validate_spec(new: &Object, errors: &mut Errors) {
    let path = Path::new("spec");
    let spec = new.at("spec").unwrap_or(&Value::Null);
    required(spec, "policyName", &path, errors);
    bindings::head(spec, &path, errors);
    if let Some(resources) = at(spec, "matchResources") {
        rules::mutable(resources, &path.child("matchResources"), errors);
    }
}
