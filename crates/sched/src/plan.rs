//! The decision for one pod: pure. Nodes are asked by every filter until enough of them will do; those are scored; the
//! best wins, the first of them where several are equal.

use crate::plugins::{Filter, Moved, Nodes, PLUGINS, Refusal, Refusers, Score};
use crate::pod::PodInfo;
use crate::preempt::{self, Promise};
use crate::snapshot::{NodeInfo, Snapshot};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// So many nodes are always asked; of more, a part will do (upstream's percentageOfNodesToScore, by its default).
const ENOUGH_LEAST: usize = 100;
const ENOUGH_PERCENT: (usize, usize) = (5, 50);

/// Where a pod goes, or why nowhere.
#[derive(Debug, Clone)]
pub enum Decision {
    Bind(String),
    Refuse(Refused),
}

/// Why a pod has no node.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Of the event and of the condition.
    pub message: String,
    /// Who refused.
    pub by: Refusers,
    /// Whether it gets one when others have left it.
    pub promise: Promise,
}

/// What all plugins have to say about one pod.
#[derive(Clone)]
pub struct Cycle {
    pod: Arc<PodInfo>,
    /// By the number of their plugin in [`PLUGINS`], and in that order.
    filters: Vec<(usize, Arc<dyn Filter>)>,
}

/// A plugin for which no node will do, by its number, and why.
pub type Never = (usize, String);

/// Asks each plugin for its part, and for the only nodes that can do, if there are such.
pub fn prepare(pod: &Arc<PodInfo>, snapshot: &Snapshot) -> Result<(Cycle, Option<Nodes>), Never> {
    let (mut only, mut filters): (Option<Nodes>, _) = (None, Vec::new());
    for (number, plugin) in PLUGINS.iter().enumerate() {
        let prepared = plugin.prepare(pod, snapshot);
        if let Some(why) = prepared.never {
            return Err((number, why));
        }
        if let Some(nodes) = prepared.nodes {
            let both = |before: Nodes| before.intersection(&nodes).cloned().collect();
            only = Some(only.take().map_or_else(|| nodes.clone(), both));
        }
        filters.extend(prepared.filter.map(|filter| (number, filter)));
    }
    Ok((Cycle { pod: pod.clone(), filters }, only))
}

impl Cycle {
    pub fn pod(&self) -> &Arc<PodInfo> {
        &self.pod
    }

    /// Who refuses the node, and why, if those that wait for room there and matter as much had it; it must do without
    /// them, too, for they may never come.
    pub fn check(&self, snapshot: &Snapshot, info: &NodeInfo) -> Option<(usize, Vec<Refusal>)> {
        let others = snapshot.promised_to(&info.name);
        let others =
            others.filter(|it| it.priority() >= self.pod.priority() && it.key != self.pod.key);
        let others: Vec<Arc<PodInfo>> = others.cloned().collect();
        if others.is_empty() {
            return self.filter(info);
        }
        let (cycle, full) = self.with(snapshot, info, &others, &[]);
        cycle.filter(&full).or_else(|| self.filter(info))
    }

    /// Who refuses the node, and why; `None`: it will do.
    pub fn filter(&self, info: &NodeInfo) -> Option<(usize, Vec<Refusal>)> {
        self.filters.iter().find_map(|(plugin, filter)| {
            let refusals = filter.filter(info);
            (!refusals.is_empty()).then_some((*plugin, refusals))
        })
    }

    /// The cycle and the node as they would be if these pods had come to it and those had left it: pods that wait for
    /// room on the node they were promised, and victims that would make that room.
    pub fn with(
        &self,
        snapshot: &Snapshot,
        info: &NodeInfo,
        came: &[Arc<PodInfo>],
        left: &[Arc<PodInfo>],
    ) -> (Cycle, NodeInfo) {
        let moved = Moved { snapshot, info, came, left };
        let filters = PLUGINS.iter().enumerate().filter_map(|(number, plugin)| {
            let before = self.filters.iter().find(|(at, _)| *at == number);
            let filter = match before {
                Some((_, filter)) => filter.with(&moved).unwrap_or_else(|| filter.clone()),
                None => plugin.join(&self.pod, &moved)?,
            };
            Some((number, filter))
        });
        let cycle = Cycle { pod: self.pod.clone(), filters: filters.collect() };
        let mut info = info.clone();
        left.iter().for_each(|pod| info.remove(&pod.key));
        came.iter().for_each(|pod| info.add(pod.clone()));
        (cycle, info)
    }
}

/// Decides. `start` is the place of the node that is asked first; the answer names the one that the next pod begins
/// with, so that all nodes have their turn.
pub fn plan(pod: &Arc<PodInfo>, snapshot: &Snapshot, start: usize) -> (Decision, usize) {
    let (cycle, only) = match prepare(pod, snapshot) {
        Ok(prepared) => prepared,
        Err(never) => return (nowhere(snapshot, never), start),
    };
    let promised = snapshot.promised(&pod.key).and_then(|name| snapshot.named(name));
    let promised = promised.filter(|it| only.as_ref().is_none_or(|only| only.contains(&it.name)));
    if let Some(info) = promised.filter(|info| cycle.check(snapshot, info).is_none()) {
        return (Decision::Bind(info.name.clone()), start);
    }
    let (all, enough) = (snapshot.places(), enough(snapshot.len()));
    let walk = || (start..all).chain(0..start.min(all)).filter_map(|at| snapshot.at(at));
    let found = match &only {
        Some(nodes) => {
            cycle.search(nodes.iter().filter_map(|name| snapshot.named(name)), enough, snapshot)
        }
        None => cycle.search(walk(), enough, snapshot),
    };
    if let Some(info) = best(pod, &found.fitting, snapshot) {
        let part = only.is_none() && found.fitting.len() == enough;
        let next = found.fitting.last().filter(|_| part).map_or(start, |last| last.place + 1);
        return (Decision::Bind(info.name.clone()), next);
    }
    // Whoever gets no node is told of all.
    let found = if only.is_some() { cycle.search(walk(), enough, snapshot) } else { found };
    (Decision::Refuse(found.refused(&cycle, snapshot, start)), start)
}

/// No node was looked at, for none will do. Upstream's plugin of devices, asked next, finds that it was never prepared:
/// so the message ends.
fn nowhere(snapshot: &Snapshot, (plugin, why): Never) -> Decision {
    let mut by = Refusers::default();
    by.add(plugin);
    let message = match snapshot.len() {
        0 => NO_NODES.into(),
        all => format!("0/{all} nodes are available: {why}. not found"),
    };
    Decision::Refuse(Refused { message, by, promise: Promise::Keep })
}

const NO_NODES: &str = "no nodes available to schedule pods";

/// How many nodes to choose from are enough.
fn enough(nodes: usize) -> usize {
    let (least, most) = ENOUGH_PERCENT;
    let percent = most.saturating_sub(nodes / 125).max(least);
    (nodes * percent / 100).max(ENOUGH_LEAST)
}

/// What a walk over nodes found.
#[derive(Default)]
struct Found<'a> {
    fitting: Vec<&'a NodeInfo>,
    reasons: BTreeMap<Cow<'static, str>, usize>,
    refused: usize,
    /// Of those, the ones that might not if other pods left them.
    may_help: Vec<&'a Arc<NodeInfo>>,
    by: Refusers,
}

impl Cycle {
    fn search<'a>(
        &self,
        nodes: impl Iterator<Item = &'a Arc<NodeInfo>>,
        most: usize,
        snapshot: &Snapshot,
    ) -> Found<'a> {
        let mut found = Found::default();
        for info in nodes {
            match self.check(snapshot, info) {
                Some((plugin, refusals)) => found.refuse(info, plugin, refusals),
                None => found.fitting.push(info),
            }
            if found.fitting.len() == most {
                break;
            }
        }
        found
    }
}

impl<'a> Found<'a> {
    fn refuse(&mut self, info: &'a Arc<NodeInfo>, plugin: usize, refusals: Vec<Refusal>) {
        self.refused += 1;
        if !refusals.iter().any(|refusal| refusal.for_good) {
            self.may_help.push(info);
        }
        self.by.add(plugin);
        for refusal in refusals {
            *self.reasons.entry(refusal.reason).or_default() += 1;
        }
    }

    /// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable. preemption: ...`
    fn refused(self, cycle: &Cycle, snapshot: &Snapshot, start: usize) -> Refused {
        let (nodes, by) = (self.refused, self.by);
        if nodes == 0 {
            return Refused { message: NO_NODES.into(), by, promise: Promise::Keep };
        }
        let promised = snapshot.promised(&cycle.pod.key);
        let promised_for_good =
            promised.is_some_and(|name| self.may_help.iter().all(|info| info.name != name));
        let refused = preempt::Refused { nodes, may_help: self.may_help, promised_for_good };
        let (promise, why) = preempt::preempt(cycle, &refused, snapshot, start);
        let reasons = listed(&self.reasons);
        let message = format!("0/{nodes} nodes are available: {reasons}. preemption: {why}");
        Refused { message, by, promise }
    }
}

/// In the order of the texts, numbers included.
pub fn listed(reasons: &BTreeMap<Cow<'static, str>, usize>) -> String {
    let counted = reasons.iter().filter(|(_, count)| **count > 0);
    let mut texts: Vec<String> = counted.map(|(reason, n)| format!("{n} {reason}")).collect();
    texts.sort_unstable();
    texts.join(", ")
}

fn best<'a>(
    pod: &Arc<PodInfo>,
    fitting: &[&'a NodeInfo],
    snapshot: &Snapshot,
) -> Option<&'a NodeInfo> {
    if fitting.len() < 2 {
        return fitting.first().copied();
    }
    let mut totals = vec![0; fitting.len()];
    let mut scores = Vec::with_capacity(fitting.len());
    let ranks = PLUGINS.iter().filter_map(|plugin| plugin.rank(pod, snapshot));
    ranks.for_each(|rank: Box<dyn Score>| {
        scores.clear();
        scores.extend(fitting.iter().map(|info| rank.score(info)));
        rank.normalize(&mut scores);
        let weight = rank.weight();
        totals.iter_mut().zip(&scores).for_each(|(total, score)| *total += score * weight);
    });
    let most = totals.iter().max()?;
    let at = totals.iter().position(|total| total == most)?;
    Some(fitting[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use skiff_json::{Value, json};
    use std::sync::Arc;

    fn check(nodes: Value, pods: Value, pod: Value, expected: Expect) {
        let mut snapshot = Snapshot::default();
        for node in nodes.as_array().expect("a list") {
            let node: Arc<skiff_kinds::views::Node> =
                skiff_json::from_value(node.clone()).map(Arc::new).expect("a node");
            snapshot.set_node(&node.metadata.name, Some(&node));
        }
        for pod in pods.as_array().expect("a list") {
            let pod = info(pod);
            snapshot.set_pod(&pod.key, Some((&pod, &pod.pod.spec.node_name)));
        }
        expected.assert_eq(&match plan(&info(&pod), &snapshot, 0).0 {
            Decision::Bind(node) => format!("Bind({node:?})"),
            Decision::Refuse(refused) => format!("Refuse({:?})", refused.message),
        });
    }

    fn info(pod: &Value) -> Arc<PodInfo> {
        let pod = skiff_json::from_value(pod.clone()).map(Arc::new).expect("a pod");
        Arc::new(PodInfo::new(pod))
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

    fn snapshot(nodes: &[Value], pods: &[Value]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for node in nodes {
            let node: Arc<skiff_kinds::views::Node> =
                skiff_json::from_value(node.clone()).map(Arc::new).expect("a node");
            snapshot.set_node(&node.metadata.name, Some(&node));
        }
        for pod in pods.iter().map(info) {
            snapshot.set_pod(&pod.key, Some((&pod, &pod.pod.spec.node_name)));
        }
        snapshot
    }

    fn named(name: &str, node: &str, mut pod: Value) -> Value {
        pod["metadata"]["name"] = json!(name);
        pod["spec"]["nodeName"] = json!(node);
        pod
    }

    /// A pod that wants no pod with label a=b in its domain, or wants them even over the domains.
    fn lonely() -> Value {
        let mut pod = pod("0");
        pod["spec"]["affinity"] = json!({"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}]}});
        pod
    }

    fn even() -> Value {
        let mut pod = pod("0");
        pod["spec"]["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": "zone",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"a": "b"}}}]);
        pod
    }

    fn in_zone(name: &str, zone: &str) -> Value {
        let mut node = node(name);
        node["metadata"]["labels"]["zone"] = json!(zone);
        node
    }

    /// What the filters of a cycle say about a node.
    fn says(cycle: &Cycle, info: &NodeInfo) -> String {
        let Some((plugin, refusals)) = cycle.filter(info) else { return "fits".into() };
        format!("{}: {}", PLUGINS[plugin].name(), refusals[0].reason)
    }

    /// As preemption needs it: all victims leave, then one after another may stay; as nominated pods need it: those
    /// that wait for a node count as if they were there.
    #[test]
    fn a_cycle_can_be_asked_what_if() {
        let there: Vec<Value> =
            ["x", "y"].map(|name| named(name, "n1", pod("900m"))).into_iter().collect();
        let snapshot = snapshot(&[node("n1")], &there);
        let node = snapshot.named("n1").expect("it is there").clone();
        let victims: Vec<_> = there.iter().map(info).collect();
        let (cycle, _) = prepare(&info(&pod("1")), &snapshot).expect("some node may do");
        expect!["NodeResourcesFit: Insufficient cpu"].assert_eq(&says(&cycle, &node));
        let (empty, free) = cycle.with(&snapshot, &node, &[], &victims);
        expect!["fits"].assert_eq(&says(&empty, &free));
        let (one, reprieved) = empty.with(&snapshot, &free, &victims[..1], &[]);
        expect!["fits"].assert_eq(&says(&one, &reprieved));
        let (both, full) = one.with(&snapshot, &reprieved, &victims[1..], &[]);
        expect!["NodeResourcesFit: Insufficient cpu"].assert_eq(&says(&both, &full));
        let nominated = info(&named("nominated", "", pod("1500m")));
        let (cycle, promised) = empty.with(&snapshot, &free, &[nominated], &[]);
        expect!["NodeResourcesFit: Insufficient cpu"].assert_eq(&says(&cycle, &promised));
        assert_eq!(snapshot.named("n1").expect("it is there").pods.len(), 2, "nothing happened");
    }

    #[test]
    fn what_if_reaches_the_whole_domain() {
        let nodes = [in_zone("a1", "a"), in_zone("a2", "a"), in_zone("b1", "b")];
        let snapshot = snapshot(&nodes, &[]);
        let at = |name: &str| snapshot.named(name).expect("it is there").clone();
        let other = info(&named("other", "", pod("0")));
        let shy = info(&named("shy", "", lonely()));
        let after = |pod: Value, came: &Arc<PodInfo>| {
            let (cycle, _) = prepare(&info(&pod), &snapshot).expect("some node may do");
            let (cycle, a1) = cycle.with(&snapshot, &at("a1"), std::slice::from_ref(came), &[]);
            let told = [says(&cycle, &a1), says(&cycle, &at("a2")), says(&cycle, &at("b1"))];
            let (undone, a1) = cycle.with(&snapshot, &a1, &[], std::slice::from_ref(came));
            assert_eq!(
                [a1, (*at("a2")).clone()].map(|node| says(&undone, &node)),
                ["fits", "fits"]
            );
            told.join("\n")
        };
        expect![[r#"
            InterPodAffinity: node(s) didn't match pod anti-affinity rules
            InterPodAffinity: node(s) didn't match pod anti-affinity rules
            fits"#]]
        .assert_eq(&after(lonely(), &other));
        // It had no part in the cycle before.
        expect![[r#"
            InterPodAffinity: node(s) didn't satisfy existing pods anti-affinity rules
            InterPodAffinity: node(s) didn't satisfy existing pods anti-affinity rules
            fits"#]]
        .assert_eq(&after(pod("0"), &shy));
        expect![[r#"
            PodTopologySpread: node(s) didn't match pod topology spread constraints
            PodTopologySpread: node(s) didn't match pod topology spread constraints
            fits"#]]
        .assert_eq(&after(even(), &other));
    }

    /// The same answer, whether pods were counted one by one or all at once.
    #[test]
    fn tallies_follow_what_comes_and_goes() {
        let zones = ["a", "b", "c"];
        let names: Vec<String> = (0..6).map(|n| format!("n{n}")).collect();
        let nodes: Vec<Value> =
            names.iter().enumerate().map(|(n, name)| in_zone(name, zones[n % 3])).collect();
        let (mut grown, mut there) = (snapshot(&nodes, &[]), Vec::new());
        for step in 0..40_usize {
            let name = format!("p{}", step * 7 % 12);
            let to = &names[step * 5 % 6];
            let came = named(&name, to, [even(), lonely(), pod("100m")][step % 3].clone());
            there.retain(|other: &Value| other["metadata"]["name"] != json!(name));
            match step % 4 {
                3 => grown.set_pod(&info(&came).key, None),
                _ => {
                    grown.set_pod(&info(&came).key, Some((&info(&came), to)));
                    there.push(came);
                }
            }
            if step % 10 == 9 {
                let moved = in_zone(&names[step % 6], zones[step / 10 % 3]);
                let moved = skiff_json::from_value(moved).map(Arc::new).expect("a node");
                grown.set_node(&names[step % 6], Some(&moved));
            }
            let nodes: Vec<Value> = (0..6)
                .map(|n| {
                    in_zone(&names[n], grown.at(n).expect("there").label("zone").expect("has one"))
                })
                .collect();
            let fresh = snapshot(&nodes, &there);
            for asks in [even(), lonely(), pod("1")] {
                let asks = info(&asks);
                let all = |snapshot: &Snapshot| {
                    let (cycle, _) = prepare(&asks, snapshot).expect("some node may do");
                    let infos = (0..6).filter_map(|place| snapshot.at(place));
                    infos.map(|info| says(&cycle, info)).collect::<Vec<_>>()
                };
                assert_eq!(all(&grown), all(&fresh), "after step {step}");
            }
        }
    }

    #[test]
    fn a_copy_shares_what_did_not_change() {
        let mut snapshot = snapshot(&[node("a"), node("b")], &[]);
        let copy = snapshot.clone();
        let pod = info(&named("p", "a", pod("1")));
        snapshot.set_pod(&pod.key, Some((&pod, "a")));
        let same = |name| {
            let (one, other) = (snapshot.named(name), copy.named(name));
            Arc::ptr_eq(one.expect("it is there"), other.expect("it is there"))
        };
        assert_eq!((same("a"), same("b")), (false, true));
        assert_eq!(copy.named("a").expect("it is there").pods.len(), 0);
    }

    fn bound(decision: Decision) -> String {
        let Decision::Bind(node) = decision else { panic!("it has a place") };
        node
    }

    #[test]
    fn of_many_nodes_a_part_is_asked_and_each_has_its_turn() {
        assert_eq!(
            [0, 99, 100, 1000, 5000, 6000, 100_000].map(enough),
            [100, 100, 100, 420, 500, 300, 5000]
        );
        let nodes: Vec<Value> = (0..1000).map(|n| node(&format!("n{n}"))).collect();
        let snapshot = snapshot(&nodes, &[]);
        let (mut start, mut chosen) = (0, Vec::new());
        for _ in 0..3 {
            let (decision, next) = plan(&info(&pod("1")), &snapshot, start);
            chosen.push(bound(decision));
            start = next;
        }
        assert_eq!((chosen, start), (["n0", "n420", "n840"].map(Into::into).to_vec(), 260));
        // One that names its node looks at no other, and takes nobody's turn.
        let mut fixed = pod("1");
        fixed["spec"]["affinity"] = json!({"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n7"]}]}]}}});
        let (_, only) = prepare(&info(&fixed), &snapshot).expect("some node may do");
        assert_eq!(only, Some(["n7".to_owned()].into()));
        let (decision, next) = plan(&info(&fixed), &snapshot, 9);
        assert_eq!((&*bound(decision), next), ("n7", 9));
        let big = plan(&info(&pod("3")), &snapshot, 500);
        let Decision::Refuse(refused) = big.0 else { panic!("none is big enough") };
        expect![[r#"["NodeResourcesFit"]"#]].assert_eq(&format!("{:?}", refused.by));
        assert!(refused.message.starts_with("0/1000 nodes are available: 1000 Insufficient cpu."));
    }
}
