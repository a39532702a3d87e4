//! Usage: from what pods use to how many of them there should be.
//!
//! A pod that is not ready counts as using nothing when more would be made, and one whose metrics are missing as using
//! what speaks against a change: nothing upwards, its whole target downwards.

use super::metrics::Sample;
use skiff_base::Time;
use skiff_kinds::views::Pod;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// While a pod is so young, its use of the processor counts only if it was ready all the time that was measured.
const YOUNG: Duration = Duration::from_secs(300);
/// A pod that was not ready so soon after its start, and is not since, was never ready.
const NEVER_READY: Duration = Duration::from_secs(30);

/// What pods use, by name, in thousandths.
pub type Used = BTreeMap<String, i64>;

/// By how much usage may differ from its target without a change.
#[derive(Debug, Clone, Copy)]
pub struct Tolerance {
    pub down: f64,
    pub up: f64,
}

impl Tolerance {
    pub fn covers(self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

/// Pods by what is known of them.
#[derive(Debug, Default)]
struct Groups {
    ready: usize,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
}

/// How usage is compared with its target.
pub enum Target {
    /// In thousandths, on average.
    Value(i64),
    /// A percentage of what each pod asks for.
    Share(i32, Used),
}

/// How many replicas, and how things stand: percentage and average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    pub replicas: i32,
    pub percent: i32,
    pub average: i64,
}

/// # Errors
/// Why that cannot be said.
pub fn replicas(
    (current, tolerance): (i32, Tolerance),
    samples: &BTreeMap<String, Sample>,
    pods: &[Arc<Pod>],
    target: impl FnOnce() -> Result<Target, String>,
    of_cpu: bool,
    now: Time,
) -> Result<Outcome, String> {
    if pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".into());
    }
    let (groups, mut used) = group(pods, samples, of_cpu, now);
    if used.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".into());
    }
    let target = target()?;
    let (ratio, percent, average) = target.compare(&used)?;
    let stays = Outcome { replicas: current, percent, average };
    let grows_unready = !groups.unready.is_empty() && ratio > 1.0;
    if !grows_unready && groups.missing.is_empty() {
        let replicas = (ratio * groups.ready as f64).ceil() as i32;
        return Ok(if tolerance.covers(ratio) { stays } else { Outcome { replicas, ..stays } });
    }
    if ratio != 1.0 {
        let fallback = |name: &String| if ratio < 1.0 { target.fallback(name) } else { 0 };
        used.extend(groups.missing.iter().map(|name| (name.clone(), fallback(name))));
    }
    if grows_unready {
        used.extend(groups.unready.iter().map(|name| (name.clone(), 0)));
    }
    let (anew, ..) = target.compare(&used)?;
    let turned = (ratio < 1.0 && anew > 1.0) || (ratio > 1.0 && anew < 1.0);
    let replicas = (anew * used.len() as f64).ceil() as i32;
    let against = (anew < 1.0 && replicas > current) || (anew > 1.0 && replicas < current);
    match tolerance.covers(anew) || turned || against {
        true => Ok(stays),
        false => Ok(Outcome { replicas, ..stays }),
    }
}

impl Target {
    /// Usage by its target, as percentage, and on average.
    fn compare(&self, used: &Used) -> Result<(f64, i32, i64), String> {
        let sum = |all: &mut dyn Iterator<Item = i64>| all.map(i128::from).sum::<i128>();
        let narrow = |number: i128| i64::try_from(number).unwrap_or(i64::MAX);
        match self {
            Target::Value(target) => {
                let total = sum(&mut used.values().copied());
                let average = narrow(total / used.len().max(1) as i128);
                Ok((average as f64 / *target as f64, 0, average))
            }
            Target::Share(target, requests) => {
                let known =
                    || used.iter().filter_map(|(name, it)| Some((*it, *requests.get(name)?)));
                let total = sum(&mut known().map(|it| it.0));
                let asked = sum(&mut known().map(|it| it.1));
                if asked == 0 {
                    return Err("no metrics returned matched known pods".into());
                }
                let percent = i32::try_from(total * 100 / asked).unwrap_or(i32::MAX);
                let ratio = f64::from(percent) / f64::from(*target);
                Ok((ratio, percent, narrow(total / known().count().max(1) as i128)))
            }
        }
    }

    /// What a pod counts with whose metrics are missing, when there would be fewer.
    fn fallback(&self, name: &str) -> i64 {
        match self {
            Target::Value(target) => *target,
            Target::Share(target, requests) => {
                let asked = requests.get(name).copied().unwrap_or(0);
                asked.saturating_mul(i64::from((*target).max(100))) / 100
            }
        }
    }
}

fn group(
    pods: &[Arc<Pod>],
    samples: &BTreeMap<String, Sample>,
    of_cpu: bool,
    now: Time,
) -> (Groups, Used) {
    let mut groups = Groups::default();
    let mut used: Used = samples.iter().map(|(name, it)| (name.clone(), it.milli)).collect();
    for pod in pods {
        let name = &pod.metadata.name;
        if pod.metadata.deleting() || pod.status.phase == "Failed" {
            used.remove(name);
            continue;
        }
        let unready = match (&*pod.status.phase, samples.get(name)) {
            ("Pending", _) => true,
            (_, None) => {
                groups.missing.insert(name.clone());
                continue;
            }
            (_, Some(sample)) => of_cpu && unready(pod, sample, now),
        };
        match unready {
            true => {
                used.remove(name);
                groups.unready.insert(name.clone());
            }
            false => groups.ready += 1,
        }
    }
    (groups, used)
}

/// Whether what a pod used of the processor says nothing yet: it was starting.
fn unready(pod: &Pod, sample: &Sample, now: Time) -> bool {
    let (Some(ready), Some(start)) = (pod.status.condition("Ready"), pod.status.start_time) else {
        return true;
    };
    let since = ready.last_transition_time.unwrap_or(Time::UNIX_EPOCH);
    let not = ready.status == "False";
    match start + YOUNG > now {
        true => not || sample.at < since + sample.window,
        false => not && start + NEVER_READY > since,
    }
}

/// What each pod asks for of a resource, or one container of it.
///
/// # Errors
/// When one asks for nothing: no share of that can be told.
pub fn requests(pods: &[Arc<Pod>], container: &str, resource: &str) -> Result<Used, String> {
    let one = |pod: &Arc<Pod>| Ok((pod.metadata.name.clone(), request(pod, container, resource)?));
    pods.iter().map(one).collect()
}

fn request(pod: &Pod, container: &str, resource: &str) -> Result<i64, String> {
    let name = &pod.metadata.name;
    let sidecars = pod.spec.init_containers.iter().filter(|it| it.is_sidecar());
    let containers = || pod.spec.containers.iter().chain(sidecars.clone());
    let own = pod.spec.resources.as_ref().filter(|it| !it.requests.is_empty());
    if let Some(own) = own.filter(|_| container.is_empty()) {
        let of_all = || {
            let each = containers().filter_map(|it| it.resources.requests.get(resource));
            each.map(|it| it.milli_value()).reduce(i64::saturating_add)
        };
        let whole = own.requests.get(resource).map(|it| it.milli_value()).or_else(of_all);
        return whole
            .ok_or_else(|| format!("missing pod-level request for {resource} in Pod {name}"));
    }
    let mut sum = 0_i64;
    for it in containers().filter(|it| container.is_empty() || it.name == container) {
        let Some(request) = it.resources.requests.get(resource) else {
            let of = &it.name;
            return Err(format!("missing request for {resource} in container {of} of Pod {name}"));
        };
        sum = sum.saturating_add(request.milli_value());
        if it.name == container {
            return Ok(sum);
        }
    }
    match container {
        "" => Ok(sum),
        container => Err(format!("container {container} not found in Pod {name}")),
    }
}
