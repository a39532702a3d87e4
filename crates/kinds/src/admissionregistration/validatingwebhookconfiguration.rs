//! ValidatingWebhookConfiguration: servers that may refuse a request (API reference: policy-resources).

use super::webhooks;
use skiff_api::kind::{Hooks, Kind};
use skiff_api::view::Resource;

pub const RESOURCE: Resource =
    super::resource("validatingwebhookconfigurations", "ValidatingWebhookConfiguration");

pub fn kind() -> Kind {
    let hooks = Hooks {
        default: |new| webhooks::default(new, &[]),
        validate: |new, old, errors| webhooks::validate((new, old), |_, _, _| {}, errors),
        ..Hooks::NONE
    };
    webhooks::configuration(RESOURCE, hooks)
}
