//! Everything ends at its spec: when it was quiet for long enough, each Deployment, StatefulSet and DaemonSet has the
//! pods that it wants, as it wants them now, each Job has ended, and each budget and node says how things are. Where
//! a quota is used up, less will do.

use super::quota::{exceeds, is_quota_of, used};
use super::state::{self, Objects, Story, condition, namespace, number, text};
use crate::agent::CPUS;
use skiff_base::Time;
use skiff_json::Value;
use std::collections::BTreeSet;

/// After so long all is as it is wanted, but for what has to wait.
const LEAST_S: u64 = 115;
/// Of a Job that goes on, and of a container that crashed often, nobody says before this how long it will take.
const LONG_S: u64 = 390;

const RESOURCES: [&str; 11] = [
    "daemonsets.apps",
    "deployments.apps",
    "endpointslices.discovery.k8s.io",
    "jobs.batch",
    "nodes",
    "poddisruptionbudgets.policy",
    "pods",
    "replicasets.apps",
    "resourcequotas",
    "services",
    "statefulsets.apps",
];

pub fn check(story: &Story) -> Vec<String> {
    let record = story.record;
    let quiet_s = record.end.saturating_sub(record.quiet).as_secs();
    if quiet_s < LEAST_S {
        return Vec::new();
    }
    let Some(now) = record.log.last().map(|logged| logged.time) else { return Vec::new() };
    let all = story.last(&RESOURCES);
    let judge = |(key, object): (&&str, &&Value)| {
        let wrong = match state::resource(key) {
            "daemonsets.apps" => daemon_set(&all, object),
            "deployments.apps" => deployment(&all, object),
            "jobs.batch" => job(object),
            "nodes" => node(object),
            "poddisruptionbudgets.policy" => budget(&all, key, object),
            "services" => service(&all, key, object),
            "statefulsets.apps" => stateful_set(&all, key, object),
            _ => None,
        }?;
        let used_up = state::resource(key) != "nodes" && used_up(&all, (key, object), now);
        let excused =
            used_up || crowded(&all, object) || quiet_s < LONG_S && waits(&all, (key, object));
        (!excused).then(|| format!("in the end {key} {wrong}"))
    };
    all.iter().filter_map(judge).collect()
}

/// Whether a quota keeps an object from having one more pod.
fn used_up(all: &Objects, (key, object): (&str, &Value), now: Time) -> bool {
    let (within, more) = (namespace(key), state::cpu(&object["spec"]["template"]["spec"]));
    let (pods, cpu) = used(all, within, now);
    let mut quotas = all.iter().filter(|(key, _)| is_quota_of(key, within));
    quotas.any(|(_, quota)| exceeds(quota, pods + 1, cpu + more))
}

/// Whether no node has room for one more pod of it, or one of them has not.
fn crowded(all: &Objects, object: &Value) -> bool {
    let more = state::cpu(&object["spec"]["template"]["spec"]);
    let full = |node: &str| {
        let on = all.iter().filter(|(key, pod)| {
            key.starts_with("pods/") && text(pod, "/spec/nodeName") == node && !state::ended(pod)
        });
        on.map(|(_, pod)| state::cpu(&pod["spec"])).sum::<i64>() + more > CPUS * 1000
    };
    let mut nodes = all.keys().filter_map(|key| key.strip_prefix("nodes//"));
    // A pod of a DaemonSet has one place only.
    more > 0 && nodes.any(full)
}

/// Whether an object goes on, or a pod of its namespace waits for the next start of a container.
fn waits(all: &Objects, (key, object): (&str, &Value)) -> bool {
    let prefix = format!("pods/{}/", namespace(key));
    let backs_off = |pod: &Value| {
        state::items(pod, "/status/containerStatuses")
            .any(|it| text(it, "/state/waiting/reason") == "CrashLoopBackOff")
    };
    let goes_on = key.starts_with("jobs.batch/") && number(object, "/status/failed") < 3;
    goes_on || all.iter().any(|(key, pod)| key.starts_with(&prefix) && backs_off(pod))
}

/// The pods that something controls.
fn controlled<'a>(all: &Objects<'a>, uid: &str) -> Vec<&'a Value> {
    let pods = all.iter().filter(|(key, _)| key.starts_with("pods/"));
    let own = pods.filter(|(_, pod)| state::controller(pod).is_some_and(|it| it.1 == uid));
    own.map(|(_, pod)| *pod).filter(|pod| !state::ended(pod)).collect()
}

fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// That a controller has not looked at the newest spec.
fn stale(object: &Value) -> Option<String> {
    let (wanted, seen) =
        (number(object, "/metadata/generation"), number(object, "/status/observedGeneration"));
    (seen != wanted).then(|| format!("has generation {wanted}, and {seen} was looked at"))
}

fn deployment(all: &Objects, object: &Value) -> Option<String> {
    let wanted = number(object, "/spec/replicas");
    let sets = all.iter().filter(|(key, _)| key.starts_with("replicasets.apps/"));
    let own = sets.filter(|(_, set)| state::controller(set).is_some_and(|it| it.1 == uid(object)));
    let (mut ready, mut others) = (0, 0);
    let revision = "/metadata/annotations/deployment.kubernetes.io~1revision";
    for (_, set) in own {
        let pods = controlled(all, uid(set));
        match text(set, revision) == text(object, revision) {
            true => {
                ready += pods.iter().filter(|pod| state::healthy(pod)).count() as i64;
                let same = image(&set["spec"]["template"]["spec"]);
                if same != image(&object["spec"]["template"]["spec"]) {
                    return Some(format!("has a newest set with the images {same:?}"));
                }
            }
            false => others += pods.len(),
        }
    }
    let says = number(object, "/status/readyReplicas");
    stale(object).or_else(|| {
        ((ready, others, says) != (wanted, 0, wanted)).then(|| {
            format!("wants {wanted} pods, {ready} are ready, {others} are old, it says {says}")
        })
    })
}

fn image(pod_spec: &Value) -> Vec<&str> {
    state::items(pod_spec, "/containers").map(|it| text(it, "/image")).collect()
}

fn stateful_set(all: &Objects, key: &str, object: &Value) -> Option<String> {
    let (wanted, pods) = (number(object, "/spec/replicas"), controlled(all, uid(object)));
    let name = key.rsplit('/').next().unwrap_or("");
    let expected: Vec<String> = (0..wanted).map(|ordinal| format!("{name}-{ordinal}")).collect();
    let mut names: Vec<&str> = pods.iter().map(|pod| text(pod, "/metadata/name")).collect();
    names.sort_unstable();
    let newest = text(object, "/status/updateRevision");
    let revision = |pod: &Value| pod["metadata"]["labels"]["controller-revision-hash"] == newest;
    let ready = pods.iter().filter(|pod| state::healthy(pod) && revision(pod)).count() as i64;
    stale(object).or_else(|| {
        (names != expected || ready != wanted)
            .then(|| format!("wants {expected:?}, has {names:?}, {ready} of them as it wants them"))
    })
}

fn daemon_set(all: &Objects, object: &Value) -> Option<String> {
    let pods = controlled(all, uid(object));
    let mut on: Vec<&str> = pods
        .iter()
        .filter(|pod| state::healthy(pod))
        .map(|pod| text(pod, "/spec/nodeName"))
        .collect();
    on.sort_unstable();
    let nodes = all.keys().filter(|key| key.starts_with("nodes/"));
    let nodes: Vec<&str> = nodes.filter_map(|key| key.rsplit('/').next()).collect();
    let wanted = image(&object["spec"]["template"]["spec"]);
    let old = pods.iter().filter(|pod| image(&pod["spec"]) != wanted).count();
    stale(object).or_else(|| {
        (on != nodes || old > 0).then(|| format!("is ready on {on:?}, {old} of its pods are old"))
    })
}

fn job(object: &Value) -> Option<String> {
    let over = ["Complete", "Failed"].iter().any(|type_| condition(object, type_) == "True");
    (!over).then(|| format!("has not ended: {}", object["status"]))
}

fn budget(all: &Objects, key: &str, object: &Value) -> Option<String> {
    let prefix = format!("pods/{}/", namespace(key));
    let covered = all.iter().filter(|(key, pod)| {
        key.starts_with(&prefix) && state::selects(object.pointer("/spec/selector"), pod)
    });
    let serve = covered.filter(|(_, pod)| state::healthy(pod)).count() as i64;
    let says = number(object, "/status/currentHealthy");
    stale(object)
        .or_else(|| (says != serve).then(|| format!("says that {says} serve, there are {serve}")))
}

fn service(all: &Objects, key: &str, object: &Value) -> Option<String> {
    let wanted = object["spec"]["selector"].as_object()?;
    let prefix = format!("pods/{}/", namespace(key));
    let covered = all.iter().filter(|(key, pod)| {
        let same = |(name, value)| pod["metadata"]["labels"].get(name) == Some(value);
        key.starts_with(&prefix) && wanted.iter().all(same)
    });
    let serve = covered.filter(|(_, pod)| state::healthy(pod));
    let serve: BTreeSet<&str> = serve.map(|(_, pod)| text(pod, "/status/podIP")).collect();
    let prefix = format!("endpointslices.discovery.k8s.io/{}/", namespace(key));
    let name = key.rsplit('/').next().unwrap_or("");
    let slices = all.iter().filter(|(key, slice)| {
        let of = &slice["metadata"]["labels"]["kubernetes.io/service-name"];
        key.starts_with(&prefix) && of == name
    });
    let endpoints = slices.flat_map(|(_, slice)| state::items(slice, "/endpoints"));
    let ready = endpoints.filter(|it| it["conditions"]["ready"] == true);
    let named: BTreeSet<&str> = ready.map(|it| text(it, "/addresses/0")).collect();
    (serve != named).then(|| format!("leads to {named:?}, there are {serve:?}"))
}

fn node(object: &Value) -> Option<String> {
    let taints: Vec<&str> =
        state::items(object, "/spec/taints").map(|taint| text(taint, "/key")).collect();
    let ready = condition(object, "Ready");
    (ready != "True" || !taints.is_empty()).then(|| format!("is ready: {ready}, taints {taints:?}"))
}
