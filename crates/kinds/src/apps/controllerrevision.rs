//! ControllerRevision: a state of a StatefulSet or DaemonSet that it can go back to. Its data never changes (API
//! reference: workload-resources).

use skiff_api::check::not_negative;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column};
use skiff_api::object::{Object, text};
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource =
    Resource::of("apps", "v1", "controllerrevisions", "ControllerRevision");

pub fn kind() -> Kind {
    Kind {
        columns: vec![
            name_column(),
            column("Controller", Cell::With(controller)),
            column("Revision", Cell::With(|it| it.int("revision").unwrap_or(0).into())),
            age_column(),
        ],
        hooks: Hooks { validate, ..Hooks::NONE },
        ..Kind::new(RESOURCE)
    }
}

/// `daemonset.apps/name`.
fn controller(revision: &Object) -> Value {
    let Some(owner) = revision.controller() else { return "<none>".into() };
    let kind = text(owner, "kind").to_lowercase();
    match text(owner, "apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", text(owner, "name")).into(),
        None => format!("{kind}/{}", text(owner, "name")).into(),
    }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    not_negative(&Path::new("revision"), new.int("revision").unwrap_or(0), errors);
    let (path, data) = (Path::new("data"), new.value().get("data"));
    match old {
        Some(old) => {
            let data = data.cloned().unwrap_or(Value::Null);
            if Some(&data) != old.value().get("data") {
                errors.invalid(&path, data, "field is immutable");
            }
        }
        None => match data {
            None | Some(Value::Null) => errors.required(&path, "data is mandatory"),
            Some(Value::Object(_)) => {}
            Some(_) => errors.required(&path, "data must be a valid JSON object"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn data_is_an_object_and_stays() {
        let check = |new: Value, old: Option<Value>| {
            let mut errors = Errors::new();
            validate(&Object::new(new), old.map(Object::new).as_ref(), &mut errors);
            errors.text()
        };
        assert_eq!(check(json!({"revision": 1, "data": {}}), None), "[]");
        assert_eq!(check(json!({"data": null}), None), "data: Required value: data is mandatory");
        assert_eq!(
            check(json!({"revision": -1, "data": {"a": 1}}), Some(json!({"data": {}}))),
            "[revision: Invalid value: -1: must be greater than or equal to 0, data: Invalid value: {\"a\":1}: field \
             is immutable]"
        );
    }
}
