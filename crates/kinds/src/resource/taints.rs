//! Taints of devices: what keeps claims away from them (KEP-5055).

use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::names;
use skiff_api::object::{Object, at};
use skiff_json::Value;

/// Taints without a time were added with this write.
pub fn default_times<'a>(taints: impl Iterator<Item = &'a mut Value>, now: &str) {
    for taint in taints.filter(|taint| taint.is_object() && at(taint, "timeAdded").is_none()) {
        taint["timeAdded"] = now.into();
    }
}

/// The time of this write: of a new object that of its creation, else what its fields' managers say.
pub fn time_of(new: &Object, old: Option<&Object>) -> String {
    let managers = new.list("metadata.managedFields").iter();
    match (old, managers.map(|it| text(it, "time")).max()) {
        (Some(_), Some(time)) => time.to_owned(),
        _ => new.text("metadata.creationTimestamp").to_owned(),
    }
}

/// Its effect is looked at by its declaration.
pub fn validate(taint: &Value, path: &Path, errors: &mut Errors) {
    qualified(&path.child("key"), text(taint, "key"), errors);
    let value = text(taint, "value");
    refuse(&path.child("value"), value, names::label_value(value), errors);
}
