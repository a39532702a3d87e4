//! What holds of a HorizontalPodAutoscaler, in the words and the order of upstream's API.

use crate::core::pod::validate::resources::container_name;
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::names;
use skiff_api::object::{Object, at, quantity};
use skiff_api::quantity::Quantity;
use skiff_json::{Map, Value};

/// Bounds of scaling policies, in seconds.
const PERIOD_MOST: i64 = 1800;
const WINDOW_MOST: i64 = 3600;
const SOURCES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];
/// Where each sort of metric stands, in the order in which they are looked at.
const FIELDS: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

pub fn spec(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let path = Path::new("spec");
    let none = Value::Object(Map::new());
    let spec = new.at("spec").unwrap_or(&none);
    let (least, most) = (int(spec, "minReplicas"), int(spec, "maxReplicas").unwrap_or(0));
    if least.is_some_and(|least| most < least) {
        let why = "must be greater than or equal to `minReplicas`";
        errors.invalid(&path.child("maxReplicas"), most, why);
    }
    let target = at(spec, "scaleTargetRef").unwrap_or(&Value::Null);
    let before = old.and_then(|old| old.at("spec.scaleTargetRef"));
    let group = match before {
        Some(before)
            if ["apiVersion", "kind"].iter().all(|f| text(before, f) == text(target, f)) =>
        {
            Group::Unchecked
        }
        _ if text(target, "kind") == "ReplicationController" => Group::MayBeCore,
        _ => Group::Named,
    };
    reference(target, group, &path.child("scaleTargetRef"), errors);
    metrics(spec, old, &path.child("metrics"), errors);
    if least == Some(0)
        && !list(spec, "metrics").iter().any(|it| matches!(text(it, "type"), "Object" | "External"))
    {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(&path.child("metrics"), why);
    }
    let behavior = path.child("behavior");
    for direction in ["scaleUp", "scaleDown"] {
        if let Some(rules) = at(spec, &format!("behavior.{direction}")) {
            scaling_rules(rules, &behavior.child(direction), errors);
        }
    }
    // What upstream's markers say comes last.
    if let Some(least) = least {
        not_negative(&path.child("minReplicas"), least, errors);
    }
    match most {
        0 => errors.required(&path.child("maxReplicas"), ""),
        most if most < 0 => {
            errors.invalid(&path.child("maxReplicas"), most, "must be greater than or equal to 1");
        }
        _ => {}
    }
}

pub fn status(_: &str, new: &Object, _: &Object, errors: &mut Errors) {
    let path = Path::new("status");
    let conditions = path.child("conditions");
    for (index, condition) in new.list("status.conditions").iter().enumerate() {
        if let Some(number) = int(condition, "observedGeneration") {
            not_negative(&conditions.index(index).child("observedGeneration"), number, errors);
        }
    }
    for field in ["currentReplicas", "desiredReplicas"] {
        let number = new.int(&format!("status.{field}")).unwrap_or(0);
        not_negative(&path.child(field), number, errors);
    }
}

/// What the apiVersion of a reference must say.
#[derive(Clone, Copy, PartialEq)]
enum Group {
    Named,
    MayBeCore,
    Unchecked,
}

fn reference(target: &Value, group: Group, path: &Path, errors: &mut Errors) {
    for field in ["kind", "name"] {
        match text(target, field) {
            "" => errors.required(&path.child(field), ""),
            name => refuse(&path.child(field), name, names::segment(name), errors),
        }
    }
    if let Err(why) = api_version(text(target, "apiVersion"), group) {
        errors.invalid(&path.child("apiVersion"), text(target, "apiVersion"), &why);
    }
}

fn api_version(version: &str, group: Group) -> Result<(), String> {
    match (group, version.matches('/').count()) {
        (Group::Unchecked, _) => Ok(()),
        (_, 0) if group == Group::Named => Err("apiVersion must specify API group".into()),
        (_, 0) => Ok(()),
        (Group::Named, 1) if version.starts_with('/') => {
            Err("apiVersion must specify API group".into())
        }
        (_, 1) => Ok(()),
        _ => Err(format!("unexpected GroupVersion string: {version}")),
    }
}

fn metrics(spec: &Value, old: Option<&Object>, path: &Path, errors: &mut Errors) {
    let described = |it: &Value| text(it, "object.describedObject.apiVersion").to_owned();
    let before = old.map_or(&[][..], |old| old.list("spec.metrics")).iter();
    let mut before = before.filter(|it| text(it, "type") == "Object" && at(it, "object").is_some());
    let group = match before.any(|it| api_version(&described(it), Group::MayBeCore).is_err()) {
        true => Group::Unchecked,
        false => Group::MayBeCore,
    };
    for (index, it) in list(spec, "metrics").iter().enumerate() {
        metric(it, group, &path.index(index), errors);
    }
}

fn metric(metric: &Value, group: Group, path: &Path, errors: &mut Errors) {
    let type_ = text(metric, "type");
    if type_.is_empty() {
        errors.required(&path.child("type"), "must specify a metric source type");
    }
    let known = SOURCES.contains(&type_);
    if !known {
        errors.not_supported(&path.child("type"), type_, &SOURCES);
    }
    let present: Vec<&str> =
        FIELDS.iter().map(|it| it.1).filter(|field| at(metric, field).is_some()).collect();
    if let Some(first) = present.first() {
        source(first, &metric[*first], group, &path.child(first), errors);
    }
    let expected = FIELDS.iter().find(|it| it.0 == type_).map(|it| it.1);
    match expected {
        Some(field) if !present.contains(&field) => {
            let why = "must populate information for the given metric source";
            errors.required(&path.child(field), why);
        }
        Some(_) => {}
        None => errors.not_supported(&path.child("type"), type_, &SOURCES),
    }
    if present.len() != 1 {
        let others = present.iter().filter(|field| Some(**field) != expected);
        others.for_each(|field| {
            errors.forbidden(&path.child(field), "must populate the given metric source only");
        });
    }
}

fn source(field: &str, source: &Value, group: Group, path: &Path, errors: &mut Errors) {
    let null = Value::Null;
    let target = at(source, "target").unwrap_or(&null);
    let at_target = path.child("target");
    let has = |field: &str| at(target, field).is_some();
    match field {
        "object" => {
            let described = at(source, "describedObject").unwrap_or(&null);
            reference(described, group, &path.child("describedObject"), errors);
            identifier(source, path, errors);
        }
        "external" | "pods" => identifier(source, path, errors),
        "resource" if text(source, "name").is_empty() => {
            errors.required(&path.child("name"), "must specify a resource name");
        }
        "containerResource" => container_resource(source, path, errors),
        _ => {}
    }
    metric_target(target, &at_target, errors);
    let (average, value) = (at_target.child("averageValue"), at_target.child("value"));
    let utilization = at_target.child("averageUtilization");
    match field {
        "pods" if !has("averageValue") => {
            errors.required(&average, "must specify a positive target averageValue");
        }
        "object" if !has("value") && !has("averageValue") => {
            errors.required(&average, "must set either a target value or averageValue");
        }
        "external" if !has("value") && !has("averageValue") => {
            let why = "must set either a target value for metric or a per-pod target";
            errors.required(&average, why);
        }
        "external" if has("value") && has("averageValue") => {
            let why = "may not set both a target value for metric and a per-pod target";
            errors.forbidden(&value, why);
        }
        "resource" | "containerResource" => {
            match (has("averageUtilization"), has("averageValue")) {
                (false, false) => {
                    let why = "must set either a target raw value or a target utilization";
                    errors.required(&utilization, why);
                }
                (true, true) => {
                    let why = "may not set both a target raw value and a target utilization";
                    errors.forbidden(&average, why);
                }
                _ => {}
            }
        }
        _ => {}
    }
}

fn container_resource(source: &Value, path: &Path, errors: &mut Errors) {
    match text(source, "name") {
        "" => errors.required(&path.child("name"), "must specify a resource name"),
        name => container_name(name, &path.child("name"), errors),
    }
    match text(source, "container") {
        "" => errors.required(&path.child("container"), "must specify a container"),
        name => label(&path.child("container"), name, errors),
    }
}

fn identifier(source: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("metric");
    match text(source, "metric.name") {
        "" => errors.required(&path.child("name"), "must specify a metric name"),
        name => refuse(&path.child("name"), name, names::segment(name), errors),
    }
}

fn metric_target(target: &Value, path: &Path, errors: &mut Errors) {
    let type_ = text(target, "type");
    if type_.is_empty() {
        errors.required(&path.child("type"), "must specify a metric target type");
    }
    if !matches!(type_, "Utilization" | "Value" | "AverageValue") {
        let why = "must be either Utilization, Value, or AverageValue";
        errors.invalid(&path.child("type"), type_, why);
    }
    for field in ["value", "averageValue"] {
        if let Some(amount) = quantity(target, field).filter(|it| it.is_negative() || it.is_zero())
        {
            errors.invalid(&path.child(field), amount.to_string(), "must be positive");
        }
    }
    if let Some(percent) = int(target, "averageUtilization").filter(|percent| *percent < 1) {
        errors.invalid(&path.child("averageUtilization"), percent, "must be greater than 0");
    }
}

fn scaling_rules(rules: &Value, path: &Path, errors: &mut Errors) {
    if let Some(window) = int(rules, "stabilizationWindowSeconds") {
        bounds(
            window,
            0,
            "or equal to zero",
            WINDOW_MOST,
            &path.child("stabilizationWindowSeconds"),
            errors,
        );
    }
    one_of_if_set(rules, "selectPolicy", &["Disabled", "Max", "Min"], path, errors);
    let policies = path.child("policies");
    if list(rules, "policies").is_empty() {
        errors.required(&policies, "must specify at least one Policy");
    }
    for (index, policy) in list(rules, "policies").iter().enumerate() {
        let here = policies.index(index);
        if !matches!(text(policy, "type"), "Pods" | "Percent") {
            let type_ = text(policy, "type");
            errors.not_supported(&here.child("type"), type_, &["Percent", "Pods"]);
        }
        let number = |field| int(policy, field).unwrap_or(0);
        bounds(number("value"), 1, "zero", i64::MAX, &here.child("value"), errors);
        let period = here.child("periodSeconds");
        bounds(number("periodSeconds"), 1, "zero", PERIOD_MOST, &period, errors);
    }
    if let Some(tolerance) = quantity(rules, "tolerance").filter(Quantity::is_negative) {
        let why = "must be greater than or equal to 0";
        errors.invalid(&path.child("tolerance"), tolerance.to_string(), why);
    }
}

fn bounds(number: i64, least: i64, above: &str, most: i64, path: &Path, errors: &mut Errors) {
    if number < least {
        errors.invalid(path, number, &format!("must be greater than {above}"));
    }
    if number > most {
        errors.invalid(path, number, &format!("must be less than or equal to {most}"));
    }
}
