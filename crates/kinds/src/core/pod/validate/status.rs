//! What a node or a controller may say about a pod.

use skiff_api::check::*;
use skiff_api::errors::{Errors, Path};
use skiff_api::object::{Object, at};
use skiff_json::Value;

/// Conditions whose types are words of Kubernetes itself.
const SYSTEM: &[&str] = &["PodScheduled", "Ready", "Initialized"];

pub fn status(new: &Object, old: &Object, errors: &mut Errors) {
    let path = Path::new("status");
    let null = Value::Null;
    let metadata = [new, old].map(|pod| pod.at("metadata").unwrap_or(&null));
    super::annotations::update(
        metadata[0],
        metadata[1],
        &Path::new("metadata.annotations"),
        errors,
    );
    let conditions = path.child("conditions");
    for (index, condition) in new.list("status.conditions").iter().enumerate() {
        let here = conditions.index(index);
        generation(int(condition, "observedGeneration"), &here, errors);
        if !SYSTEM.contains(&text(condition, "type")) {
            qualified(&here.child("Type"), text(condition, "type"), errors);
        }
    }
    nominated(new, old, &path.child("nominatedNodeName"), errors);
    generation(new.int("status.observedGeneration"), &path, errors);
    if new.text("status.qosClass") != old.text("status.qosClass") {
        errors.invalid(&path.child("qosClass"), new.text("status.qosClass"), "field is immutable");
    }
    transitions(new, old, errors);
    addresses(new, old, ["podIP", "podIPs"], errors);
    addresses(new, old, ["hostIP", "hostIPs"], errors);
}

fn generation(number: Option<i64>, path: &Path, errors: &mut Errors) {
    if let Some(number) = number.filter(|number| *number < 0) {
        errors.invalid(&path.child("observedGeneration"), number, "must be a non-negative integer");
    }
}

fn nominated(new: &Object, old: &Object, path: &Path, errors: &mut Errors) {
    let (name, before) =
        (new.text("status.nominatedNodeName"), old.text("status.nominatedNodeName"));
    if name.is_empty() || name == before {
        return;
    }
    subdomain(path, name, errors);
    if !old.text("spec.nodeName").is_empty() {
        errors.forbidden(path, "may not be set on pods that are already bound to a node");
    }
}

/// A container that ended for good does not come back.
fn transitions(new: &Object, old: &Object, errors: &mut Errors) {
    let lists = [
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
        ("ephemeralContainerStatuses", ""),
    ];
    for (field, containers) in lists {
        let path = Path::new("status");
        let path = path.child(field);
        let full = format!("status.{field}");
        if !containers.is_empty() && all_may_restart(old) {
            continue;
        }
        for (index, before) in old.list(&full).iter().enumerate() {
            let Some(ended) = at(before, "state.terminated") else { continue };
            let name = text(before, "name");
            let now = new.list(&full).iter().find(|status| text(status, "name") == name);
            if now.is_none_or(|now| at(now, "state.terminated").is_some()) {
                continue;
            }
            let code = int(ended, "exitCode").unwrap_or(0);
            let container = super::super::containers(old, containers);
            let container = container.iter().find(|container| text(container, "name") == name);
            if !container.is_some_and(|container| restarts(container, old, code)) {
                let why = "may not be transitioned to non-terminated state";
                errors.forbidden(&path.index(index).child("state"), why);
            }
        }
    }
}

/// One rule may restart all containers (KEP-5532).
fn all_may_restart(pod: &Object) -> bool {
    let lists = ["initContainers", "containers"].map(|field| super::super::containers(pod, field));
    let mut rules = lists.into_iter().flatten().flat_map(|c| list(c, "restartPolicyRules"));
    rules.any(|rule| text(rule, "action") == "RestartAllContainers")
}

/// Whether a container runs again after it ended with a code: its rules, its own policy, the pod's policy.
fn restarts(container: &Value, pod: &Object, code: i64) -> bool {
    for rule in list(container, "restartPolicyRules") {
        let listed =
            list(rule, "exitCodes.values").iter().any(|value| value.as_i64() == Some(code));
        if listed == (text(rule, "exitCodes.operator") == "In") && text(rule, "action") == "Restart"
        {
            return true;
        }
    }
    let own = text(container, "restartPolicy");
    match if own.is_empty() { pod.text("spec.restartPolicy") } else { own } {
        "Always" => true,
        "OnFailure" => code != 0,
        _ => false,
    }
}

/// One address of each family, and the first is the one that stands alone.
fn addresses(new: &Object, old: &Object, [one, many]: [&str; 2], errors: &mut Errors) {
    let path = Path::new("status");
    let path = path.child(many);
    let list_of = |pod: &Object| -> Vec<String> {
        pod.list(&format!("status.{many}")).iter().map(|ip| text(ip, "ip").to_owned()).collect()
    };
    let (now, before, single) = (list_of(new), list_of(old), new.text(&format!("status.{one}")));
    let is_host = one == "hostIP";
    if is_host && now.is_empty() {
        return;
    }
    let first = now.first().map_or("", String::as_str);
    let mismatch = |errors: &mut Errors| {
        let why = format!("must be equal to `{one}`");
        errors.invalid(&path.index(0).child("ip"), first, &why);
    };
    if is_host && single != first {
        mismatch(errors);
    }
    for (index, address) in now.iter().enumerate().filter(|(_, address)| !before.contains(address))
    {
        ip(&path.index(index), address, errors);
    }
    let sixes = now.iter().filter(|address| address.contains(':')).count();
    let unreadable = now.iter().position(|address| skiff_api::ip::parse(address).is_none());
    if let Some(index) = unreadable.filter(|_| now.len() > 1) {
        let address = &now[index];
        let why =
            format!("failed to check for dual stack with error:invalid IP[{index}]: {address}");
        errors.internal(&path, &why);
    }
    if now.len() > 2 || (now.len() == 2 && sixes != 1) {
        let shown: Vec<Value> = now.iter().map(|ip| skiff_json::json!({"IP": ip})).collect();
        errors.invalid(&path, shown, "may specify no more than one IP for each IP family");
    }
    if is_host {
        return;
    }
    if single.is_empty() != now.is_empty() {
        let why = "podIP and podIPs must either both be set or both be unset";
        let shown: Vec<Value> = now.iter().map(|ip| skiff_json::json!({"IP": ip})).collect();
        errors.invalid(&path, shown, why);
    } else if single != first {
        mismatch(errors);
    }
}
