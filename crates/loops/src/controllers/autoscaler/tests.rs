//! Cases of autoscalers: an autoscaler, its target and what metrics say in; changes out. Time is told.

use super::metrics::Sample;
use super::*;
use crate::testkit::view;
use expect_test::{Expect, expect};
use skiff_kinds::autoscaling::horizontalpodautoscaler;
use skiff_kinds::core::replicationcontroller;
use std::collections::BTreeMap;

fn at(minute: i64, second: i64) -> Time {
    let begin: Time = "2026-01-01T01:00:00Z".parse().expect("a time");
    Time::from_second(begin.as_second() + minute * 60 + second).expect("a time in range")
}

/// An autoscaler with its defaults.
fn hpa(mut spec: Value) -> Arc<Hpa> {
    spec["scaleTargetRef"] = json!({"kind": "ReplicationController", "name": "r"});
    let meta = json!({"name": "a", "namespace": "n", "uid": "u", "generation": 1});
    let mut it = skiff_api::object::Object::new(json!({"metadata": meta, "spec": spec}));
    (horizontalpodautoscaler::kind().hooks.default)(&mut it);
    view(it.into_value())
}

fn target(wanted: i32) -> Result<Target, String> {
    let resource = replicationcontroller::RESOURCE;
    Ok(Target { resource, wanted, there: wanted, selector: "a=b".into() })
}

/// Pods that ask for a processor each, ready since long ago.
fn pods(count: i32) -> Vec<Arc<Pod>> {
    let pod = |n: i32| {
        view(json!({"metadata": {"name": format!("p{n}"), "namespace": "n"},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
            "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}]}}))
    };
    (0..count).map(pod).collect()
}

fn used(milli: &[i64]) -> Result<Reading, String> {
    let sample = |milli: &i64| Sample { at: at(0, 0), window: PERIOD, milli: *milli };
    let all = milli.iter().enumerate().map(|(n, it)| (format!("p{n}"), sample(it)));
    Ok(Reading::Pods(all.collect::<BTreeMap<_, _>>()))
}

fn seen(hpa: &Arc<Hpa>, wanted: i32, readings: Vec<Result<Reading, String>>) -> Seen {
    let (hpa, rivals) = (hpa.clone(), Vec::new());
    Seen { hpa, target: target(wanted), pods: pods(wanted), readings, rivals }
}

fn plan(seen: &Seen, memory: &mut Memory, now: Time) -> String {
    let mut out = Changes::default();
    assert_eq!(Autoscaler::plan(seen, memory, now, &mut out), Next::At(now + PERIOD));
    out.text()
}

fn check(seen: &Seen, expected: Expect) {
    expected.assert_eq(&plan(seen, &mut Memory::default(), at(0, 0)));
}

/// The number that is set, if any.
fn size(seen: &Seen, memory: &mut Memory, now: Time) -> Option<i32> {
    let text = plan(seen, memory, now);
    let (_, rest) = text.split_once("\"replicas\":")?;
    rest.split('}').next()?.parse().ok()
}

#[test]
fn usage_above_its_target_scales_up() {
    let it = hpa(json!({"maxReplicas": 10}));
    check(
        &seen(&it, 2, vec![used(&[1200, 1200])]),
        expect![[r#"
            merge replicationcontrollers n/r scale {"metadata":{"resourceVersion":null},"spec":{"replicas":3}}
              done SuccessfulRescale: New size: 3; reason: cpu resource utilization (percentage of request) above target
              failed FailedRescale: New size: 3; reason: cpu resource utilization (percentage of request) above target; error: {error}
            merge horizontalpodautoscalers n/a status {"metadata":{"uid":"u"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"the HPA controller was able to update the target scale to 3","reason":"SucceededRescale","status":"True","type":"AbleToScale"},{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)","reason":"ValidMetricFound","status":"True","type":"ScalingActive"},{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"the desired count is within the acceptable range","reason":"DesiredWithinRange","status":"False","type":"ScalingLimited"},{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"the HPA controller did not scale the workload to zero","reason":"NotScaledToZero","status":"False","type":"ScaledToZero"}],"currentMetrics":[{"resource":{"current":{"averageUtilization":120,"averageValue":"1200m"},"name":"cpu"},"type":"Resource"}],"currentReplicas":2,"desiredReplicas":3,"lastScaleTime":"2026-01-01T01:00:00Z","observedGeneration":1}}
        "#]],
    );
}

#[test]
fn within_the_tolerance_nothing_happens() {
    let it = hpa(json!({"maxReplicas": 10}));
    let mut memory = Memory::default();
    assert_eq!(size(&seen(&it, 2, vec![used(&[860, 860])]), &mut memory, at(0, 0)), None);
    let exact = hpa(json!({"maxReplicas": 10, "behavior": {"scaleUp": {"tolerance": "0"}}}));
    let mut memory = Memory::default();
    assert_eq!(size(&seen(&exact, 2, vec![used(&[860, 860])]), &mut memory, at(0, 0)), Some(3));
}

#[test]
fn the_pace_upwards_is_limited() {
    let it = hpa(json!({"maxReplicas": 100}));
    let busy = |count: usize| vec![used(&vec![8000; count])];
    let mut memory = Memory::default();
    assert_eq!(size(&seen(&it, 1, busy(1)), &mut memory, at(0, 0)), Some(4));
    assert_eq!(size(&seen(&it, 4, busy(4)), &mut memory, at(0, 15)), Some(8));
    let slow = hpa(json!({"maxReplicas": 100, "behavior": {"scaleUp": {"policies": [
        {"type": "Pods", "value": 2, "periodSeconds": 60}]}}}));
    let mut memory = Memory::default();
    assert_eq!(size(&seen(&slow, 1, busy(1)), &mut memory, at(0, 0)), Some(3));
    assert_eq!(size(&seen(&slow, 3, busy(3)), &mut memory, at(0, 15)), None);
    assert_eq!(size(&seen(&slow, 3, busy(3)), &mut memory, at(1, 1)), Some(5));
    let off =
        hpa(json!({"maxReplicas": 100, "behavior": {"scaleUp": {"selectPolicy": "Disabled"}}}));
    assert_eq!(size(&seen(&off, 1, busy(1)), &mut Memory::default(), at(0, 0)), None);
}

#[test]
fn what_was_asked_for_lately_stands_downwards() {
    let it = hpa(json!({"maxReplicas": 10}));
    let mut memory = Memory::default();
    let idle = seen(&it, 4, vec![used(&[80; 4])]);
    assert_eq!(size(&idle, &mut memory, at(0, 0)), None);
    assert_eq!(size(&idle, &mut memory, at(4, 59)), None);
    assert_eq!(size(&idle, &mut memory, at(5, 1)), Some(1));
    let quick = hpa(json!({"maxReplicas": 10,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0, "policies": [
            {"type": "Percent", "value": 50, "periodSeconds": 60}]}}}));
    let idle = seen(&quick, 4, vec![used(&[80; 4])]);
    assert_eq!(size(&idle, &mut Memory::default(), at(0, 0)), Some(2));
}

#[test]
fn the_bounds_come_before_all_metrics() {
    let it = hpa(json!({"minReplicas": 2, "maxReplicas": 3}));
    let size = |wanted| size(&seen(&it, wanted, Vec::new()), &mut Memory::default(), at(0, 0));
    assert_eq!((size(1), size(5), size(0)), (Some(2), Some(3), None));
}

#[test]
fn a_metric_that_says_nothing_is_told_of() {
    let it = hpa(json!({"maxReplicas": 3}));
    let why = "unable to fetch metrics from resource metrics API: no";
    check(
        &seen(&it, 1, vec![Err(why.into())]),
        expect![[r#"
            event Warning FailedGetResourceMetric: failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: no
            merge horizontalpodautoscalers n/a status {"metadata":{"uid":"u"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"the HPA controller was able to get the target's current scale","reason":"SucceededGetScale","status":"True","type":"AbleToScale"},{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: no","reason":"FailedGetResourceMetric","status":"False","type":"ScalingActive"}],"currentMetrics":[{"type":""}],"currentReplicas":1,"desiredReplicas":0,"lastScaleTime":null,"observedGeneration":1}}
            event Warning FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: no
        "#]],
    );
}

#[test]
fn of_several_metrics_the_highest_wins_and_a_lost_one_forbids_to_go_down() {
    let external = |target: Value| json!({"type": "External", "external": {"metric": {"name": "q"}, "target": target}});
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 50}}});
    let each = external(json!({"type": "AverageValue", "averageValue": "10"}));
    let it = hpa(json!({"maxReplicas": 10, "metrics": [cpu, each]}));
    let series = |sum: i64| Ok(Reading::Series(vec![sum * 500, sum * 500]));
    let size = |readings| size(&seen(&it, 2, readings), &mut Memory::default(), at(0, 0));
    assert_eq!(size(vec![used(&[600, 600]), series(40)]), Some(4));
    assert_eq!(size(vec![Err("lost".into()), series(40)]), Some(4));
    assert_eq!(size(vec![Err("lost".into()), series(10)]), None);
}

#[test]
fn pods_that_start_or_are_missing_do_not_count() {
    let it = hpa(json!({"maxReplicas": 10}));
    let go = |seen: &Seen| size(seen, &mut Memory::default(), at(0, 0));
    // One is missing: it counts as idle, and what is left is not worth another.
    assert_eq!(go(&seen(&it, 2, vec![used(&[1200])])), None);
    let mut starting = seen(&it, 2, vec![used(&[1200, 1200])]);
    let mut young = starting.pods[1].as_ref().clone();
    young.status.start_time = Some(at(-1, 0));
    young.status.conditions[0].status = "False".into();
    starting.pods[1] = Arc::new(young);
    assert_eq!(go(&starting), None);
    let mut pending = seen(&it, 2, vec![used(&[1800])]);
    let mut waits = pending.pods[1].as_ref().clone();
    waits.status.phase = "Pending".into();
    pending.pods[1] = Arc::new(waits);
    assert_eq!(go(&pending), Some(3));
}

#[test]
fn to_zero_and_back() {
    let metric = json!({"type": "External",
        "external": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "10"}}});
    let spec = json!({"minReplicas": 0, "maxReplicas": 5, "metrics": [metric]});
    let it = hpa(spec.clone());
    let mut memory = Memory::default();
    memory.recommended.push((0, at(0, 0)));
    let text = plan(&seen(&it, 1, vec![Ok(Reading::Series(vec![0]))]), &mut memory, at(0, 0));
    assert!(
        text.contains(r#""spec":{"replicas":0}"#) && text.contains("\"reason\":\"ScaledToZero\""),
        "{text}"
    );
    // Somebody else's zero is left alone; ours is not.
    let busy = || vec![Ok(Reading::Series(vec![15_000]))];
    assert_eq!(size(&seen(&it, 0, busy()), &mut Memory::default(), at(1, 0)), None);
    let mut ours = it.as_ref().clone();
    ours.status.conditions.push(condition("ScaledToZero", "True", "ScaledToZero", "", at(0, 0)));
    assert_eq!(size(&seen(&Arc::new(ours), 0, busy()), &mut Memory::default(), at(1, 0)), Some(2));
}

#[test]
fn a_scale_that_cannot_be_set_is_told_of_and_waits() {
    let it = hpa(json!({"minReplicas": 2, "maxReplicas": 3}));
    let mut memory = Memory { failure: Some("no".into()), ..Memory::default() };
    let text = plan(&seen(&it, 1, Vec::new()), &mut memory, at(0, 0));
    assert!(
        text.contains("\"reason\":\"FailedUpdateScale\"") && !text.contains("scale {"),
        "{text}"
    );
    assert_eq!(size(&seen(&it, 1, Vec::new()), &mut memory, at(0, 15)), Some(2));
}

#[test]
fn what_cannot_be_scaled_is_told_of() {
    let it = hpa(json!({"maxReplicas": 3}));
    let mut none = seen(&it, 1, Vec::new());
    none.target = Err("no matches for kind \"X\" in group \"\"".into());
    check(
        &none,
        expect![[r#"
            event Warning FailedGetScale: no matches for kind "X" in group ""
            merge horizontalpodautoscalers n/a status {"metadata":{"uid":"u"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T01:00:00Z","message":"the HPA controller was unable to get the target's current scale: no matches for kind \"X\" in group \"\"","reason":"FailedGetScale","status":"False","type":"AbleToScale"}],"currentMetrics":[],"currentReplicas":0,"desiredReplicas":0,"lastScaleTime":null,"observedGeneration":null}}
        "#]],
    );
    let mut two = seen(&it, 1, vec![used(&[1])]);
    two.rivals = vec![Key::new("n", "a"), Key::new("n", "b")];
    let text = plan(&two, &mut Memory::default(), at(0, 0));
    let why = "event Warning AmbiguousSelector: pods by selector a=b are controlled by more than one HPA (e.g. [{a n} {b n}])";
    assert!(text.starts_with(why), "{text}");
}
