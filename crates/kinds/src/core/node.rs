//! Node: a machine that runs pods (API reference: cluster-resources).

use skiff_api::check;
use skiff_api::errors::{ErrorType, Errors, Path};
use skiff_api::kind::{
    Cell, Connect, Hooks, Kind, Proxied, Verb, age_column, column, connect, name_column, status,
    wide,
};
use skiff_api::object::{Object, at};
use skiff_api::quantity::Quantity;
use skiff_api::view::Resource;
use skiff_api::{ip, names};
use skiff_json::{Value, json};
use std::collections::HashSet;

pub const RESOURCE: Resource = Resource::core("nodes", "Node").cluster();

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE: &str = "kubernetes.io/role";
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub fn kind() -> Kind {
    Kind {
        short: vec!["no".into()],
        converts_fields: true,
        selectable: vec!["spec.unschedulable".into()],
        subresources: vec![
            connect("proxy", Connect::Proxy(Proxied::Node), Verb::PROXY, "NodeProxyOptions"),
            status(),
        ],
        columns: vec![
            name_column(),
            column("Status", Cell::With(|node| ready(node).into())),
            column("Roles", Cell::With(|node| roles(node).into())),
            age_column(),
            column("Version", Cell::With(|node| info(node, "kubeletVersion", "").into())),
            wide("Internal-IP", Cell::With(|node| address(node, "InternalIP"))),
            wide("External-IP", Cell::With(|node| address(node, "ExternalIP"))),
            wide("OS-Image", Cell::With(|node| info(node, "osImage", "<unknown>").into())),
            wide("Kernel-Version", Cell::With(kernel)),
            wide(
                "Container-Runtime",
                Cell::With(|node| info(node, "containerRuntimeVersion", "<unknown>").into()),
            ),
        ],
        status_on_create: true,
        hooks: Hooks {
            default,
            prepare,
            validate,
            validate_part,
            warn,
            fields: Some(fields),
            ..Hooks::NONE
        },
        ..Kind::new(RESOURCE)
    }
}

fn ready(node: &Object) -> String {
    let conditions = node.list("status.conditions");
    let ready = conditions.iter().find(|it| it["type"] == "Ready");
    let mut status = match ready.map(|it| it["status"] == "True") {
        Some(true) => "Ready".to_owned(),
        Some(false) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if node.flag("spec.unschedulable") {
        status += ",SchedulingDisabled";
    }
    status
}

fn roles(node: &Object) -> String {
    let role = |(key, value): (&str, &str)| match key.strip_prefix(ROLE_PREFIX) {
        Some(role) if !role.is_empty() => Some(role.to_owned()),
        _ if key == ROLE && !value.is_empty() => Some(value.to_owned()),
        _ => None,
    };
    let mut roles: Vec<String> = node.labels().filter_map(role).collect();
    roles.sort();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

fn address(node: &Object, type_: &str) -> Value {
    let found = node.list("status.addresses").iter().find(|it| it["type"] == type_);
    found.map_or("<none>".into(), |it| it["address"].clone())
}

fn info<'a>(node: &'a Object, field: &str, absent: &'a str) -> &'a str {
    let text = node.at("status.nodeInfo").and_then(|info| info.get(field)?.as_str());
    text.filter(|text| !text.is_empty()).unwrap_or(absent)
}

fn kernel(node: &Object) -> Value {
    let version = info(node, "kernelVersion", "<unknown>");
    match info(node, "architecture", "") {
        "" => version.into(),
        architecture => format!("{version} ({architecture})").into(),
    }
}

fn fields(node: &Object, put: &mut dyn FnMut(&'static str, &str)) {
    put("spec.unschedulable", if node.flag("spec.unschedulable") { "true" } else { "false" });
}

/// `podCIDR` and `podCIDRs` are one value in two fields, and what can be allocated is by default all that
/// there is.
fn default(node: &mut Object) {
    if let Some(first) = node.list("spec.podCIDRs").first().cloned() {
        node.set_absent("spec.podCIDR", first);
    } else if !node.text("spec.podCIDR").is_empty() {
        node.set("spec.podCIDRs", json!([node.text("spec.podCIDR")]));
    }
    if node.map("status.allocatable").is_empty() && !node.map("status.capacity").is_empty() {
        node.set("status.allocatable", node.map("status.capacity").clone());
    }
}

/// Dynamic configuration of nodes is gone: its fields are dropped, so are those of features that are off.
fn prepare(node: &mut Object, old: Option<&Object>) {
    if old.is_none_or(|old| old.at("spec.configSource").is_none()) {
        node.remove("spec.configSource");
    }
    if old.is_none() {
        node.remove("status.config");
    }
}

fn validate(new: &Object, old: Option<&Object>, errors: &mut Errors) {
    validate_whole(new, errors);
    if let Some(old) = old {
        validate_update(new, old, errors);
    }
}

fn validate_part(_: &str, new: &Object, old: &Object, errors: &mut Errors) {
    validate_update(new, old, errors);
}

fn validate_whole(node: &Object, errors: &mut Errors) {
    validate_taints(node.list("spec.taints"), errors);
    validate_quantities(node, errors);
    let (path, blocks) = (Path::new("spec.podCIDRs"), node.list("spec.podCIDRs"));
    for (index, block) in blocks.iter().enumerate() {
        ip::validate_cidr(&path.index(index), block.as_str().unwrap_or(""), errors);
    }
    let text = |block: &Value| block.as_str().unwrap_or("").to_owned();
    let unreadable = blocks.iter().position(|it| ip::parse_cidr(&text(it)).is_none());
    if let Some(index) = unreadable.filter(|_| blocks.len() > 1) {
        let block = text(&blocks[index]);
        let why = format!(
            "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{index}]: <nil> \
             (invalid CIDR address: {block})"
        );
        errors.internal(&path, &why);
    }
    if blocks.len() > 1 {
        let parsed = blocks.iter().filter_map(|it| ip::parse_cidr(it.as_str()?));
        let families: Vec<bool> = parsed.map(|(cidr, _)| cidr.is_ipv4()).collect();
        if families.len() != 2 || families[0] == families[1] {
            let why = "may specify no more than one CIDR for each IP family";
            errors.invalid(&path, blocks.to_vec(), why);
        }
    }
}

fn validate_update(new: &Object, old: &Object, errors: &mut Errors) {
    validate_quantities(new, errors);
    let path = Path::new("status.addresses");
    let addresses = new.list("status.addresses");
    for (index, address) in addresses.iter().enumerate() {
        if addresses[..index].contains(address) {
            errors.duplicate(&path.index(index), address.clone());
        }
    }
    let before = old.list("spec.podCIDRs");
    if !before.is_empty() && before != new.list("spec.podCIDRs") {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        errors.forbidden(&Path::new("spec.podCIDRs"), why);
    }
    let (path, provider) = (Path::new("spec.providerID"), old.text("spec.providerID"));
    match new.text("spec.providerID") {
        _ if provider.is_empty() => {}
        "" => errors.invalid(&path, Value::Null, "field cannot be cleared once set"),
        other if other != provider => {
            errors.invalid(&path, Value::Null, "field cannot be modified once set");
        }
        _ => {}
    }
    validate_taints(new.list("spec.taints"), errors);
    if new.text("spec.externalID") != old.text("spec.externalID") {
        errors.forbidden(&Path::new("spec.externalID"), "may not be updated");
    }
}

/// Upstream names these below `metadata`, and so do we.
fn validate_taints(taints: &[Value], errors: &mut Errors) {
    let path = Path::new("metadata.taints");
    let mut seen: HashSet<(&str, &str)> = HashSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = path.index(index);
        let text = |field| at(taint, field).and_then(Value::as_str).unwrap_or("");
        check::qualified(&path.child("key"), text("key"), errors);
        let wrong = names::label_value(text("value"));
        if !wrong.is_empty() {
            errors.invalid(&path.child("value"), text("value"), &wrong.join(";"));
        }
        check::one_of(&path.child("effect"), text("effect"), &EFFECTS, errors);
        if !seen.insert((text("key"), text("effect"))) {
            let shown = |field| skiff_api::errors::show(&text(field).into());
            let added = at(taint, "timeAdded").unwrap_or(&Value::Null);
            let body = format!(
                "Duplicate value: {{\"Key\":{},\"Value\":{},\"Effect\":{},\"TimeAdded\":{added}}}: taints must \
                 be unique by key and effect pair",
                shown("key"),
                shown("value"),
                shown("effect")
            );
            errors.push(ErrorType::Duplicate, &path, body);
        }
    }
}

fn validate_quantities(node: &Object, errors: &mut Errors) {
    for field in ["status.capacity", "status.allocatable"] {
        let path = Path::new(field);
        for (name, quantity) in node.map(field) {
            validate_quantity(&path.child(name), name, quantity, errors);
        }
    }
}

fn validate_quantity(path: &Path, name: &str, quantity: &Value, errors: &mut Errors) {
    let text = quantity.as_str().map_or_else(|| quantity.to_string(), str::to_owned);
    let Ok(parsed) = Quantity::parse(&text) else { return };
    if parsed.is_negative() {
        errors.invalid(path, text, "must be greater than or equal to 0");
        return;
    }
    let counted = !matches!(name, "cpu" | "memory" | "ephemeral-storage" | "storage")
        && !name.starts_with("hugepages-");
    if counted && parsed.milli_value() % 1000 != 0 {
        errors.invalid(path, text, "must be an integer");
    }
}

fn warn(node: &Object, _: Option<&Object>) -> Vec<String> {
    let mut warnings = Vec::new();
    if node.at("spec.configSource").is_some() {
        warnings.push("spec.configSource: the feature is no longer supported".to_owned());
    }
    if !node.text("spec.externalID").is_empty() {
        warnings
            .push("spec.externalID: this field is deprecated, and is unused by Kubernetes".into());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_say_how_a_node_is() {
        let node = Object::new(json!({
            "metadata": {"labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "a"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}],
                       "nodeInfo": {"kernelVersion": "6.1", "architecture": "amd64"}},
        }));
        assert_eq!(ready(&node), "Ready,SchedulingDisabled");
        assert_eq!(roles(&node), "a,control-plane");
        assert_eq!(kernel(&node), "6.1 (amd64)");
    }

    #[test]
    fn a_pod_cidr_stays() {
        let old = Object::new(json!({"spec": {"podCIDRs": ["10.0.0.0/24"]}}));
        let new = Object::new(json!({"spec": {"podCIDRs": ["10.0.1.0/24"],
            "taints": [{"key": "a", "effect": "X"}]}}));
        let mut errors = Errors::new();
        validate_update(&new, &old, &mut errors);
        assert_eq!(
            errors.text(),
            "[spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to \
             valid, metadata.taints[0].effect: Unsupported value: \"X\": supported values: \
             \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"]"
        );
    }
}
