//! The status of a pod as users know it: pure, from what is seen.
//!
//! Words and rules are those of the API reference (Pod v1, PodStatus) and of kubelet's answers. What
//! others own (conditions of readiness gates, PodScheduled) is not here. Never here: IO, a clock.

use super::allocation::PENDING;
use super::containers;
use super::plan;
use super::seen::{Run, Sandbox, Seen};
use crate::qos;
use skiff_base::Time;
use skiff_json::{Value, json};
use skiff_kinds::views::pod::Container;

/// The conditions that are there only while they are true.
const RESIZING: &str = "PodResizeInProgress";
const PASSING: [&str; 2] = [PENDING, RESIZING];

/// Times as statuses carry them.
pub fn seconds(time: Time) -> String {
    skiff_api::time::format(time, skiff_api::time::Precision::Seconds)
}

/// The status that this node reports, as the part of a patch.
pub fn status(seen: &Seen, now: Time) -> Value {
    let pod = &seen.pod;
    let spec = &pod.spec;
    let phase = phase(seen);
    let ended = matches!(phase, "Succeeded" | "Failed");
    let initialized = plan::main_started(seen) || inits_done(seen);
    let list = |containers: &mut dyn Iterator<Item = &Container>| -> Vec<Value> {
        containers
            .map(|c| containers::status(seen, c, initialized || spec.init_containers.is_empty()))
            .collect()
    };
    let mut status = json!({
        "phase": phase,
        "conditions": conditions(seen, phase, now),
        "observedGeneration": pod.metadata.generation,
        "startTime": seconds(pod.status.start_time.unwrap_or(seen.since)),
        "qosClass": qos::class(pod),
        "hostIP": seen.host_ip,
        "hostIPs": [{"ip": seen.host_ip}],
        "containerStatuses": list(&mut spec.containers.iter()),
    });
    if !spec.init_containers.is_empty() {
        status["initContainerStatuses"] = list(&mut spec.init_containers.iter()).into();
    }
    if !spec.ephemeral_containers.is_empty() {
        status["ephemeralContainerStatuses"] = list(&mut spec.ephemeral_containers.iter()).into();
    }
    if let Some((reason, message)) = &seen.failed {
        status["reason"] = json!(reason);
        status["message"] = json!(message);
    }
    if let Some(ip) = ip(seen) {
        status["podIP"] = json!(ip);
        status["podIPs"] = json!([{"ip": ip}]);
    } else if ended && !pod.status.pod_ip.is_empty() {
        status["podIP"] = json!(pod.status.pod_ip);
        status["podIPs"] = json!([{"ip": pod.status.pod_ip}]);
    }
    status
}

/// The pod's address, once it has one.
pub fn ip(seen: &Seen) -> Option<String> {
    match &seen.sandbox {
        Sandbox::Ready { .. } if seen.pod.spec.host_network => Some(seen.host_ip.clone()),
        Sandbox::Ready { ip, .. } => ip.map(|ip| ip.to_string()),
        _ => None,
    }
}

/// API reference: PodStatus.phase.
pub fn phase(seen: &Seen) -> &'static str {
    if seen.pod.ended() {
        return if seen.pod.status.phase == "Failed" { "Failed" } else { "Succeeded" };
    }
    let spec = &seen.pod.spec;
    let any_live = seen.containers.values().any(|known| known.live().is_some());
    if seen.failed.is_some() && !any_live {
        return "Failed";
    }
    let code = |c: &Container| seen.known(&c.name).ended().map(|ended| ended.code);
    if plan::completed(seen) && !any_live {
        let good = spec.containers.iter().all(|c| code(c) == Some(0));
        return if good { "Succeeded" } else { "Failed" };
    }
    if seen.pod.metadata.deleting() && !any_live && plan::main_started(seen) {
        let good = spec.containers.iter().all(|c| code(c) == Some(0));
        return if good { "Succeeded" } else { "Failed" };
    }
    let known = |c: &Container| seen.known(&c.name);
    let begun = |c: &Container| match &known(c).run {
        Run::Running { hooked, .. } => *hooked || known(c).last.is_some(),
        Run::Ended(_) => true,
        Run::Starting { .. } | Run::Never => known(c).last.is_some(),
    };
    if (plan::main_started(seen) || inits_done(seen)) && spec.containers.iter().all(begun) {
        return "Running";
    }
    "Pending"
}

/// Whether every init container has done its work, and every sidecar has started.
pub fn inits_done(seen: &Seen) -> bool {
    incomplete(seen).is_empty()
}

fn incomplete(seen: &Seen) -> Vec<&str> {
    let done = |container: &&Container| {
        let known = seen.known(&container.name);
        match container.is_sidecar() {
            true => !(matches!(known.run, Run::Running { .. }) && known.probes.started),
            false => known.ended().is_none_or(|ended| ended.code != 0),
        }
    };
    seen.pod.spec.init_containers.iter().filter(done).map(|c| &*c.name).collect()
}

/// One condition before its times: type, status, reason, message.
struct Said(&'static str, bool, &'static str, String);

fn conditions(seen: &Seen, phase: &str, now: Time) -> Vec<Value> {
    let mut said = vec![sandbox(seen), initialized(seen, phase)];
    let (ready, reason, message) = containers_ready(seen, phase);
    let gates = gates(seen);
    said.push(match ready && !gates.is_empty() {
        true => Said("Ready", false, "ReadinessGatesNotReady", gates),
        false => Said("Ready", ready, reason, message.clone()),
    });
    said.push(Said("ContainersReady", ready, reason, message));
    let pending = seen.pending.clone();
    said.extend(pending.map(|why| Said(PENDING, true, why.reason, why.message)));
    said.extend(resizing(seen));
    let open = |type_: &&str| said.iter().any(|said| said.0 == *type_);
    let over =
        PASSING.into_iter().filter(|type_| seen.conditions.contains_key(*type_) && !open(type_));
    // A strategic merge leaves what is not named.
    let over: Vec<Value> = over.map(|type_| json!({"$patch": "delete", "type": type_})).collect();
    said.into_iter().map(|said| condition(seen, said, now)).chain(over).collect()
}

/// That resources are being changed, for as long as they are (KEP-1287).
fn resizing(seen: &Seen) -> Option<Said> {
    plan::changed(seen).next()?;
    let failed = seen.resize.as_ref().and_then(|resize| resize.failed.clone());
    let reason = if failed.is_some() { "Error" } else { "" };
    Some(Said(RESIZING, true, reason, failed.unwrap_or_default()))
}

fn sandbox(seen: &Seen) -> Said {
    const SORT: &str = "PodReadyToStartContainers";
    let message = match seen.sandbox {
        Sandbox::Ready { .. } => return Said(SORT, true, "", String::new()),
        Sandbox::Absent | Sandbox::Making | Sandbox::Failed { .. } => "no pod sandbox exists",
        Sandbox::Removing { .. } | Sandbox::Broken { .. } | Sandbox::Removed => {
            "pod sandbox is not ready"
        }
    };
    Said(SORT, false, "PodSandboxNotReady", message.into())
}

fn initialized(seen: &Seen, phase: &str) -> Said {
    let open = incomplete(seen);
    if phase == "Succeeded" {
        return Said("Initialized", true, "PodCompleted", String::new());
    }
    if open.is_empty() || plan::main_started(seen) {
        return Said("Initialized", true, "", String::new());
    }
    let message = format!("containers with incomplete status: [{}]", open.join(" "));
    Said("Initialized", false, "ContainersNotInitialized", message)
}

fn containers_ready(seen: &Seen, phase: &str) -> (bool, &'static str, String) {
    match phase {
        "Succeeded" => return (false, "PodCompleted", String::new()),
        "Failed" => return (false, "PodFailed", String::new()),
        _ => {}
    }
    let spec = &seen.pod.spec;
    let sidecars = spec.init_containers.iter().filter(|c| c.is_sidecar());
    let unready = |c: &&Container| !containers::ready(seen, c);
    let unready: Vec<&str> =
        sidecars.chain(&spec.containers).filter(unready).map(|c| &*c.name).collect();
    if unready.is_empty() {
        return (true, "", String::new());
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    (false, "ContainersNotReady", message)
}

/// What is wrong with the conditions that others have to set.
fn gates(seen: &Seen) -> String {
    let wrong = seen.pod.spec.readiness_gates.iter().filter_map(|gate| {
        let type_ = &gate.condition_type;
        match seen.pod.status.condition(type_) {
            None => Some(format!(
                "corresponding condition of pod readiness gate {type_:?} does not exist."
            )),
            Some(c) if c.status != "True" => Some(format!(
                "the status of pod readiness gate {type_:?} is not \"True\", but {}",
                c.status
            )),
            Some(_) => None,
        }
    });
    wrong.collect::<Vec<_>>().join(", ")
}

/// A condition with its times: that of the change is kept while the status is the same.
fn condition(seen: &Seen, Said(type_, status, reason, message): Said, now: Time) -> Value {
    let status = if status { "True" } else { "False" };
    let changed = match seen.conditions.get(type_) {
        Some((before, changed)) if before == status => *changed,
        _ => now,
    };
    let mut value = json!({
        "type": type_, "status": status, "lastProbeTime": null,
        "lastTransitionTime": seconds(changed),
        "observedGeneration": seen.pod.metadata.generation,
    });
    // A strategic merge leaves what is not named: an old reason has to be taken away by a null.
    value["reason"] = if reason.is_empty() { Value::Null } else { json!(reason) };
    value["message"] = if message.is_empty() { Value::Null } else { json!(message) };
    value
}
