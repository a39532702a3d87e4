//! The decision for one pod: pure. Every node is asked by every filter; those that are left are
//! scored; the best wins, the first by name where several are equal.

use crate::filters::{FILTERS, Refusal};
use crate::scores::{SCORES, normalize};
use crate::state::{NodeInfo, State};
use skiff_kinds::views::Pod;
use std::collections::BTreeMap;

/// Where a pod goes, or why nowhere.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    Bind(String),
    /// The message of the event and of the condition.
    Refuse(String),
}

/// Decides.
pub fn plan(pod: &Pod, state: &State) -> Decision {
    let mut fitting: Vec<&NodeInfo> = Vec::new();
    let mut refused: Vec<Vec<Refusal>> = Vec::new();
    for info in state.known() {
        let refusal = FILTERS.iter().map(|filter| filter(pod, info, state));
        match refusal.into_iter().find(|refusals| !refusals.is_empty()) {
            Some(refusals) => refused.push(refusals),
            None => fitting.push(info),
        }
    }
    match best(pod, &fitting, state) {
        Some(info) => Decision::Bind(info.node.metadata.name.clone()),
        None => Decision::Refuse(message(pod, &refused)),
    }
}

fn best<'a>(pod: &Pod, fitting: &[&'a NodeInfo], state: &State) -> Option<&'a NodeInfo> {
    if fitting.len() < 2 {
        return fitting.first().copied();
    }
    let mut totals = vec![0; fitting.len()];
    for weighed in SCORES {
        let mut raw: Vec<i64> =
            fitting.iter().map(|info| (weighed.score)(pod, info, state)).collect();
        normalize(&mut raw, weighed.relative);
        for (total, value) in totals.iter_mut().zip(raw) {
            *total += value * weighed.weight;
        }
    }
    let most = totals.iter().max()?;
    let at = totals.iter().position(|total| total == most)?;
    Some(fitting[at])
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable. preemption: ...`
fn message(pod: &Pod, refused: &[Vec<Refusal>]) -> String {
    if refused.is_empty() {
        return "no nodes available to schedule pods".into();
    }
    let reasons = refused.iter().flatten().map(|refusal| &*refusal.reason);
    let head = format!("0/{} nodes are available: {}.", refused.len(), counted(reasons));
    if pod.spec.preemption_policy == "Never" {
        return format!("{head} preemption: not eligible due to preemptionPolicy=Never.");
    }
    let helpless = |refusals: &Vec<Refusal>| refusals.iter().any(|refusal| refusal.for_good);
    let why = refused.iter().map(|refusals| match helpless(refusals) {
        true => "Preemption is not helpful for scheduling",
        false => "No preemption victims found for incoming pod",
    });
    format!("{head} preemption: 0/{} nodes are available: {}.", refused.len(), counted(why))
}

fn counted<'a>(reasons: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut texts: Vec<String> = counts.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    texts.sort_unstable();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn check(nodes: Value, pods: Value, pod: Value, expected: Expect) {
        let mut state = State::default();
        for node in nodes.as_array().expect("a list") {
            let node: Arc<skiff_kinds::views::Node> =
                serde_json::from_value(node.clone()).map(Arc::new).expect("a node");
            state.set_node(&node.metadata.name, Some(&node));
        }
        for pod in pods.as_array().expect("a list") {
            let pod: Arc<Pod> = serde_json::from_value(pod.clone()).map(Arc::new).expect("a pod");
            state.set_pod(&pod.metadata.key(), Some(&pod), &pod.spec.node_name);
        }
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        expected.assert_eq(&format!("{:?}", plan(&pod, &state)));
    }

    fn node(name: &str) -> Value {
        json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "10"}}})
    }

    fn pod(cpu: &str) -> Value {
        json!({"metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i",
                "resources": {"requests": {"cpu": cpu}}}]}})
    }

    #[test]
    fn resources_decide() {
        check(json!([node("a")]), json!([]), pod("1"), expect![[r#"Bind("a")"#]]);
        check(
            json!([]),
            json!([]),
            pod("1"),
            expect![[r#"Refuse("no nodes available to schedule pods")"#]],
        );
        check(
            json!([node("a")]),
            json!([]),
            pod("3"),
            expect![[
                r#"Refuse("0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.")"#
            ]],
        );
        let mut there = pod("1500m");
        there["metadata"]["name"] = json!("there");
        there["spec"]["nodeName"] = json!("a");
        check(json!([node("a"), node("b")]), json!([there]), pod("1"), expect![[r#"Bind("b")"#]]);
        check(
            json!([node("a")]),
            json!([there]),
            pod("1"),
            expect![[
                r#"Refuse("0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.")"#
            ]],
        );
    }

    /// Pods that name their node themselves may ask for anything, together for more than 64 bits.
    #[test]
    fn sums_do_not_wrap() {
        let huge = |name: &str| {
            let mut pod = pod("9223372036854775");
            pod["metadata"]["name"] = json!(name);
            pod["spec"]["nodeName"] = json!("a");
            pod["spec"]["containers"][0]["resources"]["requests"]["memory"] = json!("8E");
            pod
        };
        check(
            json!([node("a"), node("b")]),
            json!([huge("x"), huge("y"), huge("z")]),
            pod("1"),
            expect![[r#"Bind("b")"#]],
        );
    }

    #[test]
    fn taints_selectors_and_affinity_decide() {
        let mut tainted = node("a");
        tainted["spec"] = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
        let mut cordoned = node("b");
        cordoned["spec"] = json!({"unschedulable": true});
        check(
            json!([tainted, cordoned]),
            json!([]),
            pod("1"),
            expect![[
                r#"Refuse("0/2 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.")"#
            ]],
        );
        let mut far = pod("0");
        far["spec"]["affinity"] = json!({"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}]}});
        let mut there = pod("0");
        there["metadata"]["name"] = json!("there");
        there["spec"]["nodeName"] = json!("a");
        check(
            json!([node("a"), node("c")]),
            json!([there]),
            far.clone(),
            expect![[r#"Bind("c")"#]],
        );
        check(
            json!([node("a")]),
            json!([there]),
            far,
            expect![[
                r#"Refuse("0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.")"#
            ]],
        );
    }
}
