//! MutatingWebhookConfiguration: servers that may change what a request brings (API reference: policy-resources).

use super::webhooks;
use skiff_api::check::one_of_if_set;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Hooks, Kind};
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource =
    super::resource("mutatingwebhookconfigurations", "MutatingWebhookConfiguration");
pub const REINVOCATION: &[&str] = &["IfNeeded", "Never"];

pub fn kind() -> Kind {
    let hooks = Hooks {
        default: |new| webhooks::default(new, &[("reinvocationPolicy", "Never".into())]),
        validate: |new, old, errors| {
            webhooks::validate((new, old), reinvocation, errors);
        },
        ..Hooks::NONE
    };
    webhooks::configuration(RESOURCE, hooks)
}

fn reinvocation(hook: &Value, path: &Path, errors: &mut Errors) {
    one_of_if_set(hook, "reinvocationPolicy", REINVOCATION, path, errors);
}
