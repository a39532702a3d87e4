//! Endpoints: the addresses behind a Service, all in one object (API reference: service-resources). Deprecated by
//! EndpointSlice; who asks for it is told.

use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column};
use skiff_api::object::{Object, at, int, list, text};
use skiff_api::view::Resource;
use skiff_api::{check, ip};
use skiff_json::Value;

pub const RESOURCE: Resource = Resource::core("endpoints", "Endpoints");

pub const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// The value of that label on those that follow the pods of a Service: well-formed, so nobody is warned.
pub const CONTROLLER: &str = "endpoint-controller";
const SUBSETS: &str = "subsets";
const LISTS: [&str; 2] = ["addresses", "notReadyAddresses"];
/// So many are shown.
const SHOWN: usize = 3;

pub fn kind() -> Kind {
    Kind {
        short: vec!["ep".into()],
        singular: "endpoints".into(),
        creates_on_update: true,
        deprecation: Some(
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".into(),
        ),
        columns: vec![
            name_column(),
            column("Endpoints", Cell::With(|endpoints| shown(endpoints).into())),
            age_column(),
        ],
        hooks: Hooks { default, validate, warn, ..Hooks::NONE },
        ..Kind::new(RESOURCE)
    }
}

fn shown(endpoints: &Object) -> String {
    let mut all = Vec::new();
    for subset in endpoints.list(SUBSETS) {
        let ready = list(subset, "addresses").iter().map(|it| text(it, "ip"));
        match list(subset, "ports") {
            [] => all.extend(ready.map(str::to_owned)),
            ports => {
                for port in ports.iter().map(|it| int(it, "port").unwrap_or(0)) {
                    all.extend(ready.clone().map(|address| host_port(address, port)));
                }
            }
        }
    }
    let count = all.len();
    all.truncate(SHOWN);
    match all.join(",") {
        _ if endpoints.list(SUBSETS).is_empty() => "<none>".to_owned(),
        text if count > SHOWN => format!("{text} + {} more...", count - SHOWN),
        text => text,
    }
}

fn host_port(address: &str, port: i64) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn default(endpoints: &mut Object) {
    let subsets = endpoints.value_mut().get_mut(SUBSETS).and_then(Value::as_array_mut);
    for subset in subsets.into_iter().flatten() {
        let ports = subset.get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter(|it| text(it, "protocol").is_empty()) {
            port["protocol"] = "TCP".into();
        }
    }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    if old.is_some_and(|old| old.at(SUBSETS) == new.at(SUBSETS)) {
        return;
    }
    let path = Path::new(SUBSETS);
    for (index, subset) in new.list(SUBSETS).iter().enumerate() {
        let path = path.index(index);
        if LISTS.iter().all(|field| list(subset, field).is_empty()) {
            errors.required(&path, "must specify `addresses` or `notReadyAddresses`");
        }
        for field in LISTS {
            let path = path.child(field);
            for (index, address) in list(subset, field).iter().enumerate() {
                validate_address(&path.index(index), address, errors);
            }
        }
        let (path, ports) = (path.child("ports"), list(subset, "ports"));
        for (index, port) in ports.iter().enumerate() {
            validate_port(&path.index(index), port, ports.len() > 1, errors);
        }
    }
}

fn validate_address(path: &Path, address: &Value, errors: &mut Errors) {
    let (here, of) = (path.child("ip"), text(address, "ip"));
    ip::validate(&here, of, errors);
    if !text(address, "hostname").is_empty() {
        check::label(&path.child("hostname"), text(address, "hostname"), errors);
    }
    if at(address, "nodeName").is_some() {
        check::subdomain(&path.child("nodeName"), text(address, "nodeName"), errors);
    }
    match ip::parse(of) {
        Some(parsed) => ip::validate_endpoint(&here, of, parsed, errors),
        None => errors.invalid(&here, of, "must be a valid IP address"),
    }
}

fn validate_port(path: &Path, port: &Value, needs_name: bool, errors: &mut Errors) {
    match text(port, "name") {
        "" if needs_name => errors.required(&path.child("name"), ""),
        "" => {}
        name => check::label(&path.child("name"), name, errors),
    }
    check::port_number(&path.child("port"), int(port, "port").unwrap_or(0), errors);
    let protocol = text(port, "protocol");
    check::one_of(&path.child("protocol"), protocol, &["SCTP", "TCP", "UDP"], errors);
    if let Some(protocol) = at(port, "appProtocol").and_then(Value::as_str) {
        check::qualified(&path.child("appProtocol"), protocol, errors);
    }
}

fn warn(new: &Object, _: Option<&Object>) -> Vec<String> {
    if new.label(MANAGED_BY) == Some(CONTROLLER) {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    for (index, subset) in new.list(SUBSETS).iter().enumerate() {
        for field in LISTS {
            for (inner, address) in list(subset, field).iter().enumerate() {
                let path = format!("{SUBSETS}[{index}].{field}[{inner}].ip");
                warnings.extend(ip::warnings(&path, text(address, "ip")));
            }
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn three_are_shown() {
        let of = |subsets: Value| shown(&Object::new(json!({"subsets": subsets})));
        assert_eq!(of(json!([])), "<none>");
        assert_eq!(of(json!([{"notReadyAddresses": [{"ip": "a"}]}])), "");
        assert_eq!(
            of(
                json!([{"addresses": [{"ip": "a"}, {"ip": "::1"}], "ports": [{"port": 1}, {"port": 2}]}])
            ),
            "a:1,[::1]:1,a:2 + 1 more..."
        );
    }

    #[test]
    fn what_is_wrong_is_said_unless_it_was_there() {
        let endpoints = Object::new(
            json!({"subsets": [{}, {"addresses": [{"ip": "x"}], "ports": [{"port": 1}, {"port": 0}]}]}),
        );
        let mut errors = Errors::new();
        validate(&endpoints, None, &mut errors);
        let text = errors.text();
        assert!(
            text.starts_with("[subsets[0]: Required value: must specify `addresses`"),
            "{text}"
        );
        assert!(text.contains("subsets[1].ports[1].port: Invalid value: 0"), "{text}");
        let mut errors = Errors::new();
        validate(&endpoints, Some(&endpoints), &mut errors);
        assert!(errors.is_empty());
    }
}
