//! VolumeAttributesClass: what may be changed of volumes that are there (KEP-3751).

use super::{parameters, provisioner};
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column};
use skiff_api::object::Object;
use skiff_api::view::Resource;

pub const RESOURCE: Resource =
    Resource::of("storage.k8s.io", "v1", "volumeattributesclasses", "VolumeAttributesClass")
        .cluster();

pub fn kind() -> Kind {
    Kind {
        list_kind: "VolumeAttributesClassList".into(),
        short: vec!["vac".into()],
        columns: vec![
            name_column(),
            column("DriverName", Cell::With(|class| class.text("driverName").into())),
            age_column(),
        ],
        hooks: Hooks { validate, ..Hooks::NONE },
        shows_deleted: true,
        ..Kind::new(RESOURCE)
    }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    for field in ["driverName", "parameters"] {
        if old.is_some_and(|old| old.at(field) != new.at(field)) {
            let why = format!("updates to {field} are forbidden.");
            errors.forbidden(&Path::new(field), &why);
        }
    }
    provisioner(new.text("driverName"), &Path::new("driverName"), errors);
    parameters(new.value(), &Path::new("parameters"), errors);
    if new.map("parameters").is_empty() {
        let why = "must contain at least one key/value pair";
        errors.required(&Path::new("parameters"), why);
    }
}
