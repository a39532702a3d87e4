//! The rules of a Service.

use super::{externally_accessible, headless, needs_health_check, node_ports};
use skiff_api::check;
use skiff_api::errors::{ErrorType, Errors, Path};
use skiff_api::object::{Object, at};
use skiff_api::{ip, meta, names};
use skiff_json::Value;
use std::collections::HashSet;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameZone", "PreferSameNode"];
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";
const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
/// A day, the longest affinity.
const AFFINITY_MOST_S: i64 = 86_400;

pub fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    if let Some(old) = old {
        super::update::validate(new, old, errors);
    }
    validate_annotations(new, errors);
    let spec = Path::new("spec");
    let type_ = new.text("spec.type");
    if new.list("spec.ports").is_empty() && !headless(new) && type_ != "ExternalName" {
        errors.required(&spec.child("ports"), "");
    }
    validate_type_rules(new, errors);
    validate_ports(new, errors);
    meta::validate_labels(&spec.child("selector"), new.map("spec.selector"), errors);
    validate_affinity(new, errors);
    cluster_ips(new, old, errors);
    validate_external_ips(new, old, errors);
    match type_ {
        "" => errors.required(&spec.child("type"), ""),
        type_ if TYPES.contains(&type_) => {}
        other => errors.not_supported(&spec.child("type"), other, &TYPES),
    }
    validate_numbers(new, errors);
    validate_source_ranges(new, old, errors);
    validate_load_balancer(new, errors);
    validate_traffic(new, errors);
}

fn validate_annotations(new: &Object, errors: &mut Errors) {
    if let (Some(hints), Some(mode)) = (new.annotation(HINTS), new.annotation(MODE))
        && hints != mode
    {
        let path = Path::new("metadata.annotations");
        let why = format!("must match annotations[{HINTS}] when both are specified");
        errors.invalid(&path.key(MODE), mode, &why);
    }
}

fn validate_type_rules(new: &Object, errors: &mut Errors) {
    let (spec, type_) = (Path::new("spec"), new.text("spec.type"));
    match type_ {
        "LoadBalancer" | "NodePort" if headless(new) => {
            let why = format!("may not be set to 'None' for {type_} services");
            errors.invalid(&spec.child("clusterIPs").index(0), "None", &why);
        }
        "ExternalName" => {
            let why = "may not be set for ExternalName services";
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let set = match new.at(&format!("spec.{field}")) {
                    Some(Value::Array(list)) => !list.is_empty(),
                    other => other.is_some(),
                };
                if set {
                    errors.forbidden(&spec.child(field), why);
                }
            }
            let name = new.text("spec.externalName");
            let name = name.strip_suffix('.').unwrap_or(name);
            let path = spec.child("externalName");
            if name.is_empty() {
                errors.required(&path, "");
            } else {
                check::subdomain(&path, name, errors);
            }
        }
        _ => {}
    }
}

fn validate_ports(new: &Object, errors: &mut Errors) {
    let (path, ports) = (Path::new("spec.ports"), new.list("spec.ports"));
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let text = |field| at(port, field).and_then(Value::as_str).unwrap_or("");
        let name = text("name");
        if name.is_empty() && ports.len() > 1 {
            errors.required(&path.child("name"), "");
        } else if !name.is_empty() {
            check::label(&path.child("name"), name, errors);
            check::unique(&path.child("name"), name, &mut seen, errors);
        }
        let number = at(port, "port").and_then(Value::as_i64).unwrap_or(0);
        if let Some(why) = names::port(number) {
            errors.invalid(&path.child("port"), number, why);
        }
        check::one_of(&path.child("protocol"), text("protocol"), &PROTOCOLS, errors);
        validate_target(&path.child("targetPort"), at(port, "targetPort"), errors);
        if at(port, "appProtocol").is_some() {
            check::qualified(&path.child("appProtocol"), text("appProtocol"), errors);
        }
    }
}

fn validate_target(path: &Path, target: Option<&Value>, errors: &mut Errors) {
    match target {
        Some(Value::String(name)) => {
            for why in names::port_name(name) {
                errors.invalid(path, name.as_str(), why);
            }
        }
        other => {
            let number = other.and_then(Value::as_i64).unwrap_or(0);
            if let Some(why) = names::port(number) {
                errors.invalid(path, number, why);
            }
        }
    }
}

fn validate_affinity(new: &Object, errors: &mut Errors) {
    let (path, config) =
        (Path::new("spec.sessionAffinity"), Path::new("spec.sessionAffinityConfig"));
    match new.text("spec.sessionAffinity") {
        "" => errors.required(&path, ""),
        "None" => {
            if new.at("spec.sessionAffinityConfig").is_some() {
                errors.forbidden(&config, "must not be set when session affinity is None");
            }
        }
        "ClientIP" => {
            let seconds = new.int("spec.sessionAffinityConfig.clientIP.timeoutSeconds");
            let client = config.child("clientIP");
            match seconds {
                Some(seconds) if seconds <= 0 || seconds > AFFINITY_MOST_S => {
                    let why = format!("must be greater than 0 and less than {AFFINITY_MOST_S}");
                    errors.invalid(&client.child("timeoutSeconds"), seconds, &why);
                }
                Some(_) => {}
                None => errors.required(
                    &client.child("timeoutSeconds"),
                    "when session affinity type is ClientIP",
                ),
            }
        }
        other => errors.not_supported(&path, other, &["ClientIP", "None"]),
    }
}

/// The rules that tie addresses and families together; what draws addresses checks them first.
pub fn cluster_ips(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    if new.text("spec.type") == "ExternalName" {
        return;
    }
    let path = Path::new("spec.clusterIPs");
    let list = new.list("spec.clusterIPs");
    let shown = || Value::Array(list.to_vec());
    match (new.text("spec.clusterIP"), list.first()) {
        ("", None) => {}
        ("", Some(_)) => {
            errors.invalid(&path, shown(), "must be empty when `clusterIP` is not specified");
        }
        (_, None) => errors.required(&path, ""),
        (one, Some(first)) if first != one => {
            errors.invalid(&path, shown(), "first value must match `clusterIP`");
        }
        _ => {}
    }
    families(new, errors);
    let before = old.map_or(&[][..], |old| old.list("spec.clusterIPs"));
    let mut wrong = false;
    for (index, address) in list.iter().enumerate() {
        let text = address.as_str().unwrap_or("");
        if index == 0 && text == "None" {
            if list.len() > 1 {
                wrong = true;
                errors.invalid(&path, shown(), "'None' must be the first and only value");
            }
            continue;
        }
        if !before.contains(address) {
            let mut found = Errors::new();
            ip::validate(&path.index(index), text, &mut found);
            wrong |= !found.is_empty();
            errors.append(found);
        }
    }
    if list.len() > 2 {
        errors.invalid(&path, shown(), "may only hold up to 2 values");
    }
    if wrong {
        return;
    }
    let parsed: Vec<_> = list.iter().filter_map(|it| ip::parse(it.as_str()?)).collect();
    let dual = parsed.iter().any(|it| it.is_ipv4()) && parsed.iter().any(|it| it.is_ipv6());
    if list.len() > 1 && !dual {
        errors.invalid(&path, shown(), "may specify no more than one IP for each IP family");
    }
    for (index, (family, address)) in new.list("spec.ipFamilies").iter().zip(&parsed).enumerate() {
        let found = ip::family(*address);
        let wanted = family.as_str().unwrap_or("");
        if FAMILIES.contains(&wanted) && wanted != found {
            let why = format!("expected an {wanted} value as indicated by `ipFamilies[{index}]`");
            errors.invalid(&path.index(index), list[index].clone(), &why);
        }
    }
}

fn families(new: &Object, errors: &mut Errors) {
    let path = Path::new("spec.ipFamilies");
    let list = new.list("spec.ipFamilies");
    for (index, family) in list.iter().enumerate() {
        let text = family.as_str().unwrap_or("");
        if !FAMILIES.contains(&text) {
            errors.not_supported(&path.index(index), text, &FAMILIES);
        }
        if list[..index].contains(family) {
            errors.duplicate(&path.index(index), text);
        }
    }
    if let Some(policy) = new.at("spec.ipFamilyPolicy").and_then(Value::as_str)
        && !POLICIES.contains(&policy)
    {
        errors.not_supported(&Path::new("spec.ipFamilyPolicy"), policy, &POLICIES);
    }
}

fn validate_external_ips(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let path = Path::new("spec.externalIPs");
    let before = old.map_or(&[][..], |old| old.list("spec.externalIPs"));
    for (index, address) in new.list("spec.externalIPs").iter().enumerate() {
        let (text, path) = (address.as_str().unwrap_or(""), path.index(index));
        let mut found = Errors::new();
        if !before.contains(address) {
            ip::validate(&path, text, &mut found);
        }
        if let (true, Some(parsed)) = (found.is_empty(), ip::parse(text)) {
            ip::validate_endpoint(&path, text, parsed, &mut found);
        }
        errors.append(found);
    }
}

/// Ports of `ClusterIP` services have no node port; no node port and no port stands twice.
fn validate_numbers(new: &Object, errors: &mut Errors) {
    let (path, ports) = (Path::new("spec.ports"), new.list("spec.ports"));
    let number = |port: &Value, field| at(port, field).and_then(Value::as_i64).unwrap_or(0);
    if new.text("spec.type") == "ClusterIP" && !node_ports(new).is_empty() {
        for (index, _) in ports.iter().enumerate().filter(|(_, it)| number(it, "nodePort") != 0) {
            let why = "may not be used when `type` is 'ClusterIP'";
            errors.forbidden(&path.index(index).child("nodePort"), why);
        }
    }
    let twice = |index: usize, field| {
        let same = |it: &&Value| {
            it["protocol"] == ports[index]["protocol"]
                && number(it, field) == number(&ports[index], field)
        };
        number(&ports[index], field) != 0 && ports[..index].iter().any(|it| same(&it))
    };
    for (index, port) in ports.iter().enumerate().filter(|(index, _)| twice(*index, "nodePort")) {
        errors.duplicate(&path.index(index).child("nodePort"), number(port, "nodePort"));
    }
    for (index, port) in ports.iter().enumerate().filter(|(index, _)| twice(*index, "port")) {
        let shown = format!(
            "Duplicate value: {{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{},\
             \"TargetPort\":0,\"NodePort\":0}}",
            port["protocol"],
            number(port, "port")
        );
        errors.push(ErrorType::Duplicate, &path.index(index), shown);
    }
}

fn validate_source_ranges(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let balanced = new.text("spec.type") == "LoadBalancer";
    let why = "may only be used when `type` is 'LoadBalancer'";
    let ranges = new.list("spec.loadBalancerSourceRanges");
    if !ranges.is_empty() {
        let path = Path::new("spec.LoadBalancerSourceRanges");
        if !balanced {
            errors.forbidden(&path, why);
        }
        let before = old.map_or(&[][..], |old| old.list("spec.loadBalancerSourceRanges"));
        for (index, range) in ranges.iter().enumerate().filter(|(_, it)| !before.contains(it)) {
            ip::validate_cidr(&path.index(index), range.as_str().unwrap_or("").trim(), errors);
        }
        return;
    }
    let Some(value) = new.annotation(RANGES) else { return };
    let annotations = Path::new("metadata.annotations");
    let path = annotations.key(RANGES);
    if !balanced {
        errors.forbidden(&path, why);
    }
    if old.and_then(|old| old.annotation(RANGES)) != Some(value) && !value.trim().is_empty() {
        value.split(',').for_each(|range| ip::validate_cidr(&path, range.trim(), errors));
    }
}

fn validate_load_balancer(new: &Object, errors: &mut Errors) {
    let balanced = new.text("spec.type") == "LoadBalancer";
    let allocate = new.at("spec.allocateLoadBalancerNodePorts");
    let why = "may only be used when `type` is 'LoadBalancer'";
    if allocate.is_some() && !balanced {
        errors.forbidden(&Path::new("spec.allocateLoadBalancerNodePorts"), why);
    }
    if allocate.is_none() && balanced {
        errors.required(&Path::new("allocateLoadBalancerNodePorts"), "");
    }
    let Some(class) = new.at("spec.loadBalancerClass").and_then(Value::as_str) else { return };
    let path = Path::new("spec.loadBalancerClass");
    if balanced {
        check::qualified(&path, class, errors);
    } else {
        errors.forbidden(&path, why);
    }
}

fn validate_traffic(new: &Object, errors: &mut Errors) {
    let spec = Path::new("spec");
    let (path, policy) =
        (spec.child("externalTrafficPolicy"), new.text("spec.externalTrafficPolicy"));
    match (externally_accessible(new), policy) {
        (false, "") | (true, "Cluster" | "Local") => {}
        (false, other) => {
            errors.invalid(&path, other, "may only be set for externally-accessible services");
        }
        (true, "") => errors.required(&path, ""),
        (true, other) => errors.not_supported(&path, other, &["Cluster", "Local"]),
    }
    let (path, port) =
        (spec.child("healthCheckNodePort"), new.int("spec.healthCheckNodePort").unwrap_or(0));
    match (needs_health_check(new), port) {
        (false, 0) => {}
        (false, port) => errors.invalid(
            &path,
            port,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ),
        (true, 0) => errors.required(&path, ""),
        (true, port) => {
            if let Some(why) = names::port(port) {
                errors.invalid(&path, port, why);
            }
        }
    }
    let path = spec.child("internalTrafficPolicy");
    match new.at("spec.internalTrafficPolicy").and_then(Value::as_str) {
        None if new.text("spec.type") != "ExternalName"
            && TYPES.contains(&new.text("spec.type")) =>
        {
            errors.required(&path, "");
        }
        None | Some("Cluster" | "Local") => {}
        Some(other) => errors.not_supported(&path, other, &["Cluster", "Local"]),
    }
    if let Some(distribution) = new.at("spec.trafficDistribution").and_then(Value::as_str)
        && !DISTRIBUTIONS.contains(&distribution)
    {
        errors.not_supported(&spec.child("trafficDistribution"), distribution, &DISTRIBUTIONS);
    }
}

/// The rules of the status entry: only load balancers have addresses there.
pub fn status(new: &Object, old: &Object, errors: &mut Errors) {
    let path = Path::new("status.loadBalancer.ingress");
    let ingress = new.list("status.loadBalancer.ingress");
    if new.text("spec.type") != "LoadBalancer" && !ingress.is_empty() {
        errors.forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'");
        return;
    }
    let before = old.list("status.loadBalancer.ingress");
    for (index, entry) in ingress.iter().enumerate() {
        let path = path.index(index);
        let text = |field| at(entry, field).and_then(Value::as_str).unwrap_or("");
        let known = before.iter().any(|it| it["ip"] == entry["ip"]);
        if !text("ip").is_empty() && !known {
            ip::validate(&path.child("ip"), text("ip"), errors);
        }
        let mode = path.child("ipMode");
        match (at(entry, "ipMode"), text("ip").is_empty()) {
            (None, false) => errors.required(&mode, "must be specified when `ip` is set"),
            (None, true) => {}
            (Some(_), true) => errors.forbidden(&mode, "may not be specified when `ip` is not set"),
            (Some(it), false) if it == "VIP" || it == "Proxy" => {}
            (Some(other), false) => errors.not_supported(&mode, other.clone(), &["Proxy", "VIP"]),
        }
        let (path, host) = (path.child("hostname"), text("hostname"));
        if !host.is_empty() {
            check::subdomain(&path, host, errors);
            if ip::parse(host).is_some() {
                errors.invalid(&path, host, "must be a DNS name, not an IP address");
            }
        }
    }
}

pub fn warn(new: &Object, _: Option<&Object>) -> Vec<String> {
    let mut warnings = Vec::new();
    if new.annotation(HINTS).is_some() {
        warnings.push(format!("annotation {HINTS} is deprecated, please use {MODE} instead"));
    }
    let lists = [("clusterIPs", !headless(new)), ("externalIPs", true)];
    let external = new.list("spec.externalIPs");
    let (type_, name) = (new.text("spec.type"), "ExternalName");
    let in_list = |field: &str| {
        let list = new.list(&format!("spec.{field}")).iter().enumerate();
        let warnings = list.filter_map(|(index, it)| {
            ip::warnings(&format!("spec.{field}[{index}]"), it.as_str().unwrap_or(""))
        });
        warnings.collect::<Vec<_>>()
    };
    if lists[0].1 {
        warnings.extend(in_list("clusterIPs"));
    }
    let headless = type_ == "ClusterIP" && new.text("spec.clusterIP") == "None";
    if headless {
        if !new.text("spec.loadBalancerIP").is_empty() {
            warnings.push("spec.loadBalancerIP is ignored for headless services".into());
        }
        if !external.is_empty() {
            warnings.push("spec.externalIPs is ignored for headless services".into());
        }
        if new.text("spec.sessionAffinity") != "None" {
            warnings.push("spec.SessionAffinity is ignored for headless services".into());
        }
    }
    warnings.extend(in_list("externalIPs"));
    if !external.is_empty() && !headless && type_ != name {
        let why =
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters";
        warnings.push(why.into());
    }
    if type_ == name && !external.is_empty() {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
    }
    if type_ != name && !new.text("spec.externalName").is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    if new.text("spec.trafficDistribution") == "PreferClose" {
        let why = "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"";
        warnings.push(why.into());
    }
    warnings
}
