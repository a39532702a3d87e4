//! HorizontalPodAutoscaler: looks at metrics every 15 seconds and sets how many replicas something has.
//!
//! Invariants: what it scales is scaled through its `scale` alone; one period brings one decision; without a metric
//! nothing is scaled down.

mod metrics;
mod pace;
mod proposal;
mod target;
#[cfg(test)]
mod tests;
mod usage;

use crate::changes::{Note, Tell, about};
use crate::parts::conditions::{self, condition, whole_seconds};
use crate::parts::status::{this, write};
use crate::{Change, Changes, Context, Loop, Next, On};
use metrics::Reading;
use proposal::{Failure, Proposal};
use skiff_api::Status;
use skiff_api::selector::Selector;
use skiff_api::view::Key;
use skiff_base::Time;
use skiff_json::{Value, json};
use skiff_kinds::views::autoscaler::{AutoscalerStatus, HorizontalPodAutoscaler as Hpa};
use skiff_kinds::views::{Pod, ReplicaSet};
use std::sync::Arc;
use std::time::Duration;
use target::Target;

/// Between two looks (upstream's horizontalPodAutoscalerSyncPeriod).
const PERIOD: Duration = Duration::from_secs(15);

/// Key: a HorizontalPodAutoscaler.
pub struct Autoscaler;

pub struct Seen {
    hpa: Arc<Hpa>,
    target: Result<Target, String>,
    pods: Vec<Arc<Pod>>,
    /// What each metric says, if metrics decide.
    readings: Vec<Result<Reading, String>>,
    /// All autoscalers of these pods, when there are several.
    rivals: Vec<Key>,
}

/// What was recommended and done lately.
#[derive(Debug, Default)]
pub struct Memory {
    recommended: Vec<(i32, Time)>,
    /// By how much it was scaled up, and down, and when.
    ups: Vec<(i32, Time)>,
    downs: Vec<(i32, Time)>,
    /// Why the scale could not be set when it was last tried.
    failure: Option<String>,
}

/// What decides over the number of replicas.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// Somebody else set it to zero.
    Off,
    Most,
    Least,
    Metrics,
}

impl Loop for Autoscaler {
    const NAME: &'static str = "horizontal-pod-autoscaler";
    type Seen = Seen;
    type Memory = Memory;

    fn on(on: &mut On) {
        // Its own status is no reason to look again before the time.
        on.own_if::<Hpa>(|old, new| match (old, new) {
            (Some(old), Some(new)) => old.metadata.generation != new.metadata.generation,
            _ => true,
        });
        on.reads::<Pod>();
        on.reads::<ReplicaSet>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Seen>, Status> {
        let Some(hpa) = cx.caches.of::<Hpa>().get(key) else { return Ok(None) };
        let target = target::find(cx, &hpa).await;
        let mut seen =
            Seen { hpa, target, pods: Vec::new(), readings: Vec::new(), rivals: Vec::new() };
        let Ok(target) = &seen.target else { return Ok(Some(seen)) };
        let Ok(selector) = target.selector() else { return Ok(Some(seen)) };
        if way(&seen.hpa, target.wanted) == Way::Metrics {
            seen.pods = cx.caches.of::<Pod>().select(&key.namespace, &selector);
            seen.rivals = target::rivals(cx, &seen.hpa, &seen.pods);
            for metric in &seen.hpa.spec.metrics {
                seen.readings
                    .push(metrics::read(cx, &key.namespace, metric, &target.selector).await);
            }
        }
        Ok(Some(seen))
    }

    fn failed(memory: &mut Memory, change: &Change, why: &Status) {
        if matches!(change, Change::Told(..)) {
            memory.failure = Some(why.message.clone());
        }
    }

    fn plan(seen: &Seen, memory: &mut Memory, now: Time, out: &mut Changes) -> Next {
        let status = seen.hpa.status.clone();
        let mut draft = Draft { hpa: &seen.hpa, status, now, out };
        match &seen.target {
            Ok(target) => draft.decide(seen, target, memory),
            Err(why) => {
                draft.warn("FailedGetScale", why);
                let message = format!(
                    "the HPA controller was unable to get the target's current scale: {why}"
                );
                draft.says("AbleToScale", "False", "FailedGetScale", message);
                draft.write();
            }
        }
        Next::At(now + PERIOD)
    }
}

/// Where the number stands decides first, and metrics only between the bounds.
fn way(hpa: &Hpa, current: i32) -> Way {
    let least = hpa.spec.min_replicas.unwrap_or(1);
    let to_zero = conditions::find(&hpa.status.conditions, "ScaledToZero");
    let to_zero = to_zero.is_some_and(|it| it.status == "True");
    match current {
        0 if to_zero && (least != 0 || counts_elsewhere(hpa)) => Way::Metrics,
        0 => Way::Off,
        current if current > hpa.spec.max_replicas => Way::Most,
        current if current < least => Way::Least,
        _ => Way::Metrics,
    }
}

/// Whether a metric tells of work while there is no pod.
fn counts_elsewhere(hpa: &Hpa) -> bool {
    hpa.spec.metrics.iter().any(|it| matches!(&*it.type_, "Object" | "External"))
}

/// A status that is being made, and what is done with it.
struct Draft<'a> {
    hpa: &'a Hpa,
    status: AutoscalerStatus,
    now: Time,
    out: &'a mut Changes,
}

/// What came of looking: how many replicas, why, and what the metrics said.
struct Wanted {
    replicas: i32,
    reason: String,
    metrics: Vec<Value>,
}

impl Draft<'_> {
    fn says(&mut self, type_: &str, status: &str, reason: &str, message: impl Into<String>) {
        let condition = condition(type_, status, reason, message, self.now);
        conditions::set(&mut self.status.conditions, condition);
    }

    fn warn(&mut self, reason: &str, message: &str) {
        self.out.event(Note::of(self.hpa, "Warning", reason, message));
    }

    fn write(&mut self) {
        let states = (&self.hpa.status, &self.status);
        write(self.hpa, this(&self.hpa.metadata), states, self.out);
    }

    fn counts(&mut self, current: i32, desired: i32, metrics: Vec<Value>) {
        self.status.observed_generation = Some(self.hpa.metadata.generation);
        (self.status.current_replicas, self.status.desired_replicas) = (current, desired);
        self.status.current_metrics = metrics;
    }

    fn decide(mut self, seen: &Seen, target: &Target, memory: &mut Memory) {
        let (current, least) = (target.wanted, self.hpa.spec.min_replicas.unwrap_or(1));
        let message = "the HPA controller was able to get the target's current scale";
        self.says("AbleToScale", "True", "SucceededGetScale", message);
        if memory.recommended.is_empty() {
            memory.recommended.push((current, self.now));
        }
        let of_bounds = |replicas, reason: &str| Wanted {
            replicas,
            reason: reason.into(),
            metrics: Vec::new(),
        };
        let wanted = match way(self.hpa, current) {
            Way::Off => {
                let why = "scaling is disabled since the replica count of the target is zero";
                self.says("ScalingActive", "False", "ScalingDisabled", why);
                of_bounds(0, "")
            }
            Way::Most => of_bounds(
                self.hpa.spec.max_replicas,
                "Current number of replicas above Spec.MaxReplicas",
            ),
            Way::Least => of_bounds(least, "Current number of replicas below Spec.MinReplicas"),
            Way::Metrics => match self.by_metrics(seen, target, memory) {
                Ok(wanted) => wanted,
                Err((why, metrics)) => {
                    self.counts(current, self.status.desired_replicas, metrics);
                    self.write();
                    let note = Note::of(self.hpa, "Warning", "FailedComputeMetricsReplicas", why);
                    return self.out.event(note);
                }
            },
        };
        match wanted.replicas == current {
            true => self.counts(current, current, wanted.metrics),
            false => self.scale(target, wanted, memory),
        }
        self.write();
    }

    fn scale(&mut self, target: &Target, wanted: Wanted, memory: &mut Memory) {
        let (current, replicas) = (target.wanted, wanted.replicas);
        if let Some(why) = memory.failure.take() {
            let message =
                format!("the HPA controller was unable to update the target scale: {why}");
            self.says("AbleToScale", "False", "FailedUpdateScale", message);
            return self.counts(current, self.status.desired_replicas, wanted.metrics);
        }
        let size = format!("New size: {replicas}; reason: {}", wanted.reason);
        let tell = Tell {
            about: about(self.hpa),
            failed: ("FailedRescale", format!("{size}; error: {{error}}")),
            done: ("SuccessfulRescale", size),
        };
        // Whatever happened to the object meanwhile: this is the number that it gets.
        let body = json!({"metadata": {"resourceVersion": null}, "spec": {"replicas": replicas}});
        let key = Key::new(&self.hpa.metadata.namespace, &self.hpa.spec.scale_target_ref.name);
        let resource = target.resource;
        let change = Change::Merge { resource, key, subresource: "scale", body };
        self.out.push(Change::Told(Box::new(change), tell));
        let message =
            format!("the HPA controller was able to update the target scale to {replicas}");
        self.says("AbleToScale", "True", "SucceededRescale", message);
        if self.hpa.spec.behavior.is_some() {
            pace::remember(memory, current, replicas, self.now);
        }
        let least = self.hpa.spec.min_replicas.unwrap_or(1);
        match replicas == 0 && least == 0 && counts_elsewhere(self.hpa) {
            true => {
                let why = "the HPA controller scaled the workload to zero";
                self.says("ScaledToZero", "True", "ScaledToZero", why);
            }
            false => {
                let why = "the HPA controller did not scale the workload to zero";
                self.says("ScaledToZero", "False", "NotScaledToZero", why);
            }
        }
        self.counts(current, replicas, wanted.metrics);
        self.status.last_scale_time = Some(whole_seconds(self.now));
    }

    /// The number that the metrics ask for, at the pace that is allowed; or why none does, with what they said.
    fn by_metrics(
        &mut self,
        seen: &Seen,
        target: &Target,
        memory: &mut Memory,
    ) -> Result<Wanted, (String, Vec<Value>)> {
        self.check_selector(seen, target).map_err(|why| (why, Vec::new()))?;
        let current = target.wanted;
        let (proposal, metrics) = self.propose(seen, target)?;
        let reason = match proposal.replicas {
            more if more > current => format!("{} above target", proposal.name),
            less if less < current => "All metrics below target".into(),
            _ => String::new(),
        };
        let least = self.hpa.spec.min_replicas.unwrap_or(1);
        let mut wanted =
            Wanted { replicas: self.paced(memory, current, proposal.replicas), reason, metrics };
        // Only who was scaled to zero by us is looked at there.
        if current == 0 && wanted.replicas < least {
            wanted.replicas = least;
            if wanted.reason.is_empty() {
                wanted.reason = "Current number of replicas below Spec.MinReplicas".into();
            }
        }
        Ok(wanted)
    }

    fn check_selector(&mut self, seen: &Seen, target: &Target) -> Result<(), String> {
        let (reason, why, message) = match target.selector() {
            Ok(_) if seen.rivals.is_empty() => return Ok(()),
            Ok(_) => {
                let each =
                    seen.rivals.iter().map(|key| format!("{{{} {}}}", key.name, key.namespace));
                let why = format!(
                    "pods by selector {} are controlled by more than one HPA (e.g. [{}])",
                    target.selector,
                    each.collect::<Vec<_>>().join(" ")
                );
                ("AmbiguousSelector", why.clone(), why)
            }
            Err(_) if target.selector.is_empty() => {
                let message = "the HPA target's scale is missing a selector";
                ("SelectorRequired", "selector is required".into(), message.into())
            }
            Err(error) => {
                let why = format!(
                    "couldn't convert selector into a corresponding internal selector object: {error}"
                );
                ("InvalidSelector", why.clone(), why)
            }
        };
        self.warn(reason, &why);
        let reason = if reason == "SelectorRequired" { "InvalidSelector" } else { reason };
        self.says("ScalingActive", "False", reason, message);
        Err(why)
    }

    /// The highest proposal. Metrics that say nothing forbid to scale down.
    fn propose(
        &mut self,
        seen: &Seen,
        target: &Target,
    ) -> Result<(Proposal, Vec<Value>), (String, Vec<Value>)> {
        let (mut best, mut statuses) = (Proposal::default(), Vec::new());
        let (mut first, mut failed): (Option<Failure>, usize) = (None, 0);
        for (metric, reading) in self.hpa.spec.metrics.iter().zip(&seen.readings) {
            let around =
                proposal::Around { hpa: self.hpa, target, pods: &seen.pods, now: self.now };
            match proposal::of(&around, metric, reading) {
                Ok(proposal) => {
                    statuses.push(proposal.status.clone());
                    if best.replicas == 0 || proposal.replicas > best.replicas {
                        best = proposal;
                    }
                }
                Err(failure) => {
                    statuses.push(json!({"type": ""}));
                    self.warn(failure.reason, &failure.message);
                    failed += 1;
                    first.get_or_insert(failure);
                }
            }
        }
        let all = statuses.len();
        match first {
            Some(first) if failed >= all || best.replicas < target.wanted => {
                let message =
                    format!("the HPA was unable to compute the replica count: {}", first.message);
                self.says("ScalingActive", "False", first.reason, message);
                let why = format!(
                    "invalid metrics ({failed} invalid out of {all}), first error is: {}",
                    first.error
                );
                Err((why, statuses))
            }
            _ => {
                let message = format!(
                    "the HPA was able to successfully calculate a replica count from {}",
                    best.name
                );
                self.says("ScalingActive", "True", "ValidMetricFound", message);
                Ok((best, statuses))
            }
        }
    }
}

impl Target {
    fn selector(&self) -> Result<Selector, String> {
        match &*self.selector {
            "" => Err(String::new()),
            text => Selector::parse(text),
        }
    }
}
