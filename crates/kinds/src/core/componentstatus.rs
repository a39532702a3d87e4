//! ComponentStatus: how a part of the control plane is, as it says itself when somebody asks (API reference:
//! cluster-resources). Stored nowhere, and deprecated; who asks is told.

use skiff_api::kind::{Backend, Cell, Kind, Verb, column, name_column};
use skiff_api::object::{Object, text};
use skiff_api::view::Resource;
use skiff_json::{Value, json};

pub const RESOURCE: Resource = Resource::core("componentstatuses", "ComponentStatus").cluster();
const HEALTHY: &str = "Healthy";

pub fn kind() -> Kind {
    Kind {
        short: vec!["cs".into()],
        backend: Backend::Told,
        verbs: &[Verb::Get, Verb::List],
        deprecation: Some("v1 ComponentStatus is deprecated in v1.19+".into()),
        columns: vec![
            name_column(),
            column("Status", Cell::With(status)),
            column("Message", Cell::With(|it| said(it, "message").into())),
            column("Error", Cell::With(|it| said(it, "error").into())),
        ],
        ..Kind::new(RESOURCE)
    }
}

/// A component that is well, or what is wrong with it.
pub fn of(name: &str, wrong: Option<&str>) -> Object {
    let condition = match wrong {
        None => json!({"type": HEALTHY, "status": "True", "message": "ok"}),
        Some(wrong) => json!({"type": HEALTHY, "status": "False", "message": wrong}),
    };
    Object::new(json!({"metadata": {"name": name}, "conditions": [condition]}))
}

fn healthy(component: &Object) -> Option<&Value> {
    component.list("conditions").iter().find(|it| text(it, "type") == HEALTHY)
}

fn said<'a>(component: &'a Object, field: &str) -> &'a str {
    healthy(component).map_or("", |condition| text(condition, field))
}

fn status(component: &Object) -> Value {
    match said(component, "status") {
        "" => "Unknown".into(),
        "True" => "Healthy".into(),
        _ => "Unhealthy".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_says_how_it_is() {
        let shown = |wrong| {
            let component = of("etcd-0", wrong);
            (status(&component), said(&component, "message").to_owned())
        };
        assert_eq!(shown(None), ("Healthy".into(), "ok".into()));
        assert_eq!(shown(Some("it ended")), ("Unhealthy".into(), "it ended".into()));
    }
}
