//! The group `flowcontrol.apiserver.k8s.io`: which requests wait for which (KEP-1040). The server follows
//! these objects; here they are checked.

pub mod bootstrap;
pub mod flowschema;
pub mod prioritylevelconfiguration;

use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::Kind;
use skiff_api::object::Object;
use skiff_json::Value;
use std::collections::HashSet;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[flowschema::kind, prioritylevelconfiguration::kind];

pub const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// Conditions of these kinds need a type, once.
fn conditions(new: &Object, errors: &mut Errors) {
    let (path, mut seen) = (Path::new("status.conditions"), HashSet::new());
    for (index, condition) in new.list("status.conditions").iter().enumerate() {
        let here = path.index(index);
        unique(&here.child("type"), text(condition, "type"), &mut seen, errors);
        required(condition, "type", &here, errors);
    }
}

fn validate_part(_: &str, new: &Object, _: &Object, errors: &mut Errors) {
    conditions(new, errors);
}

/// An integer, or what a cell shows where there is none.
fn shown(it: &Object, path: &str) -> Value {
    it.at(path).cloned().unwrap_or_else(|| "<none>".into())
}
