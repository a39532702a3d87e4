//! Which pods of a Job come and go.

use super::tally::{self, FAILURES, IGNORED, INDEX, Tally, count};
use super::{BURST, FINALIZER, Failures, ends, replaced_at};
use crate::controllers::replicaset::victims;
use crate::parts::pods;
use crate::{Change, Changes};
use skiff_api::view::View;
use skiff_base::Time;
use skiff_client::PatchKind;
use skiff_json::{Value, json};
use skiff_kinds::views::{Job, Pod};
use std::collections::HashSet;
use std::sync::Arc;

/// The names that the API draws take so much of what they begin with.
const PREFIX_MOST: usize = 58;

/// What has to be made, and when to look again.
#[derive(Default)]
pub struct Made {
    pub missing: Vec<Value>,
    pub again: Option<Time>,
}

/// Deletes all that runs. What holds the pods goes when they are counted.
pub fn end_all(tally: &mut Tally<'_>, out: &mut Changes) {
    let active = std::mem::take(&mut tally.active);
    delete(tally, &active, out);
}

/// Brings the number of active pods to what it should be. In one pass pods either come or go.
pub fn manage(tally: &mut Tally<'_>, failures: &Failures, now: Time, out: &mut Changes) -> Made {
    let job = tally.job;
    let wanted = match (job.spec.suspend, job.spec.completions) {
        (true, _) => 0,
        // Once one has ended well, the others may end as they like.
        (false, None) if tally.succeeded > 0 => tally.running,
        (false, None) => job.spec.parallelism,
        (false, Some(completions)) => {
            (completions - tally.succeeded).min(job.spec.parallelism).max(0)
        }
    };
    let mut victims = surplus(tally, wanted, now);
    if !job.spec.suspend {
        victims.truncate(BURST);
    }
    if !victims.is_empty() || job.spec.suspend {
        release(victims.iter().copied().filter(|pod| tally.is_held(pod)), out);
        delete(tally, &victims, out);
        return Made::default();
    }
    let only_failed = job.spec.pod_replacement_policy == "Failed";
    let missing = wanted - tally.running - if only_failed { tally.going } else { 0 };
    let missing = usize::try_from(missing).unwrap_or(0).min(BURST);
    if missing == 0 {
        return Made::default();
    }
    let per_index = job.spec.backoff_limit_per_index.is_some();
    if !per_index && let Some(at) = failures.over(now) {
        return Made { again: Some(at), ..Made::default() };
    }
    if !job.indexed() {
        return Made { missing: vec![pod(job, None, None); missing], again: None };
    }
    let pending = pending(tally, missing);
    let due = |index: &i64| Some(*index).and_then(|index| due(tally.kept.get(&index)?, now));
    let (wait, come): (Vec<i64>, Vec<i64>) = pending.into_iter().partition(|it| due(it).is_some());
    let missing: Vec<Value> = come
        .into_iter()
        .map(|index| pod(job, Some(index), tally.kept.get(&index).map(|pod| &***pod)))
        .collect();
    let again = wait.iter().filter_map(due).min();
    Made { missing, again }
}

/// When the pod that takes the place of one that failed may come, if that is not now.
fn due(failed: &Pod, now: Time) -> Option<Time> {
    let failures = u32::try_from(tally::failures(failed) + 1).unwrap_or(u32::MAX);
    replaced_at(failures, tally::finished_at(failed)).filter(|at| *at > now)
}

/// The first indexes that nobody works on and that are not done.
fn pending(tally: &Tally<'_>, count: usize) -> Vec<i64> {
    let only_failed = tally.job.spec.pod_replacement_policy == "Failed";
    let going = tally.pods.iter().filter(|pod| only_failed && tally::going(pod));
    let taken = tally.active.iter().chain(going).filter_map(|pod| tally::index(pod));
    let mut taken = tally.done.with(&taken.collect());
    if let Some(broken) = &tally.broken {
        taken = taken.with(broken);
    }
    taken.missing(count, tally.completions())
}

/// The active pods that have to go: first those whose index another one has, or which have none, then as many as are
/// too many.
fn surplus<'a>(tally: &Tally<'a>, wanted: i64, now: Time) -> Vec<&'a Arc<Pod>> {
    let wanted = usize::try_from(wanted).unwrap_or(0);
    let mut left = tally.active.clone();
    let mut gone = Vec::new();
    if tally.job.indexed() {
        // The last of those with one index in this order is missed most.
        let ordered = victims::by_worth(std::mem::take(&mut left), now);
        let mut seen = HashSet::new();
        for pod in ordered.into_iter().rev() {
            match tally.valid_index(pod).filter(|index| seen.insert(*index)) {
                Some(_) => left.push(pod),
                None => gone.push(pod),
            }
        }
    }
    let more = tally.active.len().saturating_sub(wanted).saturating_sub(gone.len());
    let keep = left.len().saturating_sub(more);
    let mut ordered = victims::by_worth(left, now);
    ordered.truncate(ordered.len() - keep);
    gone.extend(ordered);
    gone
}

/// Lets a pod go that is held until it is counted.
pub fn let_go(pod: &Pod) -> Change {
    Change::Patch {
        kind: PatchKind::Strategic,
        resource: Pod::RESOURCE,
        key: pod.metadata.key(),
        subresource: "",
        body: json!({"metadata": {"uid": pod.metadata.uid,
            "$deleteFromPrimitiveList/finalizers": [FINALIZER]}}),
    }
}

/// Lets these go.
pub fn release<'a>(pods: impl Iterator<Item = &'a Arc<Pod>>, out: &mut Changes) {
    out.together(pods.map(|pod| let_go(pod)));
}

fn delete(tally: &mut Tally<'_>, pods: &[&Arc<Pod>], out: &mut Changes) {
    out.together(pods.iter().map(|pod| pods::delete(tally.job, &pod.metadata)));
    tally.running -= count(pods.len());
    tally.going += count(pods.len());
    tally.ready -= count(pods.iter().filter(|pod| pod.ready()).count());
}

/// Makes these pods.
pub fn create(job: &Job, pods: Vec<Value>, out: &mut Changes) {
    out.together(pods.into_iter().map(|pod| pods::create(job, pod)));
}

/// A pod of the Job. `failed`: the one of the same index in whose place it comes.
fn pod(job: &Job, index: Option<i64>, failed: Option<&Pod>) -> Value {
    let (meta, mut template) = (&job.metadata, job.spec.template.clone());
    let (from, spec) = (&mut template.metadata, &mut template.spec);
    if !from.finalizers.iter().any(|it| it == FINALIZER) {
        from.finalizers.push(FINALIZER.into());
    }
    let mut prefix = format!("{}-", meta.name);
    if let Some(index) = index {
        let number = index.to_string();
        from.labels.insert(INDEX.into(), number.clone());
        from.annotations.insert(INDEX.into(), number);
        if job.spec.backoff_limit_per_index.is_some() {
            from.annotations.extend(failure_counts(job, failed));
        }
        spec["hostname"] = json!(format!("{}-{index}", meta.name));
        ["initContainers", "containers"].iter().for_each(|list| tell_index(&mut spec[*list]));
        let end = format!("-{index}-");
        let room = PREFIX_MOST.saturating_sub(end.len()).min(meta.name.len());
        prefix = format!("{}{end}", &meta.name[..room]);
    }
    if spec["initContainers"].is_null()
        && let Some(fields) = spec.as_object_mut()
    {
        fields.remove("initContainers");
    }
    let mut pod = pods::of_template(&template);
    pod["metadata"]["generateName"] = json!(prefix);
    pod
}

/// How often the pods of an index failed, counted and not.
fn failure_counts(job: &Job, failed: Option<&Pod>) -> Vec<(String, String)> {
    let (mut counted, mut ignored) = (0, 0);
    if let Some(failed) = failed {
        (counted, ignored) =
            (tally::annotated(failed, FAILURES), tally::annotated(failed, IGNORED));
        match ends::verdict(job.spec.pod_failure_policy.as_ref(), failed).counts() {
            true => counted += 1,
            false => ignored += 1,
        }
    }
    let mut all = vec![(FAILURES.to_owned(), counted.to_string())];
    all.extend((ignored > 0).then(|| (IGNORED.to_owned(), ignored.to_string())));
    all
}

/// Gives containers the variable that says which index is theirs.
fn tell_index(containers: &mut Value) {
    const NAME: &str = "JOB_COMPLETION_INDEX";
    for container in containers.as_array_mut().into_iter().flatten() {
        let there =
            container["env"].as_array().is_some_and(|all| all.iter().any(|it| it["name"] == NAME));
        if there {
            continue;
        }
        let path = format!("metadata.labels['{INDEX}']");
        let variable = json!({"name": NAME, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        match container["env"].as_array_mut() {
            Some(all) => all.push(variable),
            None => container["env"] = json!([variable]),
        }
    }
}
