//! EndpointSlice: some of the addresses behind a Service (API reference: service-resources).

use skiff_api::check;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column};
use skiff_api::object::{Object, at, list, text};
use skiff_api::view::Resource;
use skiff_api::{ip, names};
use skiff_json::Value;
use std::collections::HashSet;

pub const RESOURCE: Resource =
    Resource::of("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice");

/// Limits of the API (discovery.k8s.io/v1).
const ENDPOINTS_MOST: usize = 1000;
const ADDRESSES_MOST: usize = 100;
const PORTS_MOST: usize = 20_000;
const HINTS_MOST: usize = 8;
/// Those who write slices in well-formed addresses: no warnings for them.
const WRITERS: [&str; 2] =
    ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

pub fn kind() -> Kind {
    Kind {
        columns: vec![
            name_column(),
            column("AddressType", Cell::Path("addressType".into())),
            column("Ports", Cell::With(|slice| ports(slice).into())),
            column("Endpoints", Cell::With(|slice| addresses(slice).into())),
            age_column(),
        ],
        hooks: Hooks { default, prepare, validate, warn, generation: Some(changed), ..Hooks::NONE },
        ..Kind::new(RESOURCE)
    }
}

fn ports(slice: &Object) -> String {
    let show = |port: &Value| match (at(port, "port"), at(port, "name")) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => name.as_str().unwrap_or("").to_owned(),
        (None, None) => "*".to_owned(),
    };
    first_three(slice.list("ports").iter().map(show).collect())
}

fn addresses(slice: &Object) -> String {
    let endpoints = slice.list("endpoints").iter();
    let list =
        endpoints.flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten());
    first_three(list.map(|it| it.as_str().unwrap_or("").to_owned()).collect())
}

fn first_three(mut list: Vec<String>) -> String {
    let count = list.len();
    list.truncate(3);
    match (list.join(","), count) {
        (text, 4..) => format!("{text} + {} more...", count - 3),
        (text, _) if text.is_empty() => "<unset>".to_owned(),
        (text, _) => text,
    }
}

/// Everything but metadata counts, and labels.
fn changed(new: &Object, old: &Object) -> bool {
    ["addressType", "endpoints", "ports", "metadata.labels"]
        .iter()
        .any(|path| new.at(path) != old.at(path))
}

/// A port without a name has the empty one, and is TCP.
fn default(slice: &mut Object) {
    let ports = slice.value_mut().get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        for (field, value) in [("name", ""), ("protocol", "TCP")] {
            if at(port, field).is_none() {
                port[field] = value.into();
            }
        }
    }
}

/// `deprecatedTopology` cannot be written through this version.
fn prepare(new: &mut Object, old: Option<&Object>) {
    if old.is_some_and(|old| old.at("endpoints") == new.at("endpoints")) {
        return;
    }
    if let Some(Value::Array(endpoints)) = new.value_mut().get_mut("endpoints") {
        for endpoint in endpoints.iter_mut().filter_map(Value::as_object_mut) {
            endpoint.remove("deprecatedTopology");
        }
    }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    validate_ports(new.list("ports"), errors);
    let endpoints = new.list("endpoints");
    let changed = old.is_none_or(|old| old.at("endpoints") != new.at("endpoints"));
    if changed {
        validate_endpoints(endpoints, new.text("addressType"), errors);
    }
    validate_type(new, old, errors);
    if changed {
        validate_counts(endpoints, errors);
    }
}

/// What the API's declarations demand of the type; said after everything that is checked by hand. One that changes is
/// no more looked at.
fn validate_type(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let (path, type_) = (Path::new("addressType"), new.text("addressType"));
    match old {
        None => check::one_of(&path, type_, &["FQDN", "IPv4", "IPv6"], errors),
        Some(old) if old.text("addressType") != type_ => {
            if type_.is_empty() {
                errors.required(&path, "");
            }
            errors.invalid(&path, Value::Null, "field is immutable");
        }
        Some(_) => {}
    }
}

/// What they demand of the number of addresses.
fn validate_counts(endpoints: &[Value], errors: &mut Errors) {
    let path = Path::new("endpoints");
    for (index, endpoint) in endpoints.iter().enumerate() {
        let (path, count) = (path.index(index), list(endpoint, "addresses").len());
        let path = path.child("addresses");
        if count == 0 {
            errors.required(&path, "");
        }
        check::at_most(&path, count, ADDRESSES_MOST, errors);
    }
}

fn validate_ports(ports: &[Value], errors: &mut Errors) {
    let path = Path::new("ports");
    if !check::at_most(&path, ports.len(), PORTS_MOST, errors) {
        return;
    }
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            check::label(&path.child("name"), name, errors);
        }
        check::unique(&path.child("name"), name, &mut seen, errors);
        if at(port, "protocol").is_none() {
            errors.required(&path.child("protocol"), "");
        }
        check::one_of_if_set(port, "protocol", &["SCTP", "TCP", "UDP"], &path, errors);
        if let Some(protocol) = at(port, "appProtocol").and_then(Value::as_str) {
            check::qualified(&path.child("appProtocol"), protocol, errors);
        }
    }
}

fn validate_endpoints(endpoints: &[Value], type_: &str, errors: &mut Errors) {
    let path = Path::new("endpoints");
    if !check::at_most(&path, endpoints.len(), ENDPOINTS_MOST, errors) {
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = path.index(index);
        validate_addresses(&path.child("addresses"), endpoint, type_, errors);
        if at(endpoint, "nodeName").is_some() {
            check::subdomain(&path.child("nodeName"), text(endpoint, "nodeName"), errors);
        }
        if at(endpoint, "hostname").is_some() {
            check::label(&path.child("hostname"), text(endpoint, "hostname"), errors);
        }
        let hints = path.child("hints");
        let zone: Problems = |name| names::label_value(name);
        validate_hints(&hints.child("forZones"), endpoint, "hints.forZones", zone, errors);
        let node: Problems = |name| names::subdomain(name);
        validate_hints(&hints.child("forNodes"), endpoint, "hints.forNodes", node, errors);
    }
}

fn validate_addresses(path: &Path, endpoint: &Value, type_: &str, errors: &mut Errors) {
    for (index, address) in list(endpoint, "addresses").iter().enumerate() {
        let (text, at) = (address.as_str().unwrap_or(""), path.index(index));
        match (type_, ip::parse(text)) {
            ("FQDN", _) => names::fully_qualified(&at, text, errors),
            ("IPv4" | "IPv6", None) => errors.invalid(&at, text, ip::INVALID),
            ("IPv4", Some(parsed)) => {
                if !parsed.is_ipv4() {
                    errors.invalid(path, text, "must be an IPv4 address");
                }
                ip::validate_endpoint(&at, text, parsed, errors);
            }
            ("IPv6", Some(parsed)) => {
                if !parsed.is_ipv6() {
                    errors.invalid(path, text, "must be an IPv6 address");
                }
                ip::validate_endpoint(&at, text, parsed, errors);
            }
            _ => {}
        }
    }
}

/// What is wrong with a name.
type Problems = fn(&str) -> Vec<String>;

fn validate_hints(
    path: &Path,
    endpoint: &Value,
    field: &str,
    problems: Problems,
    errors: &mut Errors,
) {
    let hints = list(endpoint, field);
    if !check::at_most(path, hints.len(), HINTS_MOST, errors) {
        return;
    }
    let mut seen = HashSet::new();
    for (index, hint) in hints.iter().enumerate() {
        let (item, name) = (path.index(index), text(hint, "name"));
        let item = item.child("name");
        check::unique(&item, name, &mut seen, errors);
        check::refuse(&item, name, problems(name), errors);
    }
}

fn warn(new: &Object, old: Option<&Object>) -> Vec<String> {
    let mut warnings = Vec::new();
    if old.is_none() && new.text("addressType") == "FQDN" {
        warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
    }
    let writer = new.label("endpointslice.kubernetes.io/managed-by").unwrap_or("");
    if WRITERS.contains(&writer) {
        return warnings;
    }
    for (index, endpoint) in new.list("endpoints").iter().enumerate() {
        for (inner, address) in list(endpoint, "addresses").iter().enumerate() {
            let path = format!("endpoints[{index}].addresses[{inner}]");
            warnings.extend(ip::warnings(&path, address.as_str().unwrap_or("")));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn columns_show_three_and_count_the_rest() {
        let slice = Object::new(json!({
            "ports": [{"port": 80}, {"name": "b"}, {}, {"port": 1}],
            "endpoints": [{"addresses": ["a", "b"]}, {"addresses": ["c"]}],
        }));
        assert_eq!(ports(&slice), "80,b,* + 1 more...");
        assert_eq!(addresses(&slice), "a,b,c");
        assert_eq!(addresses(&Object::new(json!({}))), "<unset>");
    }

    #[test]
    fn addresses_are_of_their_type() {
        let slice = json!({"addressType": "IPv4", "ports": [], "endpoints": [
            {"addresses": ["::1"]}, {"addresses": []}, {"addresses": ["x"]}, {"addresses": ["127.0.0.1"]},
        ]});
        let mut errors = Errors::new();
        validate(&Object::new(slice), None, &mut errors);
        let text = errors.text();
        assert!(text.contains("endpoints[0].addresses: Invalid value: \"::1\": must be an IPv4"));
        assert!(
            text.ends_with("endpoints[1].addresses: Required value]"),
            "declared ones come last"
        );
        assert!(
            text.contains("endpoints[2].addresses[0]: Invalid value: \"x\": must be a valid IP")
        );
        assert!(
            text.contains("endpoints[3].addresses[0]: Invalid value: \"127.0.0.1\": may not be")
        );
    }
}
