//! EndpointSlice: some of the addresses behind a Service (API reference: service-resources).

use serde_json::Value;
use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column};
use skiff_api::object::{Object, at};
use skiff_api::{ip, names};

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
        ..Kind::new(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            "endpointslices",
            "io.k8s.api.discovery.v1.EndpointSlice",
        )
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
    let (path, sort) = (Path::new("addressType"), new.text("addressType"));
    match sort {
        "" => errors.required(&path, ""),
        "IPv4" | "IPv6" | "FQDN" => {}
        other => errors.not_supported(&path, other, &["FQDN", "IPv4", "IPv6"]),
    }
    validate_ports(new.list("ports"), errors);
    if old.is_none_or(|old| old.at("endpoints") != new.at("endpoints")) {
        validate_endpoints(new.list("endpoints"), sort, errors);
    }
    if let Some(old) = old
        && old.at("addressType") != new.at("addressType")
    {
        errors.invalid(&path, Value::Null, "field is immutable");
    }
}

fn validate_ports(ports: &[Value], errors: &mut Errors) {
    let path = Path::new("ports");
    if ports.len() > PORTS_MOST {
        errors.too_many(&path, ports.len(), PORTS_MOST);
        return;
    }
    let mut seen: Vec<&str> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            names::label(name)
                .iter()
                .for_each(|why| errors.invalid(&path.child("name"), name, why));
        }
        if seen.contains(&name) {
            errors.duplicate(&path.child("name"), name);
        } else {
            seen.push(name);
        }
        match at(port, "protocol").and_then(Value::as_str) {
            None => errors.required(&path.child("protocol"), ""),
            Some("TCP" | "UDP" | "SCTP") => {}
            Some(other) => {
                errors.not_supported(&path.child("protocol"), other, &["SCTP", "TCP", "UDP"]);
            }
        }
        if let Some(protocol) = at(port, "appProtocol").and_then(Value::as_str) {
            for why in names::qualified(protocol) {
                errors.invalid(&path.child("appProtocol"), protocol, &why);
            }
        }
    }
}

fn validate_endpoints(endpoints: &[Value], sort: &str, errors: &mut Errors) {
    let path = Path::new("endpoints");
    if endpoints.len() > ENDPOINTS_MOST {
        errors.too_many(&path, endpoints.len(), ENDPOINTS_MOST);
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = path.index(index);
        validate_addresses(&path.child("addresses"), endpoint, sort, errors);
        let node = text(endpoint, "nodeName");
        if at(endpoint, "nodeName").is_some() {
            for why in names::subdomain(node) {
                errors.invalid(&path.child("nodeName"), node, &why);
            }
        }
        if at(endpoint, "hostname").is_some() {
            let name = text(endpoint, "hostname");
            for why in names::label(name) {
                errors.invalid(&path.child("hostname"), name, &why);
            }
        }
        let hints = path.child("hints");
        let zone: Check = |name| names::label_value(name);
        validate_hints(&hints.child("forZones"), endpoint, "hints.forZones", zone, errors);
        let node: Check = |name| names::subdomain(name);
        validate_hints(&hints.child("forNodes"), endpoint, "hints.forNodes", node, errors);
    }
}

fn validate_addresses(path: &Path, endpoint: &Value, sort: &str, errors: &mut Errors) {
    let addresses = at(endpoint, "addresses").and_then(Value::as_array);
    let addresses = addresses.map_or(&[][..], Vec::as_slice);
    match addresses.len() {
        0 => errors.required(path, ""),
        count if count > ADDRESSES_MOST => errors.too_many(path, count, ADDRESSES_MOST),
        _ => {}
    }
    for (index, address) in addresses.iter().enumerate() {
        let (text, at) = (address.as_str().unwrap_or(""), path.index(index));
        match (sort, ip::parse(text)) {
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
type Check = fn(&str) -> Vec<String>;

fn validate_hints(path: &Path, endpoint: &Value, field: &str, check: Check, errors: &mut Errors) {
    let Some(hints) = at(endpoint, field).and_then(Value::as_array) else { return };
    if hints.len() > HINTS_MOST {
        errors.too_many(path, hints.len(), HINTS_MOST);
        return;
    }
    let mut seen: Vec<&str> = Vec::new();
    for (index, hint) in hints.iter().enumerate() {
        let (item, name) = (path.index(index), text(hint, "name"));
        let item = item.child("name");
        if seen.contains(&name) {
            errors.duplicate(&item, name);
        } else {
            seen.push(name);
        }
        check(name).iter().for_each(|why| errors.invalid(&item, name, why));
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
        let list = at(endpoint, "addresses").and_then(Value::as_array);
        for (inner, address) in list.into_iter().flatten().enumerate() {
            let path = format!("endpoints[{index}].addresses[{inner}]");
            warnings.extend(ip::warnings(&path, address.as_str().unwrap_or("")));
        }
    }
    warnings
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    at(value, field).and_then(Value::as_str).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        assert!(text.contains("endpoints[1].addresses: Required value"));
        assert!(
            text.contains("endpoints[2].addresses[0]: Invalid value: \"x\": must be a valid IP")
        );
        assert!(
            text.contains("endpoints[3].addresses[0]: Invalid value: \"127.0.0.1\": may not be")
        );
    }
}
