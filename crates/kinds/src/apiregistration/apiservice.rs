//! APIService: a version of a group of the API, served here or by a Service (API reference: cluster-resources).
//!
//! Those of Skiff's own groups are made and kept by a loop; it says of those that name a Service whether they answer.

use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, NameRule, age_column, column, name_column, status};
use skiff_api::names;
use skiff_api::object::{Object, at};
use skiff_api::view::Resource;
use skiff_json::{Value, json};

pub const RESOURCE: Resource =
    Resource::of("apiregistration.k8s.io", "v1", "apiservices", "APIService").cluster();

const GROUP_PRIORITY_MOST: i64 = 20_000;
const VERSION_PRIORITY_MOST: i64 = 1_000;
const SERVICE_PORT: i64 = 443;

pub fn kind() -> Kind {
    Kind {
        categories: vec!["api-extensions".into()],
        name_rule: NameRule::Segment,
        conditional: true,
        subresources: vec![status()],
        columns: vec![
            name_column(),
            column("Service", Cell::With(|it| service(it).into())),
            column("Available", Cell::With(|it| available(it).into())),
            age_column(),
        ],
        hooks: Hooks { default, prepare, validate, validate_part, ..Hooks::NONE },
        ..Kind::new(RESOURCE)
    }
}

fn service(it: &Object) -> String {
    match it.at("spec.service") {
        Some(service) => format!("{}/{}", text(service, "namespace"), text(service, "name")),
        None => "Local".into(),
    }
}

fn available(it: &Object) -> String {
    let found = it.list("status.conditions").iter().find(|it| text(it, "type") == "Available");
    match found.map(|it| (text(it, "status"), text(it, "reason"))) {
        None => "Unknown".into(),
        Some(("True", _)) => "True".into(),
        Some((status, "")) => status.into(),
        Some((status, reason)) => format!("{status} ({reason})"),
    }
}

fn default(new: &mut Object) {
    if new.at("spec.service").is_some() {
        new.set_absent("spec.service.port", SERVICE_PORT);
    }
}

/// What is served here is there at once.
fn prepare(new: &mut Object, old: Option<&Object>) {
    if old.is_none() && new.at("spec.service").is_none() {
        let local = json!({"type": "Available", "status": "True", "reason": "Local",
            "lastTransitionTime": new.text("metadata.creationTimestamp"),
            "message": "Local APIServices are always available"});
        new.set("status.conditions", json!([local]));
    }
}

fn validate(new: &Object, _: Option<&Object>, errors: &mut Errors) {
    let path = Path::new("spec");
    let spec = new.at("spec").unwrap_or(&Value::Null);
    let (group, version) = (text(spec, "group"), text(spec, "version"));
    let name = format!("{version}.{group}");
    if names::segment(new.name()).is_empty() && new.name() != name {
        let why = format!("must be `spec.version+\".\"+spec.group`: {name:?}");
        errors.invalid(&Path::new("metadata.name"), new.name(), &why);
    }
    match group {
        "" if version != "v1" => {
            let why = "only v1 may have an empty group and it better be legacy kube";
            errors.required(&path.child("group"), why);
        }
        "" => {}
        group => subdomain(&path.child("group"), group, errors),
    }
    refuse(&path.child("version"), version, names::label1035(version), errors);
    for (field, most) in
        [("groupPriorityMinimum", GROUP_PRIORITY_MOST), ("versionPriority", VERSION_PRIORITY_MOST)]
    {
        let priority = int(spec, field).unwrap_or(0);
        if !(1..=most).contains(&priority) {
            let why = format!("must be positive and less than {most}");
            errors.invalid(&path.child(field), priority, &why);
        }
    }
    let trusts = flag(spec, "insecureSkipTLSVerify");
    let bundle = text(spec, "caBundle").len();
    let at_trust = path.child("insecureSkipTLSVerify");
    let Some(service) = at(spec, "service") else {
        if bundle > 0 {
            // Of the bytes, which are written in base 64.
            let padding = text(spec, "caBundle").bytes().filter(|byte| *byte == b'=').count();
            let shown = format!("{} bytes", bundle / 4 * 3 - padding);
            let why = "local APIServices may not have a caBundle";
            errors.invalid(&path.child("caBundle"), shown, why);
        }
        if trusts {
            let why = "local APIServices may not have insecureSkipTLSVerify";
            errors.invalid(&at_trust, true, why);
        }
        return;
    };
    let here = path.child("service");
    required(service, "namespace", &here, errors);
    required(service, "name", &here, errors);
    let port = int(service, "port").unwrap_or(0);
    if let Some(why) = names::port(port) {
        errors.invalid(&here.child("port"), port, &format!("port is not valid: {why}"));
    }
    if trusts && bundle > 0 {
        errors.invalid(&at_trust, true, "may not be true if caBundle is present");
    }
}

fn validate_part(_: &str, new: &Object, _: &Object, errors: &mut Errors) {
    let path = Path::new("status.conditions");
    for (index, condition) in new.list("status.conditions").iter().enumerate() {
        let (here, status) = (path.index(index), text(condition, "status"));
        if !["True", "False", "Unknown"].contains(&status) {
            errors.not_supported(&here.child("status"), status, &["True", "False", "Unknown"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_version_and_group() {
        let service = json!({"metadata": {"name": "v1.a"}, "spec": {"version": "v1", "group": "a.b",
            "groupPriorityMinimum": 1, "versionPriority": 1001, "caBundle": "YWI="}});
        let mut errors = Errors::new();
        validate(&Object::new(service), None, &mut errors);
        assert_eq!(
            errors.text(),
            "[metadata.name: Invalid value: \"v1.a\": must be `spec.version+\".\"+spec.group`: \"v1.a.b\", \
             spec.versionPriority: Invalid value: 1001: must be positive and less than 1000, \
             spec.caBundle: Invalid value: \"2 bytes\": local APIServices may not have a caBundle]"
        );
    }
}
