//! Ingress: which Service answers for which host and path (API reference: service-resources).
//!
//! Which class it gets where it names none is the admission plugin DefaultIngressClass.

use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column, status};
use skiff_api::object::{Object, at, int, list, strings, text};
use skiff_api::view::Resource;
use skiff_api::{check, ip, names};
use skiff_json::Value;
use std::collections::BTreeSet;

pub const RESOURCE: Resource = Resource::of("networking.k8s.io", "v1", "ingresses", "Ingress");

/// How classes were named before there was a field for it.
pub const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
pub const CLASS: &str = "spec.ingressClassName";
const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
/// What a path that is compared may not have in it, and at its end.
const UNSAFE_PARTS: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const UNSAFE_ENDS: [&str; 2] = ["/..", "/."];
const NOT_AN_ADDRESS: &str = "must be a DNS name, not an IP address";
/// So many hosts are shown.
const HOSTS_SHOWN: usize = 3;

pub fn kind() -> Kind {
    Kind {
        short: vec!["ing".into()],
        subresources: vec![status()],
        columns: vec![
            name_column(),
            column("Class", Cell::With(class)),
            column("Hosts", Cell::With(|ingress| hosts(ingress).into())),
            column("Address", Cell::With(|ingress| addresses(ingress).into())),
            column("Ports", Cell::With(ports)),
            age_column(),
        ],
        hooks: Hooks {
            validate,
            validate_part: |_, new, old, errors| validate_status(new, old, errors),
            warn,
            generation: Some(Hooks::spec_changed),
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

fn class(ingress: &Object) -> Value {
    ingress.at(CLASS).cloned().unwrap_or_else(|| "<none>".into())
}

fn hosts(ingress: &Object) -> String {
    let rules = ingress.list("spec.rules");
    let named: Vec<&str> =
        rules.iter().map(|rule| text(rule, "host")).filter(|host| !host.is_empty()).collect();
    let shown = named.iter().take(HOSTS_SHOWN).copied().collect::<Vec<_>>().join(",");
    // Upstream counts the rules, with and without hosts, behind the last one that is shown.
    let last = rules.iter().enumerate().filter(|(_, rule)| !text(rule, "host").is_empty());
    let more = last.map(|(at, _)| at + 1).nth(HOSTS_SHOWN - 1).is_some_and(|at| at < rules.len());
    match shown {
        none if none.is_empty() => "*".to_owned(),
        shown if more => format!("{shown} + {} more...", rules.len() - HOSTS_SHOWN),
        shown => shown,
    }
}

fn addresses(ingress: &Object) -> String {
    let name = |entry: &Value| match (text(entry, "ip"), text(entry, "hostname")) {
        ("", host) => host.to_owned(),
        (ip, _) => ip.to_owned(),
    };
    let entries = ingress.list("status.loadBalancer.ingress").iter();
    let all: BTreeSet<String> = entries.map(name).filter(|it| !it.is_empty()).collect();
    all.into_iter().collect::<Vec<_>>().join(",")
}

fn ports(ingress: &Object) -> Value {
    if ingress.list("spec.tls").is_empty() { "80".into() } else { "80, 443".into() }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let spec = Path::new("spec");
    let rules = new.list("spec.rules");
    if rules.is_empty() && new.at("spec.defaultBackend").is_none() {
        let shown = new.at("spec.rules").cloned().unwrap_or(Value::Null);
        errors.invalid(&spec, shown, "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(backend) = new.at("spec.defaultBackend") {
        validate_backend(&spec.child("defaultBackend"), backend, errors);
    }
    let path = spec.child("rules");
    for (index, rule) in rules.iter().enumerate() {
        validate_rule(&path.index(index), rule, errors);
    }
    let path = spec.child("tls");
    for (index, tls) in new.list("spec.tls").iter().enumerate() {
        validate_tls(&path.index(index), tls, errors);
    }
    if let Some(class) = new.at(CLASS).and_then(Value::as_str) {
        check::subdomain(&spec.child("ingressClassName"), class, errors);
        if old.is_none()
            && let Some(other) = new.annotation(CLASS_ANNOTATION).filter(|it| *it != class)
        {
            let (annotations, why) =
                (Path::new("annotations"), "must match `ingressClassName` when both are specified");
            errors.invalid(&annotations.child(CLASS_ANNOTATION), other, why);
        }
    }
}

fn host(path: &Path, host: &str, errors: &mut Errors) {
    let wrong =
        if host.contains('*') { names::wildcard_subdomain(host) } else { names::subdomain(host) };
    check::refuse(path, host, wrong, errors);
}

fn validate_tls(path: &Path, tls: &Value, errors: &mut Errors) {
    let hosts = path.child("hosts");
    for (index, name) in strings(list(tls, "hosts")).into_iter().enumerate() {
        host(&hosts.index(index), name, errors);
    }
    let secret = text(tls, "secretName");
    if !secret.is_empty() {
        check::subdomain(&path.child("secretName"), secret, errors);
    }
}

fn validate_rule(path: &Path, rule: &Value, errors: &mut Errors) {
    let name = text(rule, "host");
    if !name.is_empty() {
        let path = path.child("host");
        if ip::parse(name).is_some() {
            errors.invalid(&path, name, NOT_AN_ADDRESS);
        }
        host(&path, name, errors);
    }
    let Some(http) = at(rule, "http") else { return };
    let (path, paths) = (path.child("http"), list(http, "paths"));
    let path = path.child("paths");
    if paths.is_empty() {
        errors.required(&path, "");
    }
    for (index, it) in paths.iter().enumerate() {
        validate_path(&path.index(index), it, errors);
    }
}

fn validate_path(path: &Path, it: &Value, errors: &mut Errors) {
    let Some(type_) = at(it, "pathType").and_then(Value::as_str) else {
        return errors.required(&path.child("pathType"), "pathType must be specified");
    };
    let (here, of) = (path.child("path"), text(it, "path"));
    match type_ {
        "Exact" | "Prefix" => {
            if !of.starts_with('/') {
                errors.invalid(&here, of, "must be an absolute path");
            }
            for part in UNSAFE_PARTS.iter().filter(|part| of.contains(**part)) {
                errors.invalid(&here, of, &format!("must not contain '{part}'"));
            }
            for end in UNSAFE_ENDS.iter().filter(|end| of.ends_with(**end)) {
                errors.invalid(&here, of, &format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" if !of.is_empty() && !of.starts_with('/') => {
            errors.invalid(&here, of, "must be an absolute path");
        }
        "ImplementationSpecific" => {}
        other => errors.not_supported(&path.child("pathType"), other, &PATH_TYPES),
    }
    validate_backend(&path.child("backend"), at(it, "backend").unwrap_or(&Value::Null), errors);
}

fn validate_backend(path: &Path, backend: &Value, errors: &mut Errors) {
    match (at(backend, "resource"), at(backend, "service")) {
        (Some(_), Some(_)) => {
            errors.invalid(path, "", "cannot set both resource and service backends");
        }
        (Some(to), None) => validate_resource(&path.child("resource"), to, errors),
        (None, Some(service)) => validate_service(path, service, errors),
        (None, None) => errors.invalid(path, "", "resource or service backend is required"),
    }
}

fn validate_resource(path: &Path, to: &Value, errors: &mut Errors) {
    if at(to, "apiGroup").is_some() {
        check::subdomain(&path.child("apiGroup"), text(to, "apiGroup"), errors);
    }
    for field in ["kind", "name"] {
        match text(to, field) {
            "" => errors.required(&path.child(field), ""),
            name => check::refuse(&path.child(field), name, names::segment(name), errors),
        }
    }
}

fn validate_service(path: &Path, service: &Value, errors: &mut Errors) {
    let here = path.child("service");
    match text(service, "name") {
        "" => errors.required(&here.child("name"), ""),
        name => check::label(&here.child("name"), name, errors),
    }
    let port = here.child("port");
    match (text(service, "port.name"), int(service, "port.number").unwrap_or(0)) {
        ("", 0) => errors.required(path, "port name or number is required"),
        ("", number) => check::port_number(&port.child("number"), number, errors),
        (name, 0) => {
            let wrong = check::port_name_problems(name);
            check::refuse(&port.child("name"), name, wrong, errors);
        }
        _ => errors.invalid(path, "", "cannot set both port name & port number"),
    }
}

fn validate_status(new: &Object, old: &Object, errors: &mut Errors) {
    const ENTRIES: &str = "status.loadBalancer.ingress";
    let path = Path::new(ENTRIES);
    let known: Vec<&str> = old.list(ENTRIES).iter().map(|it| text(it, "ip")).collect();
    for (index, entry) in new.list(ENTRIES).iter().enumerate() {
        let path = path.index(index);
        let (address, name) = (text(entry, "ip"), text(entry, "hostname"));
        if !address.is_empty() && !known.contains(&address) {
            ip::validate(&path.child("ip"), address, errors);
        }
        if !name.is_empty() {
            let path = path.child("hostname");
            check::subdomain(&path, name, errors);
            if ip::parse(name).is_some() {
                errors.invalid(&path, name, NOT_AN_ADDRESS);
            }
        }
    }
}

fn warn(new: &Object, old: Option<&Object>) -> Vec<String> {
    let mut warnings = Vec::new();
    let annotated = new.annotation(CLASS_ANNOTATION).is_some();
    if old.is_none() && annotated && new.at(CLASS).is_none() {
        warnings.push(format!(
            "annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead"
        ));
    }
    // Only who says something of its addresses hears of their form.
    if old.is_some_and(|old| old.at("status") != new.at("status")) {
        for (index, entry) in new.list("status.loadBalancer.ingress").iter().enumerate() {
            let path = format!("status.loadBalancer.ingress[{index}]");
            warnings.extend(ip::warnings(&path, text(entry, "ip")));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    fn check(spec: Value) -> String {
        let mut errors = Errors::new();
        validate(&Object::new(json!({"spec": spec})), None, &mut errors);
        errors.text()
    }

    #[test]
    fn hosts_are_shown_up_to_three() {
        let of = |hosts: &[&str]| {
            let rules: Vec<Value> = hosts.iter().map(|it| json!({"host": it})).collect();
            super::hosts(&Object::new(json!({"spec": {"rules": rules}})))
        };
        assert_eq!(of(&[]), "*");
        assert_eq!(of(&["a", "", "b"]), "a,b");
        assert_eq!(of(&["a", "b", "c"]), "a,b,c");
        assert_eq!(of(&["a", "b", "c", "d", ""]), "a,b,c + 2 more...");
    }

    #[test]
    fn paths_are_those_that_all_read_alike() {
        let of = |type_: &str, path: &str| {
            let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
            let path = json!({"pathType": type_, "path": path, "backend": backend});
            check(json!({"rules": [{"http": {"paths": [path]}}]}))
        };
        assert_eq!(of("Prefix", "/a"), "[]");
        assert!(of("Prefix", "").ends_with("must be an absolute path"));
        assert!(of("Exact", "/a/../b").ends_with("must not contain '/../'"));
        assert!(of("Exact", "/a/..").ends_with("cannot end with '/..'"));
        assert_eq!(of("ImplementationSpecific", ""), "[]");
        assert!(of("Any", "/").contains("Unsupported value: \"Any\""));
    }

    #[test]
    fn a_backend_is_one_thing() {
        let of = |backend: Value| check(json!({"defaultBackend": backend}));
        assert!(of(json!({})).contains("resource or service backend is required"));
        assert!(of(json!({"service": {"name": "a"}})).contains("port name or number is required"));
        assert_eq!(of(json!({"resource": {"kind": "K", "name": "n"}})), "[]");
    }
}
