//! What a claim asks for: requests for devices, constraints between them and configuration (KEP-4381, KEP-4816).

use super::config::{self, most};
use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::names;
use skiff_api::object::at;
use skiff_json::{Value, json};
use std::collections::{HashMap, HashSet};

pub const REQUESTS_MOST: usize = 32;
const CONSTRAINTS_MOST: usize = 32;
const CONFIGS_MOST: usize = 32;
const ALTERNATIVES_MOST: usize = 8;

/// A request asks for one device unless it says otherwise.
pub fn default(spec: &mut Value) {
    let requests = spec.pointer_mut("/devices/requests").and_then(Value::as_array_mut);
    for request in requests.into_iter().flatten() {
        if let Some(exactly) = request.get_mut("exactly").filter(|it| it.is_object()) {
            default_request(exactly);
        }
        let alternatives = request.get_mut("firstAvailable").and_then(Value::as_array_mut);
        alternatives.into_iter().flatten().for_each(default_request);
    }
}

fn default_request(request: &mut Value) {
    if text(request, "allocationMode").is_empty() {
        request["allocationMode"] = json!("ExactCount");
    }
    if text(request, "allocationMode") == "ExactCount" && int(request, "count").unwrap_or(0) == 0 {
        request["count"] = json!(1);
    }
    let tolerations = request.get_mut("tolerations").and_then(Value::as_array_mut);
    for toleration in tolerations.into_iter().flatten() {
        if text(toleration, "operator").is_empty() {
            toleration["operator"] = json!("Equal");
        }
    }
}

pub fn validate(spec: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("devices");
    let requests = list(spec, "devices.requests");
    let names = Names::of(requests);
    let here = path.child("requests");
    for (index, it) in requests.iter().enumerate().take(most(requests, REQUESTS_MOST)) {
        request(it, &here.index(index), errors);
    }
    let (here, constraints) = (path.child("constraints"), list(spec, "devices.constraints"));
    for (index, it) in constraints.iter().enumerate().take(most(constraints, CONSTRAINTS_MOST)) {
        let here = here.index(index);
        names.check(it, &here, errors);
        if at(it, "matchAttribute").is_none() && at(it, "distinctAttribute").is_none() {
            let why = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are \
                       set";
            errors.required(&here, why);
        }
    }
    let (here, configs) = (path.child("config"), list(spec, "devices.config"));
    for (index, it) in configs.iter().enumerate().take(most(configs, CONFIGS_MOST)) {
        names.check(it, &here.index(index), errors);
        config::opaque(it, &here.index(index), errors);
    }
}

fn request(request: &Value, path: &Path, errors: &mut Errors) {
    const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
    label(&path.child("name"), text(request, "name"), errors);
    let alternatives = list(request, "firstAvailable");
    match (at(request, "exactly"), alternatives) {
        (None, []) => errors.required(path, ONE),
        (Some(exactly), []) => {
            let here = path.child("exactly");
            match text(exactly, "deviceClassName") {
                "" => errors.required(&here.child("deviceClassName"), ""),
                name => subdomain(&here.child("deviceClassName"), name, errors),
            }
            asked(exactly, &here, errors);
        }
        (None, alternatives) => {
            let here = path.child("firstAvailable");
            let looked_at = most(alternatives, ALTERNATIVES_MOST);
            for (index, it) in alternatives.iter().enumerate().take(looked_at) {
                let here = here.index(index);
                label(&here.child("name"), text(it, "name"), errors);
                asked(it, &here, errors);
            }
        }
        (Some(_), _) => {
            errors.invalid(path, Value::Null, &format!("{ONE}, but multiple fields are set"));
        }
    }
}

fn asked(request: &Value, path: &Path, errors: &mut Errors) {
    config::selectors(request, path, errors);
    let (here, count) = (path.child("count"), int(request, "count").unwrap_or(0));
    match text(request, "allocationMode") {
        "All" if count != 0 => {
            errors.invalid(&here, count, "must not be specified when allocationMode is 'All'");
        }
        "ExactCount" if count <= 0 => errors.invalid(&here, count, "must be greater than zero"),
        _ => {}
    }
    let here = path.child("tolerations");
    for (index, it) in list(request, "tolerations").iter().enumerate() {
        toleration(it, &here.index(index), errors);
    }
}

pub fn toleration(toleration: &Value, path: &Path, errors: &mut Errors) {
    let (here, value) = (path.child("value"), text(toleration, "value"));
    match text(toleration, "operator") {
        "Exists" if !value.is_empty() => {
            errors.invalid(&here, value, "must be empty for operator `Exists`");
        }
        "Equal" => refuse(&here, value, names::label_value(value), errors),
        _ => {}
    }
}

/// The requests of a claim, each with its alternatives.
pub struct Names<'a>(HashMap<&'a str, HashSet<&'a str>>);

impl<'a> Names<'a> {
    pub fn of(requests: &'a [Value]) -> Names<'a> {
        let alternatives = |request: &'a Value| {
            list(request, "firstAvailable").iter().map(|it| text(it, "name")).collect()
        };
        Names(requests.iter().map(|it| (text(it, "name"), alternatives(it))).collect())
    }

    fn has(&self, name: &str) -> bool {
        match name.split('/').collect::<Vec<_>>()[..] {
            [request] => self.0.contains_key(request),
            [request, alternative] => {
                self.0.get(request).is_some_and(|it| it.contains(alternative))
            }
            _ => false,
        }
    }

    /// The requests that a constraint or a configuration is about.
    pub fn check(&self, value: &Value, path: &Path, errors: &mut Errors) {
        let (path, given) = (path.child("requests"), list(value, "requests"));
        for (index, name) in given.iter().enumerate().take(most(given, REQUESTS_MOST)) {
            self.check_one(name.as_str().unwrap_or(""), &path.index(index), errors);
        }
    }

    pub fn check_one(&self, name: &str, path: &Path, errors: &mut Errors) {
        const WHY: &str = "must be the name of a request in the claim or the name of a request and a subrequest \
                           separated by '/'";
        if name.split('/').count() > 2 {
            return errors.invalid(path, name, WHY);
        }
        for part in name.split('/') {
            label(path, part, errors);
        }
        if !self.has(name) {
            errors.invalid(path, name, WHY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for() {
        let mut spec = json!({"devices": {"requests": [
            {"name": "a", "exactly": {"deviceClassName": "", "allocationMode": "All", "count": 1}},
            {"name": "b", "firstAvailable": [{"name": "x", "count": -1}]}, {"name": "c"}],
            "constraints": [{"requests": ["b/x", "b/y", "a/b/c"], "matchAttribute": "m"}]}});
        default(&mut spec);
        let mut errors = Errors::new();
        validate(&spec, &Path::new("spec"), &mut errors);
        let ref_why = "must be the name of a request in the claim or the name of a request and a subrequest separated \
                       by '/'";
        assert_eq!(
            errors.text(),
            format!(
                "[spec.devices.requests[0].exactly.deviceClassName: Required value, \
                 spec.devices.requests[0].exactly.count: Invalid value: 1: must not be specified when allocationMode \
                 is 'All', spec.devices.requests[1].firstAvailable[0].count: Invalid value: -1: must be greater than \
                 zero, spec.devices.requests[2]: Required value: exactly one of `exactly` or `firstAvailable` is \
                 required, spec.devices.constraints[0].requests[1]: Invalid value: \"b/y\": {ref_why}, \
                 spec.devices.constraints[0].requests[2]: Invalid value: \"a/b/c\": {ref_why}]"
            )
        );
    }
}
