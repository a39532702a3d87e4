//! What the node says of itself: its Node object, its status, and a Lease as a sign of life
//! (API reference: Node v1, Lease v1; concepts: "Nodes, heartbeats").
//!
//! The status is written when it is not what the API has, and otherwise every five minutes; the Lease
//! every ten seconds. Nothing else wakes for it.

use crate::pod::status::seconds;
use crate::report;
use crate::rim::Rim;
use skiff_api::Status;
use skiff_api::time::{Precision, format};
use skiff_api::view::{Resource, View};
use skiff_base::Time;
use skiff_client::PatchKind;
use skiff_json::{Value, json};
use skiff_kinds::views::{Lease, Node, OWN_PORTS};
use std::sync::Arc;
use std::time::Duration;

const NODES: Resource = Node::RESOURCE;
const LEASES: Resource = Lease::RESOURCE;
const LEASE_NAMESPACE: &str = "kube-node-lease";
const LEASE_S: i64 = 40;
const RENEW: Duration = Duration::from_secs(10);
/// A status that has not changed is written this often all the same.
const STATUS_EVERY: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_millis(200);
/// Names of images in the status (kubelet's nodeStatusMaxImages).
const IMAGES_MOST: usize = 50;

/// What the node declares beyond what every node of its version can do (KEP-5328), sorted. Of
/// upstream's list at 1.37 this node lacks two: restarting all containers, and resizing a pod whose
/// resources are the pod's own.
const DECLARED: [&str; 2] =
    ["ExtendWebSocketsToKubelet", "InPlacePodVerticalScalingInitContainers"];

/// Registers the node, then keeps its status and its lease until it is ended.
pub async fn run(rim: Arc<Rim>) {
    while let Err(status) = register(&rim).await {
        tracing::warn!(%status, "the node cannot register; it tries again");
        rim.world.sleep(RETRY).await;
    }
    about(&rim, "Starting", "Starting kubelet.").await;
    let mut reported = (Value::Null, Duration::ZERO);
    loop {
        if let Err(status) = beat(&rim, &mut reported).await {
            tracing::warn!(%status, "a sign of life of the node was refused");
        }
        rim.world.sleep(RENEW).await;
    }
}

async fn about(rim: &Rim, reason: &str, message: &str) {
    let name = &rim.config.name;
    let node = json!({"kind": "Node", "name": name, "uid": name});
    rim.recorder.record("Normal", reason, message, node).await;
}

async fn register(rim: &Rim) -> Result<(), Status> {
    let name = &rim.config.name;
    let metadata = json!({
        "name": name, "labels": labels(name),
        "annotations": {
            "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            OWN_PORTS: rim.config.own_ports.iter().map(u16::to_string).collect::<Vec<_>>().join(","),
        },
    });
    let body = json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata});
    match rim.client.create(NODES, "", body).await {
        Ok(_) => {}
        // Made for it, or by an earlier life of it.
        Err(status) if status.code == 409 => {
            let body = json!({"metadata": metadata});
            rim.client.patch(PatchKind::Strategic, NODES, "", name, "", body).await?;
        }
        Err(status) => return Err(status),
    }
    let status = status(rim, rim.world.now());
    patch_status(rim, &status).await
}

fn labels(name: &str) -> Value {
    let arch = arch();
    json!({
        "kubernetes.io/hostname": name, "kubernetes.io/arch": arch, "kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": arch, "beta.kubernetes.io/os": "linux",
    })
}

pub fn arch() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

async fn beat(rim: &Rim, reported: &mut (Value, Duration)) -> Result<(), Status> {
    renew(rim).await?;
    let now = rim.world.now();
    let fresh = status(rim, now);
    let comparable = without_times(fresh.clone());
    let uptime = rim.world.uptime();
    let same = comparable == reported.0 && uptime < reported.1 + STATUS_EVERY;
    if same && !is_contradicted(&fresh, &known(rim).await?) {
        return Ok(());
    }
    patch_status(rim, &fresh).await?;
    *reported = (comparable, uptime);
    Ok(())
}

/// What the API says about the node.
async fn known(rim: &Rim) -> Result<Node, Status> {
    rim.client.view("", &rim.config.name).await
}

/// Whether somebody has said something else: of a node that was not heard of for a while nothing is known, and it is
/// the node that says that it is ready again.
fn is_contradicted(fresh: &Value, known: &Node) -> bool {
    report::is_contradicted(fresh, |type_| Some(&known.condition(type_)?.status))
}

async fn patch_status(rim: &Rim, status: &Value) -> Result<(), Status> {
    let mut body = json!({"status": status});
    // The moment of a change is the server's old one unless the condition is new: a node that
    // starts again keeps the times that it has.
    if let Ok(node) = rim.client.get(NODES, "", &rim.config.name).await {
        keep_times(&mut body["status"], node.at("status.conditions").unwrap_or(&Value::Null));
    }
    let name = &rim.config.name;
    rim.client.patch(PatchKind::Strategic, NODES, "", name, "status", body).await.map(|_| ())
}

fn keep_times(status: &mut Value, old: &Value) {
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    for condition in conditions {
        let before = old.as_array().into_iter().flatten().find(|c| c["type"] == condition["type"]);
        if let Some(before) = before.filter(|before| before["status"] == condition["status"]) {
            condition["lastTransitionTime"] = before["lastTransitionTime"].clone();
        }
    }
}

fn without_times(mut status: Value) -> Value {
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastHeartbeatTime"] = Value::Null;
        condition["lastTransitionTime"] = Value::Null;
    }
    status
}

async fn renew(rim: &Rim) -> Result<(), Status> {
    let name = &rim.config.name;
    let now = format(rim.world.now(), Precision::Micros);
    let body = json!({"spec": {
        "holderIdentity": name, "leaseDurationSeconds": LEASE_S, "renewTime": now,
    }});
    let patched =
        rim.client.patch(PatchKind::Merge, LEASES, LEASE_NAMESPACE, name, "", body.clone());
    match patched.await {
        Err(status) if status.code == 404 => {
            let mut lease = body;
            lease["apiVersion"] = json!("coordination.k8s.io/v1");
            lease["kind"] = json!("Lease");
            lease["metadata"] = json!({"name": name, "namespace": LEASE_NAMESPACE});
            rim.client.create(LEASES, LEASE_NAMESPACE, lease).await.map(|_| ())
        }
        other => other.map(|_| ()),
    }
}

/// The status as the kubelet words it.
fn status(rim: &Rim, now: Time) -> Value {
    let machine = &rim.machine;
    let amounts = json!({
        "cpu": machine.cpus.to_string(),
        "memory": format!("{}Ki", machine.memory_bytes / 1024),
        "ephemeral-storage": format!("{}Ki", machine.disk_bytes / 1024),
        "pods": rim.config.most_pods.to_string(),
        "hugepages-1Gi": "0", "hugepages-2Mi": "0",
    });
    let mut allocatable = amounts.clone();
    // A tenth of the disk stays free for the machine (kubelet's default eviction threshold).
    allocatable["ephemeral-storage"] = json!((machine.disk_bytes / 10 * 9).to_string());
    allocatable["memory"] = json!(format!("{}Ki", machine.memory_bytes / 1024 - 100 * 1024));
    let condition = |type_: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": type_, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": seconds(now), "lastTransitionTime": seconds(now),
        })
    };
    json!({
        "capacity": amounts, "allocatable": allocatable,
        "addresses": [
            {"type": "InternalIP", "address": rim.config.address.to_string()},
            {"type": "Hostname", "address": rim.config.name},
        ],
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure",
                "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID",
                "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": rim.config.port}},
        "nodeInfo": {
            "machineID": machine.machine_id, "systemUUID": machine.system_uuid,
            "bootID": machine.boot_id, "kernelVersion": machine.kernel,
            "osImage": machine.os_image,
            "containerRuntimeVersion": format!("skiff://{}", env!("CARGO_PKG_VERSION")),
            "kubeletVersion": rim.config.version, "kubeProxyVersion": "",
            "operatingSystem": "linux", "architecture": arch(),
            "swap": {"capacity": machine.swap_bytes},
        },
        "runtimeHandlers": [
            {"name": "", "features": {"recursiveReadOnlyMounts": true, "userNamespaces": false}},
        ],
        "features": {"supplementalGroupsPolicy": true},
        "declaredFeatures": DECLARED,
        "images": images(rim),
    })
}

/// The largest images first, as many as statuses show.
fn images(rim: &Rim) -> Vec<Value> {
    let mut images = rim.images.list();
    images.sort_by_key(|image| std::cmp::Reverse(image.size));
    let shown = images.iter().take(IMAGES_MOST).map(|image| {
        let names: Vec<&String> = image.repo_digests.iter().chain(&image.repo_tags).collect();
        json!({"names": names, "sizeBytes": image.size})
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_of_which_nothing_was_known_says_again_that_it_is_ready() {
        let node = |ready: &str| -> Node {
            let node = json!({"metadata": {"name": "n1"},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            skiff_json::from_value(node).expect("it is a node")
        };
        let fresh = json!({"conditions": [{"type": "Ready", "status": "True"},
            {"type": "DiskPressure", "status": "False"}]});
        let contradicted =
            ["True", "False", "Unknown"].map(|it| is_contradicted(&fresh, &node(it)));
        assert_eq!(contradicted, [false, true, true]);
    }
}
