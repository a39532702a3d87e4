//! Health of nodes: one that lets its lease lapse is marked unknown, and the conditions of nodes become taints, which
//! keep pods away (API reference: Node; KEP-589 for the leases, KEP-382 for the taints).
//!
//! A lease is judged by our own clock, from when we last saw it change: the clocks of nodes do not count. Taints that
//! are not of a condition are never touched. Eviction of pods by `NoExecute` taints is another loop's; how fast nodes
//! get those is said in `zone.rs`.

mod zone;

use crate::changes::Note;
use crate::parts::status::this_revision;
use crate::{Change, Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::time::{Precision, format};
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_client::PatchKind;
use skiff_json::{Value, json};
use skiff_kinds::views::{Lease, NOT_READY, Node, Pod, Taint, UNREACHABLE, UNSCHEDULABLE};
use std::sync::Arc;
use std::time::Duration;
use zone::Pace;

/// A node may be silent for this long: four beats of its lease.
const GRACE: Duration = Duration::from_secs(40);
/// A timer of ours that comes this late tells of our own sleep, not of a node's.
const OVERSLEPT: Duration = Duration::from_secs(10);
/// Where the leases of nodes are.
const LEASES: &str = "kube-node-lease";
/// What a node that says nothing is unknown to have.
const JUDGED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
/// Condition, its status, and the taint that it makes.
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];
/// The taints of a node that is not ready; they alone drive pods away.
const JUDGED_UNFIT: [&str; 2] = [NOT_READY, UNREACHABLE];

/// Key: the name of a node.
pub struct NodeHealth;

pub struct Seen {
    node: Arc<Node>,
    lease: Option<Arc<Lease>>,
    /// Its pods that say they are ready; looked for only when the node is not.
    ready_pods: Vec<Arc<Pod>>,
    /// All nodes; looked for only when this one is not ready.
    all: Vec<Arc<Node>>,
}

/// The last sign of life, and when we saw it.
#[derive(Debug, Default)]
pub struct Memory {
    sign: Option<(Sign, Time)>,
}

/// Renewal of the lease, and heartbeat of the Ready condition.
type Sign = (Option<Time>, Option<Time>);

impl Loop for NodeHealth {
    const NAME: &'static str = "node-controller";
    type Seen = Seen;
    type Memory = Memory;

    fn on(on: &mut On) {
        on.own::<Node>();
        // What becomes of those that are not ready depends on how many there are.
        on.changes::<Node>(|old, new, caches| match old.map(Node::ready) == new.map(Node::ready) {
            true => Vec::new(),
            false => {
                let unfit = caches.of::<Node>().list("");
                unfit.iter().filter(|node| !node.ready()).map(|it| it.metadata.key()).collect()
            }
        });
        on.map::<Lease>(|lease, _| match &*lease.metadata.namespace {
            LEASES => vec![Key::new("", &lease.metadata.name)],
            _ => Vec::new(),
        });
        on.reads::<Pod>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(node) = cx.caches.of::<Node>().get(key) else { return Ok(None) };
        let lease = cx.caches.of::<Lease>().get(&Key::new(LEASES, &key.name));
        let (mut ready_pods, mut all) = (Vec::new(), Vec::new());
        if node.condition("Ready").is_some_and(|ready| ready.status != "True") {
            ready_pods = cx.caches.of::<Pod>().find("node", &key.name);
            ready_pods.retain(|pod| pod.ready());
            all = cx.caches.of::<Node>().list("");
        }
        Ok(Some(Seen { node, lease, ready_pods, all }))
    }

    fn plan(seen: &Seen, memory: &mut Memory, now: Time, out: &mut Changes) -> Next {
        let node = &seen.node;
        let renewed = seen.lease.as_ref().and_then(|lease| lease.spec.renew_time);
        let sign = (renewed, node.condition("Ready").and_then(|ready| ready.last_heartbeat_time));
        let seen_at = match memory.sign {
            Some((last, at)) if last == sign => at,
            _ => now,
        };
        memory.sign = Some((sign, seen_at));
        let pace = zone::pace(node, &seen.all, now);
        taint(node, pace, now, out);
        unready(seen, now, out);
        let mut end = seen_at + GRACE;
        // Woken much later than asked: this machine itself slept, and the node could not have been heard.
        if now > end + OVERSLEPT {
            memory.sign = Some((sign, now));
            end = now + GRACE;
        }
        let drives = match pace {
            Pace::NotBefore(at) => Some(at),
            Pace::Yes | Pace::Not => None,
        };
        if end > now {
            return Next::At(drives.map_or(end, |at| at.min(end)));
        }
        lapse(node, now, out);
        drives.map_or(Next::Wait, Next::At)
    }
}

/// Marks what is not known of a silent node any more.
fn lapse(node: &Node, now: Time, out: &mut Changes) {
    let now = format(now, Precision::Seconds);
    let condition = |type_: &&str| match node.condition(type_) {
        None => {
            Some(json!({"type": type_, "status": "Unknown", "reason": "NodeStatusNeverUpdated",
            "message": "Kubelet never posted node status.", "lastTransitionTime": now,
            "lastHeartbeatTime": node.metadata.creation_timestamp.map(|t| format(t, Precision::Seconds))}))
        }
        Some(known) if known.status == "Unknown" => None,
        Some(_) => Some(json!({"type": type_, "status": "Unknown", "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.", "lastTransitionTime": now})),
    };
    let conditions: Vec<Value> = JUDGED.iter().filter_map(condition).collect();
    if conditions.is_empty() {
        return;
    }
    let body =
        json!({"metadata": {"uid": node.metadata.uid}, "status": {"conditions": conditions}});
    out.patch(PatchKind::Strategic, Node::RESOURCE, node.metadata.key(), "status", body);
    if node.ready() {
        let message = format!("Node {} status is now: NodeNotReady", node.metadata.name);
        out.event(Note::of(node, "Normal", "NodeNotReady", message));
    }
}

/// Pods of a node that is not ready are not ready either: nobody can say that they are.
fn unready(seen: &Seen, now: Time, out: &mut Changes) {
    for pod in &seen.ready_pods {
        let meta = &pod.metadata;
        let condition = json!({"type": "Ready", "status": "False",
            "lastTransitionTime": format(now, Precision::Seconds)});
        let body = json!({"metadata": {"uid": meta.uid}, "status": {"conditions": [condition]}});
        let patch = Change::Patch {
            kind: PatchKind::Strategic,
            resource: Pod::RESOURCE,
            key: meta.key(),
            subresource: "status",
            body,
        };
        out.push(patch);
        out.event(Note::of(&**pod, "Warning", "NodeNotReady", "Node is not ready"));
    }
}

/// Brings the taints in line with the conditions.
fn taint(node: &Node, pace: Pace, now: Time, out: &mut Changes) {
    let holds = |(type_, status, _): &&(&str, &str, &str)| {
        node.condition(type_).is_some_and(|condition| condition.status == *status)
    };
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (type_, _, key) in TAINTS.iter().filter(holds) {
        wanted.push((key, "NoSchedule"));
        if *type_ == "Ready" && pace == Pace::Yes {
            wanted.push((key, "NoExecute"));
        }
    }
    if node.spec.unschedulable {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let ours = |taint: &Taint| {
        let of_ready = JUDGED_UNFIT.contains(&&*taint.key);
        match &*taint.effect {
            "NoSchedule" => {
                taint.key == UNSCHEDULABLE || TAINTS.iter().any(|(_, _, key)| *key == taint.key)
            }
            "NoExecute" => of_ready,
            _ => false,
        }
    };
    let has = |taint: &Taint| wanted.contains(&(&*taint.key, &*taint.effect));
    let stay: Vec<&Taint> = node.spec.taints.iter().filter(|t| !ours(t) || has(t)).collect();
    let missing: Vec<_> = wanted
        .iter()
        .filter(|(key, effect)| !stay.iter().any(|t| t.key == *key && t.effect == *effect))
        .collect();
    if missing.is_empty() && stay.len() == node.spec.taints.len() {
        return;
    }
    let mut taints: Vec<Value> = stay.into_iter().map(taint_json).collect();
    taints.extend(missing.into_iter().map(|(key, effect)| {
        json!({"key": key, "effect": effect, "timeAdded": format(now, Precision::Seconds)})
    }));
    let meta = &node.metadata;
    // The list is replaced as a whole, so it must be the one that was looked at.
    let body = json!({"metadata": this_revision(meta),
        "spec": {"taints": if taints.is_empty() { Value::Null } else { taints.into() }}});
    out.merge(Node::RESOURCE, meta.key(), body);
}

fn taint_json(taint: &Taint) -> Value {
    let mut value = json!({"key": taint.key, "effect": taint.effect});
    if !taint.value.is_empty() {
        value["value"] = json!(taint.value);
    }
    if let Some(added) = taint.time_added {
        value["timeAdded"] = json!(format(added, Precision::Seconds));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn plan(node: Value, memory: &mut Memory, now: &str) -> (String, Next) {
        let node: Arc<Node> =
            Arc::new(skiff_json::from_value(node).expect("the case is a valid view"));
        let other = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let other = Arc::new(skiff_json::from_value(other).expect("the case is a valid view"));
        let all = vec![node.clone(), other];
        let lease = json!({"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}});
        let lease =
            Some(Arc::new(skiff_json::from_value(lease).expect("the case is a valid view")));
        let mut out = Changes::default();
        let seen = Seen { node, lease, ready_pods: Vec::new(), all };
        let next = NodeHealth::plan(&seen, memory, now.parse().expect("a time"), &mut out);
        (out.text(), next)
    }

    fn node(ready: &str, taints: Value) -> Value {
        json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "3"}, "spec": {"taints": taints},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}})
    }

    #[test]
    fn silence_makes_a_node_unknown() {
        let mut memory = Memory::default();
        let (text, next) = plan(node("True", json!([])), &mut memory, "2026-01-01T01:00:00Z");
        assert_eq!(text, "");
        assert_eq!(next, Next::At("2026-01-01T01:00:40Z".parse().expect("a time")));
        let (text, next) = plan(node("True", json!([])), &mut memory, "2026-01-01T01:00:40Z");
        expect![[r#"
            patch Strategic nodes a status {"metadata":{"uid":"u"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T01:00:40Z","message":"Kubelet stopped posting node status.","reason":"NodeStatusUnknown","status":"Unknown","type":"Ready"},{"lastHeartbeatTime":null,"lastTransitionTime":"2026-01-01T01:00:40Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"MemoryPressure"},{"lastHeartbeatTime":null,"lastTransitionTime":"2026-01-01T01:00:40Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"DiskPressure"},{"lastHeartbeatTime":null,"lastTransitionTime":"2026-01-01T01:00:40Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"PIDPressure"}]}}
            event Normal NodeNotReady: Node a status is now: NodeNotReady
        "#]].assert_eq(&text);
        assert_eq!(next, Next::Wait);
    }

    fn tainted(node: Value, expected: Expect) {
        expected.assert_eq(&plan(node, &mut Memory::default(), "2026-01-01T01:00:00Z").0);
    }

    #[test]
    fn conditions_become_taints_and_other_taints_stay() {
        let mine = json!({"key": "mine", "value": "x", "effect": "NoExecute"});
        tainted(
            node("Unknown", json!([mine])),
            expect![[r#"
            merge nodes a  {"metadata":{"resourceVersion":"3","uid":"u"},"spec":{"taints":[{"effect":"NoExecute","key":"mine","value":"x"},{"effect":"NoSchedule","key":"node.kubernetes.io/unreachable","timeAdded":"2026-01-01T01:00:00Z"},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","timeAdded":"2026-01-01T01:00:00Z"}]}}
        "#]],
        );
        let away = json!({"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"});
        tainted(
            node("True", json!([mine, away])),
            expect![[r#"
            merge nodes a  {"metadata":{"resourceVersion":"3","uid":"u"},"spec":{"taints":[{"effect":"NoExecute","key":"mine","value":"x"}]}}
        "#]],
        );
        tainted(
            node("True", json!([away])),
            expect![[r#"
            merge nodes a  {"metadata":{"resourceVersion":"3","uid":"u"},"spec":{"taints":null}}
        "#]],
        );
        let mut cordoned = node("True", json!([]));
        cordoned["spec"]["unschedulable"] = json!(true);
        tainted(
            cordoned,
            expect![[r#"
            merge nodes a  {"metadata":{"resourceVersion":"3","uid":"u"},"spec":{"taints":[{"effect":"NoSchedule","key":"node.kubernetes.io/unschedulable","timeAdded":"2026-01-01T01:00:00Z"}]}}
        "#]],
        );
    }
}
