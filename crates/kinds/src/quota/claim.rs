//! Claims: of volumes, by storage and by its class, and of devices, by their class.

use super::pod::selects;
use super::whole;
use crate::views::Scope;
use crate::views::pod::Quantities;
use skiff_api::check::{list, text};
use skiff_api::object::Object;
use skiff_api::quantity::{Format, Quantity};
use skiff_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
const COUNT: &str = "count/persistentvolumeclaims";
const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
const COUNT_DEVICES: &str = "count/resourceclaims.resource.k8s.io";
/// So many devices a claim of all of a class may get (API reference: DeviceAllocationMode).
const ALL_DEVICES: i64 = 32;
/// The older place of the name of a storage class.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

pub fn counts(name: &str) -> bool {
    let by_class = |it: &&str| name.strip_suffix(it).is_some_and(|head| head.ends_with(BY_CLASS));
    name == COUNT || NAMES.contains(&name) || NAMES.iter().any(by_class)
}

pub fn counts_devices(name: &str) -> bool {
    name == COUNT_DEVICES || name.ends_with(DEVICES)
}

pub fn amounts(claim: &Object) -> Quantities {
    let class = claim.annotation(CLASS).unwrap_or_else(|| claim.text("spec.storageClassName"));
    let mut all = BTreeMap::from([(COUNT.to_owned(), whole(1))]);
    let mut put = |name: &str, amount: Quantity| {
        if !class.is_empty() {
            all.insert(format!("{class}{BY_CLASS}{name}"), amount.clone());
        }
        all.insert(name.to_owned(), amount);
    };
    put("persistentvolumeclaims", whole(1));
    let amount = |path| Quantity::parse(claim.map(path).get("storage")?.as_str()?).ok();
    if let Some(wanted) = amount("spec.resources.requests") {
        // One whose growth did not come to be keeps what was given for it.
        let given = amount("status.allocatedResources");
        let most = given.filter(|given| *given > wanted).unwrap_or(wanted);
        put("requests.storage", whole_bytes(most));
    }
    Quantities(all)
}

fn whole_bytes(amount: Quantity) -> Quantity {
    match amount.milli_value() % 1000 {
        0 => amount,
        _ => Quantity::new(amount.value(), amount.format()),
    }
}

/// The attributes classes that a claim asks for, has or is on its way to.
pub fn classes(claim: &Object) -> BTreeSet<String> {
    let paths = [
        "spec.volumeAttributesClassName",
        "status.currentVolumeAttributesClassName",
        "status.modifyVolumeStatus.targetVolumeAttributesClassName",
    ];
    paths
        .iter()
        .map(|path| claim.text(path))
        .filter(|it| !it.is_empty())
        .map(str::to_owned)
        .collect()
}

pub fn is_in(classes: &BTreeSet<String>, scope: &Scope) -> bool {
    match classes.is_empty() {
        true => selects(scope, None),
        false => classes.iter().any(|class| selects(scope, Some(class))),
    }
}

/// What a claim of devices uses: of alternatives, the worst for each class.
pub fn devices(claim: &Object) -> Quantities {
    let mut all = Quantities(BTreeMap::from([(COUNT_DEVICES.to_owned(), whole(1))]));
    let of = |request: &Value| {
        let count = match text(request, "allocationMode") {
            "ExactCount" => request["count"].as_i64().unwrap_or(0),
            "All" => ALL_DEVICES,
            _ => 0,
        };
        let name = format!("{}{DEVICES}", text(request, "deviceClassName"));
        Quantities(BTreeMap::from([(name, Quantity::new(count, Format::Decimal))]))
    };
    for request in claim.list("spec.devices.requests") {
        let mut worst = Quantities::default();
        list(request, "firstAvailable").iter().for_each(|one| worst.raise(&of(one)));
        if let Some(exactly) = request.get("exactly") {
            worst.raise(&of(exactly));
        }
        all.add(&worst);
    }
    all
}
