//! RuntimeClass: a way to run pods, by the name of its handler on the nodes (KEP-585).

use crate::core::pod::validate::{internal, placement, resources};
use crate::core::pod::warn::old_node_label;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column};
use skiff_api::meta;
use skiff_api::names;
use skiff_api::object::Object;
use skiff_api::view::Resource;
use skiff_json::Value;
use std::collections::HashSet;

pub const RESOURCE: Resource =
    Resource::of("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass").cluster();

pub fn kind() -> Kind {
    Kind {
        columns: vec![
            name_column(),
            column("Handler", Cell::With(|class| class.text("handler").into())),
            age_column(),
        ],
        conditional: true,
        creates_on_update: true,
        hooks: Hooks { validate, warn, ..Hooks::NONE },
        ..Kind::new(RESOURCE)
    }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    if let Some(amounts) = new.at("overhead.podFixed") {
        resources::overhead(amounts, &Path::new("overhead"), errors);
    }
    let (null, path) = (Value::Null, Path::new("scheduling"));
    let scheduling = new.at("scheduling").unwrap_or(&null);
    let selector = path.child("nodeSelector");
    meta::validate_labels(&selector, new.map("scheduling.nodeSelector"), errors);
    placement::tolerations(scheduling, &path, errors);
    let mut seen = HashSet::new();
    for (index, it) in list(scheduling, "tolerations").iter().enumerate() {
        let key = ["key", "operator", "value", "effect"].map(|field| text(it, field));
        if !seen.insert(key) {
            internal::duplicate(errors, &path.child("tolerations").index(index), "Toleration", it);
        }
    }
    let (path, handler) = (Path::new("handler"), new.text("handler"));
    match handler {
        "" => errors.required(&path, ""),
        // In the words of the schema's own rule (`k8s:format` in the Go types).
        long if long.len() > names::LABEL_MOST => {
            let why = format!("must be no more than {} bytes", names::LABEL_MOST);
            errors.invalid(&path, long, &why);
        }
        handler => label(&path, handler, errors),
    }
    if let Some(old) = old {
        fixed("handler", new, old, errors);
    }
}

fn warn(class: &Object, _: Option<&Object>) -> Vec<String> {
    let mut keys: Vec<_> = class.map("scheduling.nodeSelector").keys().collect();
    keys.sort_unstable();
    let old = keys.into_iter().filter_map(|key| old_node_label(key));
    old.map(|why| format!("scheduling.nodeSelector: {why}")).collect()
}
