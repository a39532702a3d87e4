//! Preemption: a pod that finds no room may take that of pods which matter less (API concepts, "Pod Priority and
//! Preemption"). Pure: nodes with the pods that would have to leave go in, the ones that leave come out.
//!
//! On each node all lesser pods leave in thought; then they come back one by one, the most important first and those
//! whose budgets forbid it before all others, as long as the pod still fits. Who cannot come back is a victim.

use crate::plan::Cycle;
use crate::pod::PodInfo;
use crate::snapshot::{NodeInfo, Snapshot};
use skiff_api::selector::Selector;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_kinds::views::PodDisruptionBudget;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// So many candidates are enough to choose from (upstream's minCandidateNodesAbsolute and -Percentage).
const ENOUGH_LEAST: usize = 100;
const ENOUGH_PERCENT: usize = 10;
/// What each pod of a node counts with beside its priority, so that fewer are better.
const EACH: i64 = i32::MAX as i64 + 1;
const NOBODY: &str = "No preemption victims found for incoming pod";
const NO_HELP: &str = "Preemption is not helpful for scheduling";

/// What becomes of the node that a pod was promised.
#[derive(Debug, Clone)]
pub enum Promise {
    /// Whatever it was before.
    Keep,
    None,
    /// This node, when these pods have left it.
    Node(String, Vec<Arc<PodInfo>>),
}

/// A budget of disruptions, parsed once.
#[derive(Debug, Clone)]
pub struct Budget {
    selector: Selector,
    allowed: i32,
    /// Pods that count as gone already.
    disrupted: BTreeSet<String>,
}

pub type Budgets = BTreeMap<Key, Budget>;

impl Budget {
    /// `None`: it covers nothing, or everything, which counts for nothing here.
    pub fn of(budget: &PodDisruptionBudget) -> Option<Budget> {
        let selector = budget.selector().filter(|it| !it.selects_everything())?;
        let disrupted = budget.status.disrupted_pods.keys().cloned().collect();
        Some(Budget { selector, allowed: budget.status.disruptions_allowed, disrupted })
    }
}

/// Why each of the nodes was refused, and which of them another pod's leaving could help.
pub struct Refused<'a> {
    pub nodes: usize,
    pub may_help: Vec<&'a Arc<NodeInfo>>,
    /// The node that was promised would refuse even if all pods left it.
    pub promised_for_good: bool,
}

/// The pods that have to leave, and how many of them their budgets keep.
struct Candidate {
    node: String,
    victims: Vec<Arc<PodInfo>>,
    violations: usize,
}

/// Looks for the node where the least is lost. The text says what came of it, as users read it.
pub fn preempt(
    cycle: &Cycle,
    refused: &Refused<'_>,
    snapshot: &Snapshot,
    start: usize,
) -> (Promise, String) {
    let pod = cycle.pod();
    if pod.pod.spec.preemption_policy == "Never" {
        return (Promise::Keep, "not eligible due to preemptionPolicy=Never.".into());
    }
    if !refused.promised_for_good && victim_is_going(pod, snapshot) {
        let why = "not eligible due to a terminating pod on the nominated node.";
        return (Promise::Keep, why.into());
    }
    let all = &refused.may_help;
    let enough = (all.len() * ENOUGH_PERCENT / 100).max(ENOUGH_LEAST);
    let from = if all.is_empty() { 0 } else { start % all.len() };
    let (mut candidates, mut clean) = (Vec::new(), false);
    let mut reasons: BTreeMap<Cow<'static, str>, usize> = BTreeMap::new();
    for info in all[from..].iter().chain(&all[..from]) {
        match on_node(cycle, info, snapshot) {
            Ok(candidate) => {
                clean |= candidate.violations == 0;
                candidates.push(candidate);
            }
            Err(why) => {
                why.into_iter().for_each(|reason| *reasons.entry(reason).or_default() += 1);
            }
        }
        if clean && candidates.len() >= enough {
            break;
        }
    }
    match candidates.into_iter().min_by_key(loss) {
        Some(Candidate { node, victims, .. }) => {
            let (many, head) = (victims.len(), "found a potential placement for pod on node");
            let text = format!("{head} {node}, preempting {many} victims");
            (Promise::Node(node, victims), text)
        }
        None => {
            let nodes = refused.nodes;
            *reasons.entry(NO_HELP.into()).or_default() += nodes - all.len();
            let why = crate::plan::listed(&reasons);
            (Promise::None, format!("0/{nodes} nodes are available: {why}."))
        }
    }
}

/// Whether the room that it was promised is being made.
fn victim_is_going(pod: &PodInfo, snapshot: &Snapshot) -> bool {
    let Some(node) = snapshot.promised(&pod.key).and_then(|name| snapshot.named(name)) else {
        return false;
    };
    let going = |other: &Arc<PodInfo>| {
        let target = other.pod.status.condition("DisruptionTarget");
        other.priority() < pod.priority()
            && other.pod.metadata.deleting()
            && target.is_some_and(|it| it.status == "True" && it.reason == "PreemptionByScheduler")
    };
    node.pods.iter().any(going)
}

/// Those that have to leave a node, or why that would not help.
fn on_node(
    cycle: &Cycle,
    info: &Arc<NodeInfo>,
    snapshot: &Snapshot,
) -> Result<Candidate, Vec<Cow<'static, str>>> {
    let pod = cycle.pod();
    let lesser = info.pods.iter().filter(|other| other.priority() < pod.priority());
    let mut lesser: Vec<Arc<PodInfo>> = lesser.cloned().collect();
    if lesser.is_empty() {
        return Err(vec![NOBODY.into()]);
    }
    let (mut cycle, mut info) = cycle.with(snapshot, info, &[], &lesser);
    if let Some((_, refusals)) = cycle.check(snapshot, &info) {
        return Err(refusals.into_iter().map(|it| it.reason).collect());
    }
    lesser.sort_by_key(importance);
    let (kept, free) = by_budget(lesser, &snapshot.budgets);
    let both = !kept.is_empty() && !free.is_empty();
    let (many_kept, mut violations, mut victims) = (kept.len(), 0, Vec::new());
    for (at, other) in kept.into_iter().chain(free).enumerate() {
        let back = cycle.with(snapshot, &info, std::slice::from_ref(&other), &[]);
        if back.0.check(snapshot, &back.1).is_none() {
            (cycle, info) = back;
            continue;
        }
        violations += usize::from(at < many_kept);
        victims.push(other);
    }
    if both {
        victims.sort_by_key(importance);
    }
    Ok(Candidate { node: info.name, victims, violations })
}

/// The most important first; of equals, the one that runs for longest. One that does not run yet is the youngest.
fn importance(pod: &Arc<PodInfo>) -> (Reverse<i32>, Time) {
    (Reverse(pod.priority()), pod.pod.status.start_time.unwrap_or(Time::MAX))
}

/// Those whose leaving a budget forbids, and the others, each in the order in which they came.
fn by_budget(pods: Vec<Arc<PodInfo>>, budgets: &Budgets) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut left: BTreeMap<&Key, i32> = BTreeMap::new();
    pods.into_iter().partition(|pod| {
        let meta = &pod.pod.metadata;
        if meta.labels.is_empty() {
            return false;
        }
        let own = budgets.range(Key::new(&meta.namespace, "")..);
        let own = own.take_while(|(key, _)| key.namespace == meta.namespace);
        let covers = |budget: &Budget| {
            budget.selector.matches(|label| meta.labels.get(label).map(String::as_str))
                && !budget.disrupted.contains(&meta.name)
        };
        own.filter(|(_, budget)| covers(budget)).any(|(key, budget)| {
            let left = left.entry(key).or_insert(budget.allowed);
            *left -= 1;
            *left < 0
        })
    })
}

/// What is lost on a node, the least first: broken budgets, the highest priority, their sum, how many, and how long
/// the most important of them ran.
fn loss(candidate: &Candidate) -> (usize, i32, i64, usize, Reverse<Time>) {
    let victims = &candidate.victims;
    let highest = victims.iter().map(|it| it.priority()).max().unwrap_or(i32::MIN);
    let sum = victims.iter().map(|it| i64::from(it.priority()) + EACH).sum();
    let first = victims.iter().filter(|it| it.priority() == highest);
    let first = first.filter_map(|it| it.pod.status.start_time).min().unwrap_or(Time::MAX);
    (candidate.violations, highest, sum, victims.len(), Reverse(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Decision, plan};
    use expect_test::{Expect, expect};
    use skiff_json::{Value, json};

    fn view<V: serde::de::DeserializeOwned>(value: Value) -> Arc<V> {
        Arc::new(skiff_json::from_value(value).expect("a valid view"))
    }

    fn info(pod: Value) -> Arc<PodInfo> {
        Arc::new(PodInfo::new(view(pod)))
    }

    fn pod(name: &str, node: &str, cpu: &str, priority: i32, start: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"name": name}},
            "spec": {"priority": priority, "nodeName": node,
                "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
            "status": {"startTime": format!("2026-01-01T0{start}:00:00Z")}})
    }

    fn snapshot(nodes: &[&str], pods: Vec<Value>) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for name in nodes {
            let node = view(json!({"metadata": {"name": name},
                "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "10"}}}));
            snapshot.set_node(name, Some(&node));
        }
        for pod in pods.into_iter().map(info) {
            snapshot.set_pod(&pod.key, Some((&pod, &pod.pod.spec.node_name)));
        }
        snapshot
    }

    fn budget(snapshot: &mut Snapshot, of: &str, allowed: i32) {
        let budget: Arc<PodDisruptionBudget> = view(json!({
            "metadata": {"name": of, "namespace": "n"},
            "spec": {"selector": {"matchLabels": {"name": of}}},
            "status": {"disruptionsAllowed": allowed}}));
        snapshot.set_budget(&Key::new("n", of), Some(&budget));
    }

    fn check(snapshot: &Snapshot, cpu: &str, expected: Expect) {
        let mut asks = pod("high", "", cpu, 10, "9");
        asks["status"] = json!({});
        let said = match plan(&info(asks), snapshot, 0).0 {
            Decision::Bind(node) => format!("to {node}"),
            Decision::Refuse(refused) => match refused.promise {
                Promise::Node(node, victims) => {
                    let names: Vec<_> = victims.iter().map(|it| &*it.key.name).collect();
                    format!("{node}: {}", names.join(" "))
                }
                _ => refused.message,
            },
        };
        expected.assert_eq(&said);
    }

    #[test]
    fn only_who_has_to_leave_leaves() {
        let there = vec![
            pod("big", "a", "1", 3, "1"),
            pod("old", "a", "500m", 1, "1"),
            pod("young", "a", "500m", 1, "2"),
        ];
        check(&snapshot(&["a"], there.clone()), "500m", expect!["a: young"]);
        check(&snapshot(&["a"], there.clone()), "1", expect!["a: old young"]);
        check(&snapshot(&["a"], there), "2", expect!["a: big old young"]);
    }

    #[test]
    fn the_node_where_least_is_lost() {
        let two = |a: Value, b: Value| snapshot(&["a", "b"], vec![a, b]);
        let low = two(pod("x", "a", "2", 5, "1"), pod("y", "b", "2", 4, "1"));
        check(&low, "1", expect!["b: y"]);
        let young = two(pod("x", "a", "2", 5, "1"), pod("y", "b", "2", 5, "2"));
        check(&young, "1", expect!["b: y"]);
        let mut few = two(pod("x", "a", "2", 5, "1"), pod("y", "b", "1", 5, "2"));
        let more = info(pod("z", "b", "1", 5, "3"));
        few.set_pod(&more.key, Some((&more, "b")));
        check(&few, "2", expect!["a: x"]);
    }

    #[test]
    fn budgets_are_kept_where_that_can_be() {
        let mut it =
            snapshot(&["a", "b"], vec![pod("x", "a", "2", 1, "1"), pod("y", "b", "2", 5, "1")]);
        budget(&mut it, "x", 0);
        check(&it, "1", expect!["b: y"]);
        budget(&mut it, "x", 1);
        check(&it, "1", expect!["a: x"]);
        // On one node, who has no budget goes first, whatever matters more.
        let mut one =
            snapshot(&["a"], vec![pod("x", "a", "1", 1, "1"), pod("y", "a", "1", 5, "1")]);
        budget(&mut one, "x", 0);
        check(&one, "1", expect!["a: y"]);
        budget(&mut one, "y", 0);
        check(&one, "1", expect!["a: x"]);
    }

    #[test]
    fn nobody_of_the_same_priority_goes_and_what_does_not_help_is_told() {
        let same = snapshot(&["a"], vec![pod("x", "a", "2", 10, "1")]);
        check(
            &same,
            "1",
            expect![
                "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
            ],
        );
        let partly = snapshot(
            &["a", "b"],
            vec![
                pod("x", "a", "1", 10, "1"),
                pod("y", "a", "1", 1, "1"),
                pod("z", "b", "1", 20, "1"),
            ],
        );
        check(
            &partly,
            "2",
            expect![
                "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 1 Insufficient cpu, 1 No preemption victims found for incoming pod."
            ],
        );
    }

    #[test]
    fn what_was_promised_is_kept_from_lesser_pods() {
        let mut it = snapshot(&["a"], vec![]);
        let promised = info(pod("promised", "", "1500m", 20, "1"));
        it.promise(&promised, Some("a"));
        check(
            &it,
            "1",
            expect![
                "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
            ],
        );
        let lesser = info(pod("promised", "", "1500m", 5, "1"));
        it.promise(&lesser, Some("a"));
        check(&it, "1", expect!["to a"]);
        it.promise(&lesser, None);
        check(&it, "2", expect!["to a"]);
    }

    #[test]
    fn who_waits_for_its_victims_takes_no_more() {
        let mut victim = pod("x", "a", "2", 1, "1");
        victim["metadata"]["deletionTimestamp"] = json!("2026-01-01T02:00:00Z");
        victim["status"]["conditions"] = json!([{"type": "DisruptionTarget", "status": "True",
            "reason": "PreemptionByScheduler"}]);
        let mut it = snapshot(&["a", "b"], vec![victim, pod("y", "b", "2", 1, "1")]);
        it.promise(&info(pod("high", "", "1", 10, "9")), Some("a"));
        check(
            &it,
            "1",
            expect![
                "0/2 nodes are available: 2 Insufficient cpu. preemption: not eligible due to a terminating pod on the nominated node."
            ],
        );
        // With the room made, it goes where it was promised, however full or empty others are.
        it.set_pod(&Key::new("n", "x"), None);
        it.set_pod(&Key::new("n", "y"), None);
        check(&it, "1", expect!["to a"]);
    }

    #[test]
    fn of_a_thousand_nodes_a_part_is_tried() {
        let names: Vec<String> = (0..1000).map(|n| format!("n{n}")).collect();
        let nodes: Vec<&str> = names.iter().map(String::as_str).collect();
        let pods = names.iter().map(|node| pod(&format!("on-{node}"), node, "2", 1, "1"));
        check(&snapshot(&nodes, pods.collect()), "1", expect!["n0: on-n0"]);
    }
}
