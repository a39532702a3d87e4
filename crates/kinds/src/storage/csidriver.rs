//! CSIDriver: what a driver of storage can and wants (API reference: config-and-storage-resources).

use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Column, Hooks, Kind, age_column, column, name_column};
use skiff_api::object::Object;
use skiff_api::view::Resource;
use skiff_json::{Value, json};
use std::collections::HashSet;

pub const RESOURCE: Resource =
    Resource::of("storage.k8s.io", "v1", "csidrivers", "CSIDriver").cluster();

const GROUP_POLICIES: &[&str] = &["File", "None", "ReadWriteOnceWithFSType"];
const TOKEN_LEAST_S: i64 = 600;
const PERIOD_LEAST_S: i64 = 10;

pub fn kind() -> Kind {
    let flag = |name, cell| Column { type_: "boolean".into(), ..column(name, Cell::With(cell)) };
    Kind {
        columns: vec![
            name_column(),
            flag("AttachRequired", |it| it.flag("spec.attachRequired").into()),
            flag("PodInfoOnMount", |it| it.flag("spec.podInfoOnMount").into()),
            flag("StorageCapacity", |it| it.flag("spec.storageCapacity").into()),
            column("TokenRequests", Cell::With(audiences)),
            flag("RequiresRepublish", |it| it.flag("spec.requiresRepublish").into()),
            column("Modes", Cell::With(modes)),
            age_column(),
        ],
        conditional: true,
        hooks: Hooks {
            default,
            validate,
            warn,
            generation: Some(Hooks::spec_changed),
            ..Hooks::NONE
        },
        shows_deleted: true,
        // Upstream counts changes of it, but not from its creation on.
        first_generation: 0,
        ..Kind::new(RESOURCE)
    }
}

fn audiences(driver: &Object) -> Value {
    let Some(Value::Array(requests)) = driver.at("spec.tokenRequests") else {
        return "<unset>".into();
    };
    requests.iter().map(|it| text(it, "audience")).collect::<Vec<_>>().join(",").into()
}

fn modes(driver: &Object) -> Value {
    let modes = driver.list("spec.volumeLifecycleModes").iter().filter_map(Value::as_str);
    match modes.collect::<Vec<_>>().join(",") {
        none if none.is_empty() => "<none>".into(),
        modes => modes.into(),
    }
}

fn default(driver: &mut Object) {
    for (field, value) in [
        ("attachRequired", json!(true)),
        ("podInfoOnMount", json!(false)),
        ("storageCapacity", json!(false)),
        ("fsGroupPolicy", json!("ReadWriteOnceWithFSType")),
        ("requiresRepublish", json!(false)),
        ("seLinuxMount", json!(false)),
        ("preventPodSchedulingIfMissing", json!(false)),
    ] {
        driver.set_absent(&format!("spec.{field}"), value);
    }
    if driver.list("spec.volumeLifecycleModes").is_empty() {
        driver.set("spec.volumeLifecycleModes", json!(["Persistent"]));
    }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let spec = Path::new("spec");
    let policy = new.text("spec.fsGroupPolicy");
    if !GROUP_POLICIES.contains(&policy) {
        errors.not_supported(&spec.child("fsGroupPolicy"), policy, GROUP_POLICIES);
    }
    tokens(new.list("spec.tokenRequests"), &spec.child("tokenRequests"), errors);
    let known = &["Persistent", "Ephemeral"];
    for mode in new.list("spec.volumeLifecycleModes").iter().filter_map(Value::as_str) {
        if !known.contains(&mode) {
            errors.not_supported(&spec.child("volumeLifecycleModes"), mode, known);
        }
    }
    let period = new.int("spec.nodeAllocatableUpdatePeriodSeconds");
    if let Some(period) = period.filter(|period| *period < PERIOD_LEAST_S) {
        let why = "must be greater than or equal to 10 seconds";
        errors.invalid(&spec.child("nodeAllocatableUpdatePeriodSeconds"), period, why);
    }
    if let Some(given) = new.at("spec.serviceAccountTokenInSecrets")
        && new.list("spec.tokenRequests").is_empty()
    {
        let why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.invalid(&spec.child("serviceAccountTokenInSecrets"), given.clone(), why);
    }
    let Some(old) = old else { return };
    // Upstream gives the field another name here.
    if new.at("spec.attachRequired") != old.at("spec.attachRequired") {
        let given = new.flag("spec.attachRequired");
        errors.invalid(&spec.child("attachedRequired"), given, "field is immutable");
    }
    immutable("spec.volumeLifecycleModes", new, old, errors);
}

fn tokens(requests: &[Value], path: &Path, errors: &mut Errors) {
    let mut audiences = HashSet::new();
    for (index, request) in requests.iter().enumerate() {
        let here = path.index(index);
        let audience = text(request, "audience");
        if !audiences.insert(audience) {
            errors.duplicate(&here.child("audience"), audience);
            continue;
        }
        let life = int(request, "expirationSeconds").unwrap_or(TOKEN_LEAST_S);
        let why = match life {
            life if life < TOKEN_LEAST_S => "may not specify a duration less than 10 minutes",
            life if life > 1 << 32 => "may not specify a duration larger than 2^32 seconds",
            _ => continue,
        };
        errors.invalid(&here.child("expirationSeconds"), life, why);
    }
}

fn warn(new: &Object, old: Option<&Object>) -> Vec<String> {
    let requests = "spec.tokenRequests";
    let same = old.is_some_and(|old| old.at(requests) == new.at(requests));
    let told = new.at("spec.serviceAccountTokenInSecrets").is_some();
    if same || told || new.list(requests).is_empty() {
        return Vec::new();
    }
    vec![
        "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent \
         possible logging of tokens in volume attributes"
            .into(),
    ]
}
