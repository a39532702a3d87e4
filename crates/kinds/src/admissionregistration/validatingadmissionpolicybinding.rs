//! ValidatingAdmissionPolicyBinding: where a policy judges, and what follows (API reference: policy-resources).

use super::{bindings, webhooks};
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Hooks, Kind};
use skiff_api::object::Object;
use skiff_api::view::Resource;
use skiff_json::Value;
use std::collections::HashSet;

pub const RESOURCE: Resource =
    super::resource("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding");
const ACTIONS: &[&str] = &["Audit", "Deny", "Warn"];

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
    bindings::head(spec, &path, errors);
    let (here, given) = (path.child("validationActions"), list(spec, "validationActions"));
    let mut seen = HashSet::new();
    for (index, action) in given.iter().enumerate() {
        let (here, action) = (here.index(index), action.as_str().unwrap_or(""));
        if !ACTIONS.contains(&action) {
            errors.not_supported(&here, action, ACTIONS);
        }
        unique(&here, action, &mut seen, errors);
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                   response and headers serves no purpose)";
        errors.invalid(&here, given.to_vec(), why);
    }
    // What the API's declarations demand is said after everything that is checked by hand.
    required(spec, "policyName", &path, errors);
    if given.is_empty() {
        errors.required(&here, "");
    }
}
