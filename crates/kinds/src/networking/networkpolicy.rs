//! NetworkPolicy: who may talk to the pods that it selects (API reference: policy-resources).
//!
//! It is stored, checked and shown; nothing enforces it yet, and who writes one is told so.

use skiff_api::errors::{Errors, Path};
use skiff_api::kind::{Cell, Hooks, Kind, age_column, column, name_column};
use skiff_api::object::{Object, at, int, list, text};
use skiff_api::selector::Selector;
use skiff_api::view::Resource;
use skiff_api::{check, ip};
use skiff_json::{Value, json};
use std::collections::HashSet;

pub const RESOURCE: Resource =
    Resource::of("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy");

/// The two directions, with the field that lists the peers of each.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];
const TYPES: [&str; 2] = ["Ingress", "Egress"];
const NOT_YET: &str =
    "this NetworkPolicy is stored, and Skiff does not enforce it yet: no traffic is stopped by it";

pub fn kind() -> Kind {
    Kind {
        short: vec!["netpol".into()],
        columns: vec![
            name_column(),
            column("Pod-Selector", Cell::With(pod_selector)),
            age_column(),
        ],
        hooks: Hooks {
            default,
            validate,
            warn,
            generation: Some(Hooks::spec_changed),
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

fn pod_selector(policy: &Object) -> Value {
    let selector = Selector::from_object(policy.at("spec.podSelector"));
    match selector.map(|it| it.to_string()) {
        Ok(text) if text.is_empty() => "<none>".into(),
        Ok(text) => text.into(),
        Err(_) => "<error>".into(),
    }
}

fn default(policy: &mut Object) {
    for (direction, _) in DIRECTIONS {
        let rules = policy.value_mut().pointer_mut(&format!("/spec/{direction}"));
        for rule in rules.and_then(Value::as_array_mut).into_iter().flatten() {
            let ports = rule.get_mut("ports").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten().filter(|it| at(it, "protocol").is_none()) {
                port["protocol"] = "TCP".into();
            }
        }
    }
    if policy.list("spec.policyTypes").is_empty() {
        let both = !policy.list("spec.egress").is_empty();
        policy.set("spec.policyTypes", if both { json!(TYPES) } else { json!(["Ingress"]) });
    }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    let (spec, mut declared) = (Path::new("spec"), Errors::new());
    let known: HashSet<&str> = old.into_iter().flat_map(blocks).map(|(_, text)| text).collect();
    let nothing = json!({});
    let selector = new.at("spec").unwrap_or(&nothing);
    check::label_selector(selector, "podSelector", &spec, errors);
    for (direction, peers) in DIRECTIONS {
        let rules = spec.child(direction);
        for (index, rule) in new.list(&format!("spec.{direction}")).iter().enumerate() {
            let rule_path = rules.index(index);
            let ports = rule_path.child("ports");
            for (index, port) in list(rule, "ports").iter().enumerate() {
                validate_port(&ports.index(index), port, errors);
            }
            let all = rule_path.child(peers);
            for (index, peer) in list(rule, peers).iter().enumerate() {
                let at = all.index(index);
                validate_peer(&at, peer, &known, errors, &mut declared);
            }
        }
    }
    validate_types(new, errors);
    errors.append(declared);
}

fn validate_types(new: &Object, errors: &mut Errors) {
    let (path, types) = (Path::new("spec.policyTypes"), new.list("spec.policyTypes"));
    if types.len() > TYPES.len() {
        return errors.invalid(&path, types.to_vec(), "may not specify more than two policyTypes");
    }
    for (index, type_) in types.iter().enumerate() {
        let text = type_.as_str().unwrap_or("");
        if !TYPES.contains(&text) {
            errors.not_supported(&path.index(index), text, &TYPES);
        }
    }
}

fn validate_port(path: &Path, port: &Value, errors: &mut Errors) {
    check::one_of_if_set(port, "protocol", &["TCP", "UDP", "SCTP"], path, errors);
    let (here, end_path, end) = (path.child("port"), path.child("endPort"), int(port, "endPort"));
    match (at(port, "port"), end) {
        (Some(Value::String(name)), end) => {
            if let Some(end) = end {
                let why = "may not be specified when `port` is non-numeric";
                errors.invalid(&end_path, end, why);
            }
            check::refuse(&here, name, check::port_name_problems(name), errors);
        }
        (Some(number), end) => {
            let number = number.as_i64().unwrap_or(0);
            check::port_number(&here, number, errors);
            let Some(end) = end else { return };
            if end < number {
                errors.invalid(&end_path, end, "must be greater than or equal to `port`");
            }
            check::port_number(&end_path, end, errors);
        }
        (None, Some(end)) => {
            errors.invalid(&end_path, end, "may not be specified when `port` is not specified");
        }
        (None, None) => {}
    }
}

/// What the API's declarations demand goes to `declared`: it is said after all else.
fn validate_peer(
    path: &Path,
    peer: &Value,
    known: &HashSet<&str>,
    errors: &mut Errors,
    declared: &mut Errors,
) {
    check::label_selector(peer, "podSelector", path, errors);
    check::label_selector(peer, "namespaceSelector", path, errors);
    let others = ["podSelector", "namespaceSelector"].iter().any(|it| at(peer, it).is_some());
    match at(peer, "ipBlock") {
        Some(block) => {
            let path = path.child("ipBlock");
            match text(block, "cidr") {
                "" => declared.required(&path.child("cidr"), ""),
                _ => validate_block(&path, block, known, errors),
            }
        }
        None if !others => errors.required(path, "must specify a peer"),
        None => {}
    }
    if others && at(peer, "ipBlock").is_some() {
        errors.forbidden(path, "may not specify both ipBlock and another peer");
    }
}

/// A block that the policy had before may stay, whatever is wrong with it.
fn validate_block(path: &Path, block: &Value, known: &HashSet<&str>, errors: &mut Errors) {
    let look = |path: &Path, text: &str, errors: &mut Errors| {
        if !known.contains(text) {
            ip::validate_cidr(path, text, errors);
        }
        ip::parse_cidr(text).map(|(cidr, _)| cidr)
    };
    let Some(cidr) = look(&path.child("cidr"), text(block, "cidr"), errors) else { return };
    let all = path.child("except");
    for (index, except) in list(block, "except").iter().enumerate() {
        let (path, text) = (all.index(index), except.as_str().unwrap_or(""));
        let Some(inner) = look(&path, text, errors) else { continue };
        if !cidr.contains(inner.base()) || cidr.prefix() >= inner.prefix() {
            errors.invalid(&path, text, "must be a strict subset of `cidr`");
        }
    }
}

/// All blocks of addresses that a policy names, with where they stand.
fn blocks(policy: &Object) -> Vec<(String, &str)> {
    let mut all = Vec::new();
    for (direction, peers) in DIRECTIONS {
        for (rule_at, rule) in policy.list(&format!("spec.{direction}")).iter().enumerate() {
            for (peer_at, peer) in list(rule, peers).iter().enumerate() {
                let Some(block) = at(peer, "ipBlock") else { continue };
                let path = format!("spec.{direction}[{rule_at}].{peers}[{peer_at}].ipBlock");
                all.push((format!("{path}.cidr"), text(block, "cidr")));
                let except = list(block, "except").iter().enumerate();
                all.extend(except.map(|(index, it)| {
                    (format!("{path}.except[{index}]"), it.as_str().unwrap_or(""))
                }));
            }
        }
    }
    all
}

fn warn(new: &Object, old: Option<&Object>) -> Vec<String> {
    let mut warnings: Vec<String> =
        blocks(new).iter().flat_map(|(path, text)| ip::cidr_warnings(path, text)).collect();
    if old.is_none_or(|old| Hooks::spec_changed(new, old)) {
        warnings.push(NOT_YET.to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: Value) -> String {
        let mut policy = Object::new(json!({"spec": spec}));
        default(&mut policy);
        let mut errors = Errors::new();
        validate(&policy, None, &mut errors);
        errors.text()
    }

    #[test]
    fn what_is_not_said_follows() {
        let of = |spec| {
            let mut policy = Object::new(json!({"spec": spec}));
            default(&mut policy);
            policy.value()["spec"].to_string()
        };
        assert_eq!(
            of(json!({"egress": [{"ports": [{"port": 1}]}]})),
            r#"{"egress":[{"ports":[{"port":1,"protocol":"TCP"}]}],"policyTypes":["Ingress","Egress"]}"#
        );
    }

    #[test]
    fn peers_and_their_blocks() {
        assert_eq!(
            check(json!({"ingress": [{"from": [{}, {"ipBlock": {"cidr": ""}},
                {"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}]}]})),
            "[spec.ingress[0].from[0]: Required value: must specify a peer, \
             spec.ingress[0].from[2].ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a strict \
             subset of `cidr`, spec.ingress[0].from[2]: Forbidden: may not specify both ipBlock and \
             another peer, spec.ingress[0].from[1].ipBlock.cidr: Required value]"
        );
    }

    #[test]
    fn ports_and_their_ends() {
        let end = |port: Value| check(json!({"egress": [{"ports": [port]}]}));
        assert!(end(json!({"port": 80, "endPort": 79})).contains("greater than or equal"));
        assert!(end(json!({"port": "a", "endPort": 79})).contains("`port` is non-numeric"));
        assert!(end(json!({"endPort": 79})).contains("`port` is not specified"));
        assert_eq!(end(json!({"port": 80, "endPort": 80})), "[]");
    }
}
