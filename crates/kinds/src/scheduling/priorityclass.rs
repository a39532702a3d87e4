//! PriorityClass: a name for how important pods are (API reference: workload-resources).
//!
//! That at most one is the default is not a rule of the object: the admission plugin Priority looks for it.

use skiff_api::check;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Column, Hooks, Kind, age_column, column, name_column, number};
use skiff_api::object::Object;
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource =
    Resource::of("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass").cluster();

/// Above this, priorities are the system's.
pub const USER_MOST: i64 = 1_000_000_000;
const SYSTEM_PREFIX: &str = "system-";
/// The two classes of the system, with their values.
pub const SYSTEM: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node \
         if necessary.",
    ),
];

pub fn kind() -> Kind {
    Kind {
        short: vec!["pc".into()],
        columns: vec![
            name_column(),
            number("Value", Cell::With(|class| class.int("value").unwrap_or(0).into())),
            Column {
                type_: "boolean".into(),
                ..column("Global-Default", Cell::With(|class| class.flag("globalDefault").into()))
            },
            age_column(),
            column("PreemptionPolicy", Cell::With(policy)),
        ],
        hooks: Hooks {
            default: |class| class.set_absent("preemptionPolicy", "PreemptLowerPriority"),
            validate,
            generation: Some(|_, _| false),
            fields: Some(fields),
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

/// Not for users: the admission plugin finds the default class by it.
fn fields(class: &Object, put: &mut dyn FnMut(&'static str, &str)) {
    put("globalDefault", if class.flag("globalDefault") { "true" } else { "false" });
}

fn policy(class: &Object) -> Value {
    class.text("preemptionPolicy").into()
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    match old {
        None => validate_new(new, errors),
        Some(old) => {
            if new.int("value") != old.int("value") {
                errors.forbidden(&Path::new("value"), "may not be changed in an update.");
            }
            check::immutable("preemptionPolicy", new, old, errors);
        }
    }
}

fn validate_new(new: &Object, errors: &mut Errors) {
    let (name, value) = (new.name(), new.int("value").unwrap_or(0));
    if name.starts_with(SYSTEM_PREFIX) {
        if let Err(why) = known(name, value, new.flag("globalDefault")) {
            let why = format!(
                "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. \
                 error: {why}"
            );
            errors.forbidden(&Path::new("metadata.name"), &why);
        }
    } else if value > USER_MOST {
        let why = format!("maximum allowed value of a user defined priority is {USER_MOST}");
        errors.forbidden(&Path::new("value"), &why);
    }
    if let Some(policy) = new.at("preemptionPolicy").and_then(Value::as_str) {
        let path = Path::new("preemptionPolicy");
        check::one_of(&path, policy, &["PreemptLowerPriority", "Never"], errors);
    }
}

fn known(name: &str, value: i64, global_default: bool) -> Result<(), String> {
    let Some((_, expected, _)) = SYSTEM.iter().find(|(known, ..)| *known == name) else {
        return Err(format!("{name} is not a known system priority class"));
    };
    if value != *expected {
        return Err(format!("value of {name} PriorityClass must be {expected}"));
    }
    if global_default {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    fn check(class: Value) -> String {
        let mut errors = Errors::new();
        validate(&Object::new(class), None, &mut errors);
        errors.text()
    }

    #[test]
    fn system_names_and_high_values_are_refused() {
        let known = json!({"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000});
        assert_eq!(check(known), "[]");
        assert_eq!(
            check(json!({"metadata": {"name": "system-mine"}, "value": 1})),
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for \
             system use only. error: system-mine is not a known system priority class"
        );
        assert_eq!(
            check(json!({"metadata": {"name": "a"}, "value": 1_000_000_001})),
            "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"
        );
    }
}
