//! What makes a pod invalid, in the fields and words that users know. `spec` is shared with pod templates.

use crate::errors::{Errors, Path};
use crate::object::Object;

/// A create or an update of a pod.
pub fn pod(pod: &Object, _: Option<&Object>, errors: &mut Errors) {
    if pod.list("spec.containers").is_empty() {
        errors.required(&Path::new("spec.containers"), "");
    }
}

/// A write through an entry of the pod.
pub fn part(_: &str, _: &Object, _: &Object, _: &mut Errors) {}
