//! StatefulSet: pods with names, addresses and claims of their own, in an order (API reference: workload-resources).

use crate::core::pod;
use crate::core::pod::validate::{self, claim, internal};
use crate::workload;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{
    Cell, Hooks, Kind, NameRule, age_column, column, name_column, scale, status,
};
use skiff_api::object::{Object, at, remove};
use skiff_api::quantity::Quantity;
use skiff_api::selector::Selector;
use skiff_api::view::Resource;
use skiff_json::{Value, json};

pub const RESOURCE: Resource = Resource::of("apps", "v1", "statefulsets", "StatefulSet");

const RETENTIONS: &[&str] = &["Retain", "Delete"];
/// What an update may not touch: pods and claims that are there were named by it.
const IMMUTABLE: [&str; 4] =
    ["spec.selector", "spec.volumeClaimTemplates", "spec.serviceName", "spec.podManagementPolicy"];

pub fn kind() -> Kind {
    let mut columns = vec![name_column(), column("Ready", Cell::With(ready)), age_column()];
    columns.extend(workload::columns().into_iter().take(2));
    Kind {
        short: vec!["sts".into()],
        categories: vec!["all".into()],
        subresources: vec![scale(), status()],
        name_rule: NameRule::Label,
        columns,
        hooks: Hooks {
            default,
            prepare,
            validate,
            validate_part,
            warn,
            generation: Some(Hooks::spec_changed),
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

fn ready(set: &Object) -> Value {
    let count = |path| set.int(path).unwrap_or(0);
    format!("{}/{}", count("status.readyReplicas"), count("spec.replicas")).into()
}

fn default(new: &mut Object) {
    if new.text("spec.podManagementPolicy").is_empty() {
        new.set("spec.podManagementPolicy", "OrderedReady");
    }
    if new.text("spec.updateStrategy.type").is_empty() {
        new.set("spec.updateStrategy.type", "RollingUpdate");
        new.set_absent("spec.updateStrategy.rollingUpdate", json!({}));
    }
    if new.text("spec.updateStrategy.type") == "RollingUpdate"
        && new.at("spec.updateStrategy.rollingUpdate").is_some()
    {
        new.set_absent("spec.updateStrategy.rollingUpdate.partition", 0);
        new.set_absent("spec.updateStrategy.rollingUpdate.maxUnavailable", 1);
    }
    for when in ["whenDeleted", "whenScaled"] {
        let path = format!("spec.persistentVolumeClaimRetentionPolicy.{when}");
        if new.text(&path).is_empty() {
            new.set(&path, "Retain");
        }
    }
    new.set_absent("spec.replicas", 1);
    new.set_absent("spec.revisionHistoryLimit", 10);
    pod::default::template(new);
    let claims = new.value_mut().pointer_mut("/spec/volumeClaimTemplates");
    for claim in claims.and_then(Value::as_array_mut).into_iter().flatten() {
        let mut object = Object::new(claim.take());
        object.set("apiVersion", "v1");
        object.set("kind", "PersistentVolumeClaim");
        object.set_absent("spec.volumeMode", "Filesystem");
        object.set_absent("status.phase", "Pending");
        *claim = object.into_value();
    }
}

fn prepare(new: &mut Object, old: Option<&Object>) {
    if old.is_none() {
        new.set("status", json!({"replicas": 0, "availableReplicas": 0}));
    }
    workload::drop_disabled(new, old);
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let path = Path::new("spec");
    let null = Value::Null;
    let spec = new.at("spec").unwrap_or(&null);
    let Some(old) = old else { return validate_spec(spec, &path, Checks::All, errors) };
    // A template that would not be let in any more stops nobody from changing the rest.
    let mut before = Errors::new();
    validate_spec(old.at("spec").unwrap_or(&null), &path, Checks::Mutable, &mut before);
    let checks = if before.is_empty() { Checks::Mutable } else { Checks::MutableButTemplate };
    validate_spec(spec, &path, checks, errors);
    for field in IMMUTABLE.into_iter().filter(|field| new.at(field) != old.at(field)) {
        let (path, why) = (Path::new(field), "field is immutable");
        match field {
            "spec.selector" => {
                internal::invalid_selector(errors, &path, new.at(field).unwrap_or(&null), why);
            }
            "spec.volumeClaimTemplates" => {
                let claims = new.list(field);
                internal::invalid_list(errors, &path, "PersistentVolumeClaim", claims, why);
            }
            _ => errors.invalid(&path, new.text(field), why),
        }
    }
}

/// What of a spec is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checks {
    All,
    /// What an update cannot change may be as it was let in once.
    Mutable,
    MutableButTemplate,
}

fn validate_spec(spec: &Value, path: &Path, checks: Checks, errors: &mut Errors) {
    let policy = path.child("podManagementPolicy");
    match text(spec, "podManagementPolicy") {
        "" => errors.required(&policy, ""),
        "OrderedReady" | "Parallel" => {}
        other => errors.invalid(&policy, other, "must be 'OrderedReady' or 'Parallel'"),
    }
    let null = Value::Null;
    let update = at(spec, "updateStrategy").unwrap_or(&null);
    strategy(update, &path.child("updateStrategy"), errors);
    let retention = path.child("persistentVolumeClaimRetentionPolicy");
    for when in ["whenDeleted", "whenScaled"] {
        let chosen = text(spec, &format!("persistentVolumeClaimRetentionPolicy.{when}"));
        if !RETENTIONS.contains(&chosen) {
            errors.not_supported(&retention.child(when), chosen, RETENTIONS);
        }
    }
    if checks == Checks::All {
        for (index, template) in list(spec, "volumeClaimTemplates").iter().enumerate() {
            let (all, spec) = (path.child("volumeClaimTemplates"), at(template, "spec"));
            claim::claim_spec(spec.unwrap_or(&null), &all.index(index).child("spec"), errors);
        }
    }
    workload::counts(spec, &["replicas", "minReadySeconds", "ordinals.start"], path, errors);
    let service = text(spec, "serviceName");
    if checks == Checks::All && !service.is_empty() {
        label(&path.child("serviceName"), service, errors);
    }
    let here = path.child("selector");
    if at(spec, "selector").is_none() {
        errors.required(&here, "");
    }
    label_selector(spec, "selector", path, errors);
    workload::empty_selector("statefulset", spec, path, errors);
    let at_template = path.child("template");
    match Selector::from_object(at(spec, "selector")) {
        Err(_) => {
            let selector = at(spec, "selector").unwrap_or(&null);
            internal::invalid_selector(errors, &here, selector, "");
        }
        Ok(selector) => {
            let template = completed(spec);
            if !selector.selects_everything() {
                workload::matching(&selector, &template, &at_template, errors);
            }
            if checks != Checks::MutableButTemplate {
                validate::template(&template, &at_template, errors);
            }
        }
    }
    let template = at(spec, "template").unwrap_or(&null);
    workload::endless("StatefulSet", template, &at_template, errors);
}

/// The template with the claims that its pods will have; the names that they get are not its affair.
fn completed(spec: &Value) -> Value {
    let mut template = at(spec, "template").cloned().unwrap_or(Value::Null);
    remove(&mut template, "spec.hostname");
    remove(&mut template, "spec.subdomain");
    let names: Vec<&str> = list(spec, "volumeClaimTemplates")
        .iter()
        .map(|claim| text(claim, "metadata.name"))
        .collect();
    if names.is_empty() || !template.is_object() {
        return template;
    }
    let claims = names
        .iter()
        .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
    let others = list(&template, "spec.volumes").iter();
    let others = others.filter(|volume| !names.contains(&text(volume, "name"))).cloned();
    let volumes: Vec<Value> = claims.chain(others).collect();
    skiff_api::object::set(&mut template, "spec.volumes", volumes.into());
    template
}

fn strategy(strategy: &Value, path: &Path, errors: &mut Errors) {
    let here = path.child("rollingUpdate");
    match (text(strategy, "type"), at(strategy, "rollingUpdate")) {
        ("", _) => errors.required(path, ""),
        ("OnDelete", Some(update)) => {
            let why = "only allowed for updateStrategy 'RollingUpdate'";
            internal::invalid(errors, &here, "RollingUpdateStatefulSetStrategy", update, why);
        }
        ("RollingUpdate", Some(update)) => rolling_update(update, &here, errors),
        ("OnDelete" | "RollingUpdate", None) => {}
        _ => {
            let why = "must be 'RollingUpdate' or 'OnDelete'";
            internal::invalid(errors, path, "StatefulSetUpdateStrategy", strategy, why);
        }
    }
}

fn rolling_update(update: &Value, path: &Path, errors: &mut Errors) {
    workload::counts(update, &["partition"], path, errors);
    let Some(unavailable) = at(update, "maxUnavailable") else { return };
    let here = path.child("maxUnavailable");
    workload::amount(unavailable, &here, errors);
    if workload::none(unavailable) {
        errors.invalid(&here, unavailable.clone(), "cannot be 0");
    }
    workload::at_most_all(unavailable, &here, errors);
}

fn validate_part(_: &str, new: &Object, old: &Object, errors: &mut Errors) {
    let path = Path::new("status");
    let Some(status) = new.at("status") else { return };
    let counts = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    workload::counts(status, &counts, &path, errors);
    let why = "cannot be greater than status.replicas";
    workload::at_most(status, &counts[1..5], "replicas", why, &path, errors);
    let why = "cannot be greater than status.readyReplicas";
    workload::at_most(status, &["availableReplicas"], "readyReplicas", why, &path, errors);
    workload::collisions(status, old, &path, errors);
}

fn warn(new: &Object, old: Option<&Object>) -> Vec<String> {
    let mut out = pod::warn::template_at("spec.template", new, old);
    for (index, claim) in new.list("spec.volumeClaimTemplates").iter().enumerate() {
        // Upstream names another path of an update.
        let part = if old.is_some() { ".Spec" } else { "" };
        for list in ["requests", "limits"] {
            let amount = text(claim, &format!("spec.resources.{list}.storage"));
            let fraction = |amount: &Quantity| amount.milli_value() % 1000 != 0;
            if let Some(amount) = Quantity::parse(amount).ok().filter(fraction) {
                out.push(format!(
                    "spec.volumeClaimTemplates[{index}]{part}.resources.{list}[storage]: fractional byte value \
                     \"{amount}\" is invalid, must be an integer"
                ));
            }
        }
    }
    if new.int("spec.revisionHistoryLimit").is_some_and(|limit| limit < 0) {
        let why = "a negative value retains all historical revisions; a value >= 0 is recommended";
        out.push(format!("spec.revisionHistoryLimit: {why}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(more: Value) -> Object {
        let mut spec = json!({"selector": {"matchLabels": {"a": "b"}}, "serviceName": "s",
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x",
                "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let mut it = Object::new(json!({"metadata": {"name": "a"}, "spec": spec}));
        default(&mut it);
        it
    }

    fn check(new: &Object, old: Option<&Object>) -> String {
        let mut errors = Errors::new();
        validate(new, old, &mut errors);
        errors.text()
    }

    #[test]
    fn claims_are_volumes_of_the_template() {
        assert_eq!(check(&set(json!({})), None), "[]");
        assert_eq!(
            check(&set(json!({"volumeClaimTemplates": []})), None),
            "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"data\""
        );
    }

    #[test]
    fn what_named_pods_and_claims_stays() {
        let old = set(json!({}));
        let changed = json!({"serviceName": "t", "podManagementPolicy": "Parallel", "replicas": 3});
        assert_eq!(
            check(&set(changed), Some(&old)),
            "[spec.serviceName: Invalid value: \"t\": field is immutable, spec.podManagementPolicy: \
             Invalid value: \"Parallel\": field is immutable]"
        );
    }

    #[test]
    fn strategies() {
        let of = |strategy: Value| check(&set(json!({"updateStrategy": strategy})), None);
        assert_eq!(of(json!({"rollingUpdate": {"maxUnavailable": "50%"}})), "[]");
        assert_eq!(
            of(json!({"type": "Recreate"})),
            "spec.updateStrategy: Invalid value: {\"Type\":\"Recreate\",\"RollingUpdate\":null}: must be \
             'RollingUpdate' or 'OnDelete'"
        );
        assert_eq!(
            of(json!({"rollingUpdate": {"maxUnavailable": 0}})),
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0"
        );
    }
}
