//! StorageClass: a sort of storage and who makes it (API reference: config-and-storage-resources).

use super::{parameters, provisioner};
use crate::core::pod::warn::old_node_label;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column};
use skiff_api::object::Object;
use skiff_api::view::Resource;
use skiff_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashSet};

pub const RESOURCE: Resource =
    Resource::of("storage.k8s.io", "v1", "storageclasses", "StorageClass").cluster();

/// Says of a class that claims without one get it; the second is older.
pub const DEFAULT: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];
const MODES: &[&str] = &["Immediate", "WaitForFirstConsumer"];

pub fn kind() -> Kind {
    Kind {
        short: vec!["sc".into()],
        columns: vec![
            column("Name", Cell::With(name)),
            column("Provisioner", Cell::With(|class| class.text("provisioner").into())),
            column("ReclaimPolicy", Cell::With(|class| class.text("reclaimPolicy").into())),
            column("VolumeBindingMode", Cell::With(|class| class.text("volumeBindingMode").into())),
            column(
                "AllowVolumeExpansion",
                Cell::With(|class| class.flag("allowVolumeExpansion").into()),
            ),
            age_column(),
        ],
        hooks: Hooks { default, validate, warn, fields: Some(fields), ..Hooks::NONE },
        shows_deleted: true,
        ..Kind::new(RESOURCE)
    }
}

/// Whether claims without a class get this one.
pub fn is_default(class: &Object) -> bool {
    DEFAULT.iter().any(|key| class.annotation(key) == Some("true"))
}

/// Not for users: the admission plugin finds default classes by it.
fn fields(class: &Object, put: &mut dyn FnMut(&'static str, &str)) {
    put("default", if is_default(class) { "true" } else { "false" });
}

fn name(class: &Object) -> Value {
    let mark = if is_default(class) { " (default)" } else { "" };
    format!("{}{mark}", class.name()).into()
}

fn default(class: &mut Object) {
    class.set_absent("reclaimPolicy", "Delete");
    class.set_absent("volumeBindingMode", "Immediate");
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    provisioner(new.text("provisioner"), &Path::new("provisioner"), errors);
    parameters(new.value(), &Path::new("parameters"), errors);
    let policy = new.text("reclaimPolicy");
    if !["", "Delete", "Retain"].contains(&policy) {
        errors.not_supported(&Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]);
    }
    let mode = new.text("volumeBindingMode");
    if !MODES.contains(&mode) {
        errors.not_supported(&Path::new("volumeBindingMode"), mode, MODES);
    }
    topologies(new.list("allowedTopologies"), &Path::new("allowedTopologies"), errors);
    let Some(old) = old else { return };
    for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
        fixed(field, new, old, errors);
    }
}

/// Where volumes may be: terms of labels, each with the values that it may have.
fn topologies(terms: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen: HashSet<BTreeMap<&str, BTreeSet<&str>>> = HashSet::new();
    for (index, term) in terms.iter().enumerate() {
        let here = path.index(index);
        let expressions = here.child("matchLabelExpressions");
        let mut known = BTreeMap::new();
        for (index, wanted) in list(term, "matchLabelExpressions").iter().enumerate() {
            let at = expressions.index(index);
            let given = list(wanted, "values");
            if given.is_empty() {
                errors.required(&at.child("values"), "");
            }
            let mut values = HashSet::new();
            for (index, value) in given.iter().filter_map(Value::as_str).enumerate() {
                unique(&at.child("values").index(index), value, &mut values, errors);
            }
            let key = text(wanted, "key");
            qualified(&at.child("key"), key, errors);
            if known.insert(key, values.into_iter().collect()).is_some() {
                errors.duplicate(&at.child("key"), key);
            }
        }
        // To upstream even the first empty one is there already.
        let is_empty = known.is_empty();
        if !seen.insert(known) || is_empty {
            errors.duplicate(&expressions, "");
        }
    }
}

fn warn(class: &Object, _: Option<&Object>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, term) in class.list("allowedTopologies").iter().enumerate() {
        for (place, wanted) in list(term, "matchLabelExpressions").iter().enumerate() {
            if let Some(why) = old_node_label(text(wanted, "key")) {
                warnings.push(format!(
                    "allowedTopologies[{index}].matchLabelExpressions[{place}].key: {why}"
                ));
            }
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn what_makes_a_class_stays() {
        let class = |provisioner: &str, mode: &str| {
            Object::new(json!({"provisioner": provisioner, "volumeBindingMode": mode}))
        };
        let mut errors = Errors::new();
        validate(&class("a/b/c", "Later"), None, &mut errors);
        assert!(errors.text().contains("volumeBindingMode: Unsupported value: \"Later\""));
        let mut errors = Errors::new();
        validate(&class("b", "Immediate"), Some(&class("a", "Immediate")), &mut errors);
        assert_eq!(errors.text(), "provisioner: Invalid value: null: field is immutable");
    }
}
