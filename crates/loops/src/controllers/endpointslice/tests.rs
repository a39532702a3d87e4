//! Cases of the endpoint slices: a service, its pods and slices in, changes out.

use super::*;
use crate::testkit::{merge, view};
use expect_test::{Expect, expect};
use skiff_json::{Value, json};

fn service(more: Value) -> Value {
    let mut value = json!({"metadata": {"name": "web", "namespace": "n", "uid": "s", "labels": {"team": "a"},
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web"}]}});
    merge(&mut value, more);
    value
}

fn pod(number: usize, more: Value) -> Value {
    let ip = format!("10.1.{}.{}", number / 250, number % 250);
    let mut value = json!({"metadata": {"name": format!("p{number}"), "namespace": "n", "uid": format!("u{number}"),
            "labels": {"app": "web"}},
        "spec": {"nodeName": "a", "containers": [{"ports": [{"name": "web", "protocol": "TCP", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions":
            [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:10:00Z"}]}});
    merge(&mut value, more);
    value
}

/// A slice as this loop would have written it.
fn slice(name: &str, pods: &[usize]) -> Value {
    let endpoints: Vec<Value> = pods
        .iter()
        .map(|number| {
            json!({"addresses": [format!("10.1.{}.{}", number / 250, number % 250)],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": "a", "zone": "z", "targetRef": {"kind": "Pod", "namespace": "n",
                    "name": format!("p{number}"), "uid": format!("u{number}")}})
        })
        .collect();
    json!({"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "4",
            "labels": {"team": "a", SERVICE_NAME: "web", MANAGED_BY: MANAGER},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "uid": "s"}]},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}]})
}

fn plan(service: Value, pods: &[Value], slices: &[Value]) -> String {
    plan_without(&[], service, pods, slices)
}

fn plan_without(hidden: &[Key], service: Value, pods: &[Value], slices: &[Value]) -> String {
    let node = json!({"metadata": {"name": "a", "labels": {"topology.kubernetes.io/zone": "z"}}});
    let seen = Seen {
        service: view(service),
        pods: pods.iter().cloned().map(view).collect(),
        nodes: [("a".to_owned(), view(node))].into(),
        slices: slices.iter().cloned().map(view).collect(),
        hidden: hidden.iter().cloned().collect(),
    };
    let mut out = Changes::default();
    EndpointSliceLoop::plan(&seen, &mut trigger::Memory::default(), Time::UNIX_EPOCH, &mut out);
    let text = out.text();
    let lines = text.lines().filter(|line| !line.contains("failed FailedToUpdate"));
    lines.map(|line| format!("{line}\n")).collect()
}

fn check(service: Value, pods: &[Value], slices: &[Value], expected: Expect) {
    expected.assert_eq(&plan(service, pods, slices));
}

#[test]
fn a_service_without_pods_has_an_empty_slice() {
    check(
        service(json!({})),
        &[],
        &[],
        expect![[r#"
        create endpointslices n {"addressType":"IPv4","apiVersion":"discovery.k8s.io/v1","endpoints":[],"kind":"EndpointSlice","metadata":{"annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"2026-01-01T00:00:00Z"},"generateName":"web-","labels":{"endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io","kubernetes.io/service-name":"web","team":"a"},"namespace":"n","ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Service","name":"web","uid":"s"}]},"ports":[]}
    "#]],
    );
    let mut empty = slice("e", &[]);
    empty["ports"] = Value::Null;
    check(service(json!({})), &[], &[empty], expect![[""]]);
    // The last pod went: its slice becomes the empty one.
    check(
        service(json!({})),
        &[],
        &[slice("e", &[1])],
        expect![[r#"
        merge endpointslices n/e  {"endpoints":[],"metadata":{"annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"2026-01-01T00:00:00Z"},"resourceVersion":"4","uid":"e"},"ports":[]}
    "#]],
    );
}

#[test]
fn conditions_follow_the_pod() {
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let named = json!({"spec": {"hostname": "zero", "subdomain": "web"}});
    let ended = json!({"status": {"phase": "Succeeded"}});
    let pods = [pod(1, unready), pod(2, going), pod(3, named), pod(4, ended)];
    check(
        service(json!({"spec": {"clusterIP": "None"}})),
        &pods,
        &[],
        expect![[r#"
        create endpointslices n {"addressType":"IPv4","apiVersion":"discovery.k8s.io/v1","endpoints":[{"addresses":["10.1.0.1"],"conditions":{"ready":false,"serving":false,"terminating":false},"nodeName":"a","targetRef":{"kind":"Pod","name":"p1","namespace":"n","uid":"u1"},"zone":"z"},{"addresses":["10.1.0.2"],"conditions":{"ready":false,"serving":true,"terminating":true},"nodeName":"a","targetRef":{"kind":"Pod","name":"p2","namespace":"n","uid":"u2"},"zone":"z"},{"addresses":["10.1.0.3"],"conditions":{"ready":true,"serving":true,"terminating":false},"hostname":"zero","nodeName":"a","targetRef":{"kind":"Pod","name":"p3","namespace":"n","uid":"u3"},"zone":"z"}],"kind":"EndpointSlice","metadata":{"annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"2026-01-01T00:00:00Z"},"generateName":"web-","labels":{"endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io","kubernetes.io/service-name":"web","service.kubernetes.io/headless":"","team":"a"},"namespace":"n","ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Service","name":"web","uid":"s"}]},"ports":[{"name":"http","port":8080,"protocol":"TCP"}]}
    "#]],
    );
    let all = plan(service(json!({"spec": {"publishNotReadyAddresses": true}})), &pods, &[]);
    assert_eq!(all.matches("\"ready\":true").count(), 3, "{all}");
}

#[test]
fn what_is_right_is_left_alone() {
    check(service(json!({})), &[pod(1, json!({}))], &[slice("e", &[1])], expect![[""]]);
    let relabeled = service(json!({"metadata": {"labels": {"team": "b"}}}));
    check(
        relabeled,
        &[pod(1, json!({}))],
        &[slice("e", &[1])],
        expect![[r#"
        merge endpointslices n/e  {"metadata":{"annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"2026-01-01T00:00:00Z"},"labels":{"endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io","kubernetes.io/service-name":"web","team":"b"},"resourceVersion":"4","uid":"e"}}
    "#]],
    );
}

#[test]
fn ports_that_differ_make_slices_of_their_own() {
    let other = json!({"spec": {"containers": [{"ports": [{"name": "web", "protocol": "TCP", "containerPort": 9090}]}]}});
    check(
        service(json!({})),
        &[pod(1, json!({})), pod(2, other)],
        &[slice("e", &[1])],
        expect![[r#"
        create endpointslices n {"addressType":"IPv4","apiVersion":"discovery.k8s.io/v1","endpoints":[{"addresses":["10.1.0.2"],"conditions":{"ready":true,"serving":true,"terminating":false},"nodeName":"a","targetRef":{"kind":"Pod","name":"p2","namespace":"n","uid":"u2"},"zone":"z"}],"kind":"EndpointSlice","metadata":{"annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"2026-01-01T00:00:00Z"},"generateName":"web-","labels":{"endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io","kubernetes.io/service-name":"web","team":"a"},"namespace":"n","ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Service","name":"web","uid":"s"}]},"ports":[{"name":"http","port":9090,"protocol":"TCP"}]}
    "#]],
    );
}

/// Which slices are written, with how many endpoints.
fn sizes(pods: std::ops::Range<usize>, slices: &[Value]) -> Vec<(String, usize)> {
    let pods: Vec<Value> = pods.map(|number| pod(number, json!({}))).collect();
    let text = plan(service(json!({})), &pods, slices);
    let what = |line: &str| line.split(" {").next().unwrap_or("").trim().to_owned();
    text.lines().map(|line| (what(line), line.matches("targetRef").count())).collect()
}

#[test]
fn few_slices_are_written() {
    let numbers = |range: std::ops::Range<usize>| range.collect::<Vec<_>>();
    // Two full slices and a rest.
    assert_eq!(
        sizes(0..230, &[]).into_iter().map(|(_, size)| size).collect::<Vec<_>>(),
        [100, 100, 30]
    );
    // New ones go where all fit most tightly.
    let (small, large) = (slice("small", &numbers(0..10)), slice("large", &numbers(10..100)));
    assert_eq!(
        sizes(0..105, &[small.clone(), large.clone()]),
        [("merge endpointslices n/large".to_owned(), 95)]
    );
    // A slice that changes anyway takes them.
    assert_eq!(sizes(5..105, &[small, large]), [("merge endpointslices n/small".to_owned(), 10)]);
}

#[test]
fn a_pod_whose_node_is_not_known_waits() {
    let elsewhere = pod(1, json!({"spec": {"nodeName": "b"}}));
    let text = plan(service(json!({})), &[elsewhere], &[]);
    assert!(text.contains("because the node of a pod is not there yet"), "{text}");
}

#[test]
fn traffic_may_stay_near() {
    let near = service(json!({"spec": {"trafficDistribution": "PreferSameNode"}}));
    let text = plan(near, &[pod(1, json!({}))], &[]);
    assert!(
        text.contains(r#""hints":{"forNodes":[{"name":"a"}],"forZones":[{"name":"z"}]}"#),
        "{text}"
    );
}

#[test]
fn the_trigger_is_the_earliest_news() {
    let service: Arc<Service> = view(service(json!({})));
    let pods: Vec<Arc<Pod>> = vec![view(pod(1, json!({})))];
    let mut memory = trigger::Memory::default();
    assert_eq!(memory.trigger(&service, &pods), service.metadata.creation_timestamp);
    assert_eq!(memory.trigger(&service, &pods), None);
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True",
        "lastTransitionTime": "2026-01-01T00:20:00Z"}]}});
    let pods: Vec<Arc<Pod>> = vec![view(pod(1, ready))];
    assert_eq!(
        memory.trigger(&service, &pods),
        Some("2026-01-01T00:20:00Z".parse().expect("a time"))
    );
}

#[test]
fn what_cannot_be_read_keeps_its_endpoints() {
    let (web, slices) = (service(json!({})), [slice("web-a", &[1, 2])]);
    let (one, two) = (|| pod(1, json!({})), || pod(2, json!({})));
    let gone = plan(web.clone(), &[one()], &slices);
    assert!(gone.contains("merge endpointslices") && !gone.contains("10.1.0.2"), "{gone}");
    // Its record, or that of its node: nothing is written.
    for (hidden, pods) in [
        (Key::new("n", "p2"), vec![one()]),
        (Key::new("", "a"), vec![one(), two()]),
        (Key::new("", "a"), Vec::new()),
        (Key::new("n", "p2"), vec![one(), two()]),
    ] {
        assert_eq!(plan_without(&[hidden], web.clone(), &pods, &slices), "", "{pods:?}");
    }
    // A namesake elsewhere is another one.
    assert_eq!(plan_without(&[Key::new("m", "p2")], web, &[one()], &slices), gone);
}
