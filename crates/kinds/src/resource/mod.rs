//! The group `resource.k8s.io`: devices that drivers offer, and that pods claim (KEP-4381). The objects are checked and
//! kept; nothing allocates devices yet, and writes of those that ask for some say so.

mod capacity;
mod claim;
mod config;
mod declared;
mod device;
pub mod deviceclass;
pub mod devicetaintrule;
mod expression;
mod formats;
mod gated;
pub mod resourceclaim;
pub mod resourceclaimtemplate;
pub mod resourceslice;
mod status;
mod taints;

use skiff_api::kind::Kind;
use skiff_api::object::Object;

/// The kinds of the group, by name.
pub const KINDS: &[fn() -> Kind] = &[
    deviceclass::kind,
    devicetaintrule::kind,
    resourceclaim::kind,
    resourceclaimtemplate::kind,
    resourceslice::kind,
];

pub const GROUP: &str = "resource.k8s.io";

fn warn(_: &Object, _: Option<&Object>) -> Vec<String> {
    vec!["devices are kept as objects and not allocated yet".to_owned()]
}
