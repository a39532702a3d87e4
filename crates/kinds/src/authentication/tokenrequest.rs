//! TokenRequest: asks for a token of a service account (API reference: authentication-resources).
//! No kind of its own: it is the body of the entry `token` below a service account, so here are
//! only its default and its checks.

use skiff_api::errors::{Errors, Path};
use skiff_api::object::Object;

/// An hour, where a request says nothing.
pub const DEFAULT_S: i64 = 3600;
/// Shorter tokens would be renewed all the time.
pub const LEAST_S: i64 = 600;
pub const MOST_S: i64 = 1 << 32;

pub fn default(new: &mut Object) {
    new.set_absent("spec.expirationSeconds", DEFAULT_S);
}

pub fn validate(new: &Object, errors: &mut Errors) {
    let path = Path::new("spec.expirationSeconds");
    let seconds = new.int("spec.expirationSeconds").unwrap_or(DEFAULT_S);
    if seconds < LEAST_S {
        errors.invalid(&path, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > MOST_S {
        errors.invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    if let Some(attestations) = new.at("spec.attestations").filter(|a| **a != skiff_json::json!({}))
    {
        let why = "attestations may only be specified with a webhook bound object reference";
        errors.invalid(&Path::new("spec.attestations"), attestations.clone(), why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn times_have_limits() {
        let check = |spec| {
            let mut object = Object::new(json!({"spec": spec}));
            default(&mut object);
            let mut errors = Errors::new();
            validate(&object, &mut errors);
            (!errors.is_empty()).then(|| errors.text())
        };
        assert_eq!(check(json!({})), None);
        assert_eq!(check(json!({"expirationSeconds": MOST_S})), None);
        assert_eq!(
            check(json!({"expirationSeconds": 5})).as_deref(),
            Some(
                "spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes"
            )
        );
        assert!(check(json!({"expirationSeconds": MOST_S + 1})).is_some());
        assert!(check(json!({"attestations": {"a": ["b"]}})).is_some());
    }
}
