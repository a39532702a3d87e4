//! PodTemplate: a template of pods that no workload holds (API reference: workload-resources).

use crate::core::pod;
use crate::workload;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, column, name_column};
use skiff_api::object::{Object, texts};
use skiff_api::selector::Selector;
use skiff_api::view::Resource;
use skiff_json::Value;

pub const RESOURCE: Resource = Resource::core("podtemplates", "PodTemplate");

pub fn kind() -> Kind {
    Kind {
        columns: vec![
            name_column(),
            column("Containers", Cell::With(|it| workload::joined(it, "template", "name"))),
            column("Images", Cell::With(|it| workload::joined(it, "template", "image"))),
            column("Pod Labels", Cell::With(labels)),
        ],
        hooks: Hooks {
            default: |new| pod::default::template_at("template", new),
            prepare: |new, old| workload::drop_disabled_at("template.spec", new, old),
            validate,
            warn: |new, old| pod::warn::template_at("template", new, old),
            generation: Some(|new, old| new.at("template") != old.at("template")),
            ..Hooks::NONE
        },
        shows_deleted: true,
        ..Kind::new(RESOURCE)
    }
}

fn labels(it: &Object) -> Value {
    match &*Selector::from_labels(texts(it.map("template.metadata.labels"))).to_string() {
        "" => "<none>".into(),
        labels => labels.into(),
    }
}

fn validate(new: &Object, _: Option<&Object>, errors: &mut Errors) {
    let template = new.at("template").unwrap_or(&Value::Null);
    pod::validate::template(template, &Path::new("template"), errors);
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn a_template_is_checked_as_pods_are() {
        let mut it = Object::new(json!({"template": {"spec": {}}}));
        (kind().hooks.default)(&mut it);
        assert_eq!(it.text("template.spec.restartPolicy"), "Always");
        let mut errors = Errors::new();
        validate(&it, None, &mut errors);
        assert_eq!(errors.text(), "template.spec.containers: Required value");
        assert_eq!(labels(&it), "<none>");
    }
}
