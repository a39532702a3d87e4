//! PodDisruptionBudget: how many of its pods are healthy, how many have to be, and so how many may be disturbed now.
//!
//! Invariant: what evictions wrote into the status of a budget is never lost: a status is written over the very
//! revision that it was reckoned from.

mod scale;
pub mod stale;
#[cfg(test)]
mod tests;

use crate::changes::Note;
use crate::parts::conditions::{self, condition};
use crate::parts::status::this_revision;
use crate::parts::words;
use crate::{Changes, Context, Loop, Next, On};
use scale::Expected;
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_json::{Value, json};
use skiff_kinds::views::budget::{BudgetSpec, BudgetStatus};
use skiff_kinds::views::workloads::{Amount, Rounding};
use skiff_kinds::views::{Deployment, Pod, PodDisruptionBudget, ReplicaSet, ReplicationController};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// So long a pod whose eviction was allowed may take until it is seen to go; then it counts as there again.
const DELETION: Duration = Duration::from_secs(120);
const ALLOWED: &str = "DisruptionAllowed";

/// Key: a PodDisruptionBudget.
pub struct Budgets;

pub struct Seen {
    budget: Arc<PodDisruptionBudget>,
    pods: Vec<Arc<Pod>>,
    expected: Result<Expected, String>,
    /// Its pods that another budget covers too, where this one comes first.
    shared: Vec<Arc<Pod>>,
}

/// The shared pods that users were told of.
#[derive(Debug, Default)]
pub struct Memory {
    told: HashSet<String>,
}

impl Loop for Budgets {
    const NAME: &'static str = "disruption-controller";
    const SOURCE: &'static str = "controllermanager";
    type Seen = Seen;
    type Memory = Memory;

    fn on(on: &mut On) {
        on.own::<PodDisruptionBudget>();
        on.selected_by::<PodDisruptionBudget, Pod>();
        on.reads::<ReplicaSet>();
        on.reads::<ReplicationController>();
        on.reads::<Deployment>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let budgets = cx.caches.of::<PodDisruptionBudget>();
        let Some(budget) = budgets.get(key) else { return Ok(None) };
        let selector = budget.selector();
        let select = |selector| cx.caches.of::<Pod>().select(&key.namespace, selector);
        let pods = selector.as_ref().map_or_else(Vec::new, select);
        let expected = scale::expected(cx, &budget.spec, &pods).await;
        let first = |pod: &&Arc<Pod>| {
            let covering = budgets.selecting(&pod.metadata);
            covering.len() > 1 && covering[0].metadata.name == budget.metadata.name
        };
        let shared = pods.iter().filter(first).cloned().collect();
        Ok(Some(Seen { budget, pods, expected, shared }))
    }

    fn plan(seen: &Seen, memory: &mut Memory, now: Time, out: &mut Changes) -> Next {
        let Seen { budget, pods, .. } = seen;
        tell_shared(seen, memory, out);
        if pods.is_empty() {
            out.event(Note::of(&**budget, "Normal", "NoPods", "No matching pods found"));
        }
        let expected = match &seen.expected {
            Ok(expected) => expected,
            Err(why) => {
                let message = format!("Failed to calculate the number of expected pods: {why}");
                out.event(Note::of(
                    &**budget,
                    "Warning",
                    "CalculateExpectedPodCountFailed",
                    message,
                ));
                write(budget, failed(&budget.status, why, now), out);
                return Next::Wait;
            }
        };
        if expected.unmanaged {
            let selector = words::selector(budget.spec.selector.as_ref().map(|it| &it.0));
            let message = format!(
                "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a \
                 result, the status of the PDB cannot be calculated correctly, which may result in undefined \
                 behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an \
                 integer value."
            );
            out.event(Note::of(&**budget, "Warning", "UnmanagedPods", message));
        }
        let disrupted = disrupted(seen, now, out);
        let recheck = disrupted.values().min().map(|at| *at + DELETION);
        write(budget, counted(seen, expected.count, disrupted, now), out);
        recheck.map_or(Next::Wait, Next::At)
    }
}

fn tell_shared(seen: &Seen, memory: &mut Memory, out: &mut Changes) {
    let uids = seen.shared.iter().map(|pod| pod.metadata.uid.clone()).collect();
    let told = std::mem::replace(&mut memory.told, uids);
    for pod in seen.shared.iter().filter(|pod| !told.contains(&pod.metadata.uid)) {
        let (meta, chosen) = (&pod.metadata, &seen.budget.metadata.name);
        let message = format!(
            "Pod {:?}/{:?} matches multiple PodDisruptionBudgets.  Chose {chosen:?} arbitrarily.",
            meta.namespace, meta.name
        );
        out.event(Note::of(&**pod, "Warning", "MultiplePodDisruptionBudgets", message));
    }
}

/// How many have to be healthy.
fn desired(spec: &BudgetSpec, expected: i32) -> i32 {
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => expected.saturating_sub(most.of(expected, Rounding::Up)).max(0),
        (None, Some(Amount::Number(least))) => *least,
        (None, Some(share)) => share.of(expected, Rounding::Up),
        (None, None) => 0,
    }
}

/// Of the pods whose eviction was allowed, those that are still to be seen to go.
fn disrupted(seen: &Seen, now: Time, out: &mut Changes) -> BTreeMap<String, Time> {
    let meta = &seen.budget.metadata;
    let mut still = BTreeMap::new();
    for pod in seen.pods.iter().filter(|pod| !pod.metadata.deleting()) {
        let name = &pod.metadata.name;
        let Some(at) = seen.budget.status.disrupted_pods.get(name) else { continue };
        if *at + DELETION >= now {
            still.insert(name.clone(), *at);
            continue;
        }
        // The namespace stands where the name should, in upstream's words.
        let namespace = &meta.namespace;
        let message =
            format!("Pod was expected by PDB {namespace}/{namespace} to be deleted but it wasn't");
        out.event(Note::of(&**pod, "Warning", "NotDeleted", message));
    }
    still
}

fn counted(
    seen: &Seen,
    expected: i32,
    disrupted: BTreeMap<String, Time>,
    now: Time,
) -> BudgetStatus {
    let counts = |pod: &&Arc<Pod>| {
        !pod.metadata.deleting() && !disrupted.contains_key(&pod.metadata.name) && pod.ready()
    };
    let healthy = seen.pods.iter().filter(counts).count();
    let current_healthy = i32::try_from(healthy).unwrap_or(i32::MAX);
    let desired_healthy = desired(&seen.budget.spec, expected);
    let allowed = if expected <= 0 { 0 } else { current_healthy.saturating_sub(desired_healthy) };
    let mut status = BudgetStatus {
        observed_generation: seen.budget.metadata.generation,
        disrupted_pods: disrupted,
        disruptions_allowed: allowed.max(0),
        current_healthy,
        desired_healthy,
        expected_pods: expected,
        conditions: seen.budget.status.conditions.clone(),
    };
    let (says, reason) = match status.disruptions_allowed {
        0 => ("False", "InsufficientPods"),
        _ => ("True", "SufficientPods"),
    };
    allow(&mut status, says, reason, "", now);
    status
}

/// While nobody knows how many pods there should be, none may be disturbed.
fn failed(before: &BudgetStatus, why: &str, now: Time) -> BudgetStatus {
    let mut status = BudgetStatus { disruptions_allowed: 0, ..before.clone() };
    allow(&mut status, "False", "SyncFailed", why, now);
    status
}

fn allow(status: &mut BudgetStatus, says: &str, reason: &str, message: &str, now: Time) {
    let mut says = condition(ALLOWED, says, reason, message, now);
    says.observed_generation = Some(status.observed_generation).filter(|number| *number != 0);
    conditions::set(&mut status.conditions, says);
}

fn write(budget: &PodDisruptionBudget, after: BudgetStatus, out: &mut Changes) {
    let before = &budget.status;
    if *before == after {
        return;
    }
    let mut status = skiff_json::to_value(&after).expect("a status has names for keys");
    for name in before.disrupted_pods.keys().filter(|it| !after.disrupted_pods.contains_key(*it)) {
        status["disruptedPods"][name] = Value::Null;
    }
    let body = json!({"metadata": this_revision(&budget.metadata), "status": status});
    out.status(PodDisruptionBudget::RESOURCE, budget.metadata.key(), body);
}
