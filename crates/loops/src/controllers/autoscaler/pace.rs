//! Pace: how fast a number of replicas may follow what metrics ask for (API reference: HPAScalingRules).
//!
//! A recommendation stands for a while: it is scaled down to the highest of those that stand, and up to the lowest.

use super::{Draft, Memory};
use skiff_base::Time;
use skiff_kinds::views::autoscaler::{Behavior, Rules};
use std::time::Duration;

/// So long a higher recommendation keeps replicas, where no rule says how long.
const WINDOW: Duration = Duration::from_secs(300);
/// Without rules it is scaled up to so many at least, and otherwise to twice as many at most.
const UP_LEAST: i32 = 4;
/// The longest time that a rule may look back.
const PERIOD_MOST: Duration = Duration::from_secs(1800);

/// Why a number was bounded: reason and message of the condition ScalingLimited.
type Bound = (&'static str, &'static str);

const WITHIN: Bound = ("DesiredWithinRange", "the desired count is within the acceptable range");
const UP: Bound =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN: Bound = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
);
const MANY: Bound =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const FEW: Bound =
    ("TooFewReplicas", "the desired replica count is less than the minimum replica count");

/// Keeps that it was scaled, for the rules that look back.
pub fn remember(memory: &mut Memory, from: i32, to: i32, now: Time) {
    let events = if to > from { &mut memory.ups } else { &mut memory.downs };
    events.retain(|(_, at)| *at + PERIOD_MOST >= now);
    events.push(((to - from).abs(), now));
}

impl Draft<'_> {
    /// The number that is set now, on the way from `current` to `desired`.
    pub fn paced(&mut self, memory: &mut Memory, current: i32, desired: i32) -> i32 {
        let behavior = self.hpa.spec.behavior.as_ref();
        let stable = match behavior {
            None => stable_down(memory, desired, WINDOW, self.now),
            Some(behavior) => stable(memory, behavior, (current, desired), self.now),
        };
        let lower = "recent recommendations were lower than current one, applying the lowest recent recommendation";
        let higher = "recent recommendations were higher than current one, applying the highest recent recommendation";
        match behavior {
            _ if stable == desired => {
                let message = "recommended size matches current size";
                self.says("AbleToScale", "True", "ReadyForNewScale", message);
            }
            Some(_) if desired >= current => {
                self.says("AbleToScale", "True", "ScaleUpStabilized", lower);
            }
            _ => self.says("AbleToScale", "True", "ScaleDownStabilized", higher),
        }
        let (least, most) = (self.hpa.spec.min_replicas.unwrap_or(1), self.hpa.spec.max_replicas);
        let (paced, (reason, message)) = match behavior {
            None => bounded(current, stable, least, most),
            Some(behavior) => {
                let limits = Limits { memory, behavior, now: self.now };
                limits.bounded(current, stable, least, most)
            }
        };
        let limited = if paced == stable { "False" } else { "True" };
        self.says("ScalingLimited", limited, reason, message);
        paced
    }
}

fn stable_down(memory: &mut Memory, desired: i32, window: Duration, now: Time) -> i32 {
    memory.recommended.retain(|(_, at)| *at + window >= now);
    let most = memory.recommended.iter().map(|it| it.0).max().unwrap_or(desired).max(desired);
    memory.recommended.push((desired, now));
    most
}

fn window(rules: &Rules, default: Duration) -> Duration {
    let seconds = rules.stabilization_window_seconds.and_then(|s| u64::try_from(s).ok());
    seconds.map_or(default, Duration::from_secs)
}

fn stable(
    memory: &mut Memory,
    behavior: &Behavior,
    (current, desired): (i32, i32),
    now: Time,
) -> i32 {
    let up = window(&behavior.scale_up, Duration::ZERO);
    let down = window(&behavior.scale_down, WINDOW);
    let within = |window: Duration| {
        let all = memory.recommended.iter().filter(move |(_, at)| *at + window > now);
        all.map(|(replicas, _)| *replicas)
    };
    let lowest = within(up).min().unwrap_or(desired).min(desired);
    let highest = within(down).max().unwrap_or(desired).max(desired);
    memory.recommended.retain(|(_, at)| *at + up.max(down) >= now);
    memory.recommended.push((desired, now));
    current.max(lowest).min(highest)
}

fn bounded(current: i32, desired: i32, least: i32, most: i32) -> (i32, Bound) {
    let fast = current.saturating_mul(2).max(UP_LEAST);
    let (highest, bound) = if most > fast { (fast, UP) } else { (most, MANY) };
    match desired {
        desired if desired < least => (least, FEW),
        desired if desired > highest => (highest, bound),
        desired => (desired, WITHIN),
    }
}

/// The rules, and what was done lately.
struct Limits<'a> {
    memory: &'a Memory,
    behavior: &'a Behavior,
    now: Time,
}

impl Limits<'_> {
    fn bounded(&self, current: i32, desired: i32, least: i32, most: i32) -> (i32, Bound) {
        if desired > current {
            let fast = self.limit(&self.behavior.scale_up, current, 1).max(current);
            let (highest, bound) = if most > fast { (fast, UP) } else { (most, MANY) };
            if desired > highest {
                return (highest, bound);
            }
        } else if desired < current {
            let fast = self.limit(&self.behavior.scale_down, current, -1).min(current);
            let (lowest, bound) = if least < fast { (fast, DOWN) } else { (least, FEW) };
            if desired < lowest {
                return (lowest, bound);
            }
        }
        (desired, WITHIN)
    }

    /// The number that rules let it come to, up (`sign` 1) or down (-1).
    fn limit(&self, rules: &Rules, current: i32, sign: i32) -> i32 {
        if rules.select_policy == "Disabled" {
            return current;
        }
        let proposed = rules.policies.iter().map(|policy| {
            let period = Duration::from_secs(u64::try_from(policy.period_seconds).unwrap_or(0));
            let changed = |events: &[(i32, Time)]| -> i32 {
                let within = events.iter().filter(|(_, at)| *at + period > self.now);
                within.fold(0, |sum, it| sum.saturating_add(it.0))
            };
            let start = current.saturating_sub(changed(&self.memory.ups));
            let start = start.saturating_add(changed(&self.memory.downs));
            match &*policy.type_ {
                "Pods" => start.saturating_add(sign * policy.value),
                _ => {
                    let part = 1.0 + f64::from(sign) * f64::from(policy.value) / 100.0;
                    let exact = f64::from(start) * part;
                    if sign > 0 { exact.ceil() as i32 } else { exact as i32 }
                }
            }
        });
        // The greatest change: the highest number upwards, the lowest downwards.
        match (rules.select_policy == "Min") == (sign > 0) {
            true => proposed.min().unwrap_or(i32::MAX),
            false => proposed.max().unwrap_or(i32::MIN),
        }
    }
}
