//! DeviceClass: a kind of devices, with selectors and configuration that every claim of it has (API reference:
//! extend-resources).

use super::config::{self, most};
use super::{GROUP, declared, warn};
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Hooks, Kind};
use skiff_api::object::Object;
use skiff_api::view::Resource;

pub const RESOURCE: Resource = Resource::of(GROUP, "v1", "deviceclasses", "DeviceClass").cluster();
const CONFIGS_MOST: usize = 32;

pub fn kind() -> Kind {
    Kind {
        hooks: Hooks { validate, warn, generation: Some(Hooks::spec_changed), ..Hooks::NONE },
        shows_deleted: true,
        ..Kind::new(RESOURCE)
    }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    if let Some(spec) = new.at("spec") {
        let path = Path::new("spec");
        config::selectors(spec, &path, errors);
        let (here, configs) = (path.child("config"), new.list("spec.config"));
        for (index, it) in configs.iter().enumerate().take(most(configs, CONFIGS_MOST)) {
            config::opaque(it, &here.index(index), errors);
        }
    }
    declared::validate("DeviceClass", new, old, errors);
}
