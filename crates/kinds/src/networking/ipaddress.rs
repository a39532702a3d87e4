//! IPAddress: that an address is taken, and for whom (API reference: cluster-resources; KEP-1880).
//!
//! Its name is the address. Those of Services are written in the transaction of their Service, by the server's
//! admission; here are its rules, and what such a record says.

use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, NameRule, column, name_column};
use skiff_api::object::{Object, text};
use skiff_api::view::Resource;
use skiff_api::{check, ip, names};
use skiff_json::{Value, json};
use std::net::IpAddr;

pub const RESOURCE: Resource =
    Resource::of("networking.k8s.io", "v1", "ipaddresses", "IPAddress").cluster();

pub const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
pub const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
/// The value of that label on addresses of Services.
pub const ALLOCATOR: &str = "ipallocator.k8s.io";
/// The facet under which the addresses of a Service are found, as `namespace/name`.
pub const SERVICE_FACET: &str = "service";
const PARENT: &str = "spec.parentRef";

pub fn kind() -> Kind {
    Kind {
        short: vec!["ip".into()],
        name_rule: NameRule::Address,
        columns: vec![name_column(), column("ParentRef", Cell::With(parent))],
        hooks: Hooks { validate, fields: Some(fields), ..Hooks::NONE },
        ..Kind::new(RESOURCE)
    }
}

fn parent(address: &Object) -> Value {
    let Some(to) = address.at(PARENT) else { return "<none>".into() };
    let group = match text(to, "group") {
        "" => String::new(),
        group => format!(".{group}"),
    };
    let kind = format!("{}{group}", text(to, "resource")).to_lowercase();
    let namespace = match text(to, "namespace") {
        "" => String::new(),
        namespace => format!("/{namespace}"),
    };
    format!("{kind}{namespace}/{}", text(to, "name")).into()
}

/// Not for users: admission finds by it what a Service has.
fn fields(address: &Object, put: &mut dyn FnMut(&'static str, &str)) {
    if let Some(service) = service(address) {
        put(SERVICE_FACET, &service);
    }
}

/// The Service that it is taken for, as `namespace/name`.
pub fn service(address: &Object) -> Option<String> {
    let to = address.at(PARENT)?;
    let of_service = text(to, "group").is_empty() && text(to, "resource") == "services";
    of_service.then(|| format!("{}/{}", text(to, "namespace"), text(to, "name")))
}

/// What says that a Service has an address.
pub fn of_service(address: IpAddr, namespace: &str, name: &str) -> Value {
    json!({"apiVersion": RESOURCE.api_version(), "kind": RESOURCE.kind,
        "metadata": {"name": address.to_string(),
            "labels": {FAMILY: ip::family(address), MANAGED_BY: ALLOCATOR}},
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}}})
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let path = Path::new(PARENT);
    // What the API's declarations demand is said after all else.
    let mut declared = Errors::new();
    match new.at(PARENT) {
        None => declared.required(&path, ""),
        Some(to) => {
            let group = text(to, "group");
            if !group.is_empty() {
                check::subdomain(&path.child("group"), group, errors);
            }
            for field in ["resource", "name"] {
                match text(to, field) {
                    "" => declared.required(&path.child(field), ""),
                    name => check::refuse(&path.child(field), name, names::segment(name), errors),
                }
            }
            let namespace = text(to, "namespace");
            check::refuse(&path.child("namespace"), namespace, names::segment(namespace), errors);
        }
    }
    if let Some(old) = old {
        check::fixed(PARENT, new, old, &mut declared);
    }
    errors.append(declared);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_takes_is_valid_and_found() {
        let address = of_service("10.96.0.1".parse().expect("an address"), "n", "s");
        let address = Object::new(address);
        let mut errors = Errors::new();
        skiff_api::meta::validate_create(&kind(), &address, &mut errors);
        validate(&address, None, &mut errors);
        assert_eq!(errors.text(), "[]");
        assert_eq!(parent(&address), "services/n/s");
        assert_eq!(service(&address).as_deref(), Some("n/s"));
    }

    #[test]
    fn a_parent_is_named_and_stays() {
        let of = |parent| Object::new(json!({"spec": {"parentRef": parent}}));
        let mut errors = Errors::new();
        let old = of(json!({"resource": "a", "name": "b"}));
        validate(&of(json!({"resource": "a/b"})), Some(&old), &mut errors);
        assert_eq!(
            errors.text(),
            "[spec.parentRef.resource: Invalid value: \"a/b\": may not contain '/', \
             spec.parentRef.name: Required value, spec.parentRef: Invalid value: \
             null: field is immutable]"
        );
    }
}
