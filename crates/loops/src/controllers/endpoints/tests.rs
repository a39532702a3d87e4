//! Cases of Endpoints: a service, its pods and what is there in, changes out.

use super::*;
use crate::testkit::view;
use expect_test::{Expect, expect};
use skiff_json::{Value, json};

fn service(spec: Value) -> Value {
    let mut service = json!({"metadata": {"name": "web", "namespace": "n", "uid": "s", "labels": {"team": "a"}},
        "spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web"}]}});
    for (field, value) in spec.as_object().expect("fields of the spec") {
        service["spec"][field] = value.clone();
    }
    service
}

fn pod(name: &str, ready: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "web"}},
        "spec": {"nodeName": "a", "hostname": "h", "subdomain": "web",
            "containers": [{"ports": [{"name": "web", "protocol": "TCP", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": format!("10.1.0.{}", name.len()),
            "podIPs": [{"ip": format!("10.1.0.{}", name.len())}],
            "conditions": [{"type": "Ready", "status": ready}]}})
}

fn seen(service: Option<Value>, pods: &[Value], endpoints: Option<Value>) -> Seen {
    Seen {
        service: service.map(view),
        pods: pods.iter().cloned().map(view).collect(),
        endpoints: endpoints.map(view),
        hidden: BTreeSet::new(),
    }
}

fn plan(seen: &Seen) -> String {
    let mut out = Changes::default();
    EndpointsLoop::plan(seen, &mut trigger::Memory::default(), Time::UNIX_EPOCH, &mut out);
    let text = out.text();
    let lines = text.lines().filter(|line| !line.contains("failed FailedTo"));
    lines.map(|line| format!("{line}\n")).collect()
}

fn check(service: Value, pods: &[Value], endpoints: Option<Value>, expected: Expect) {
    expected.assert_eq(&plan(&seen(Some(service), pods, endpoints)));
}

fn address(name: &str) -> Value {
    json!({"ip": format!("10.1.0.{}", name.len()), "hostname": "h", "nodeName": "a",
        "targetRef": {"kind": "Pod", "namespace": "n", "name": name, "uid": name}})
}

fn endpoints(subsets: Value) -> Value {
    json!({"metadata": {"name": "web", "namespace": "n", "uid": "e", "resourceVersion": "4",
            "labels": {"team": "a", MANAGED_BY: CONTROLLER}}, "subsets": subsets})
}

#[test]
fn ready_and_other_pods_are_told_apart() {
    let ended = json!({"phase": "Succeeded", "podIPs": [{"ip": "10.1.0.9"}]});
    let mut gone = pod("ended", "True");
    gone["status"] = ended;
    check(
        service(json!({})),
        &[pod("a", "True"), pod("bb", "False"), gone],
        None,
        expect![[r#"
            create endpoints n {"apiVersion":"v1","kind":"Endpoints","metadata":{"labels":{"endpoints.kubernetes.io/managed-by":"endpoint-controller","team":"a"},"name":"web","namespace":"n"},"subsets":[{"addresses":[{"hostname":"h","ip":"10.1.0.1","nodeName":"a","targetRef":{"kind":"Pod","name":"a","namespace":"n","uid":"a"}}],"notReadyAddresses":[{"hostname":"h","ip":"10.1.0.2","nodeName":"a","targetRef":{"kind":"Pod","name":"bb","namespace":"n","uid":"bb"}}],"ports":[{"name":"http","port":8080,"protocol":"TCP"}]}]}
        "#]],
    );
}

#[test]
fn what_is_right_is_left_alone() {
    let port = json!([{"name": "http", "port": 8080, "protocol": "TCP"}]);
    let was = endpoints(json!([{"addresses": [address("a")], "ports": port}]));
    check(service(json!({})), &[pod("a", "True")], Some(was.clone()), expect![[""]]);
    check(
        service(json!({"clusterIP": "None"})),
        &[pod("a", "False")],
        Some(was),
        expect![[r#"
            merge endpoints n/web  {"metadata":{"annotations":{"endpoints.kubernetes.io/last-change-trigger-time":null,"endpoints.kubernetes.io/over-capacity":null},"labels":{"endpoints.kubernetes.io/managed-by":"endpoint-controller","service.kubernetes.io/headless":"","team":"a"},"resourceVersion":"4","uid":"e"},"subsets":[{"notReadyAddresses":[{"hostname":"h","ip":"10.1.0.1","nodeName":"a","targetRef":{"kind":"Pod","name":"a","namespace":"n","uid":"a"}}],"ports":[{"name":"http","port":8080,"protocol":"TCP"}]}]}
        "#]],
    );
}

#[test]
fn a_pod_without_the_port_is_not_behind_it() {
    let without = service(
        json!({"ports": [{"name": "x", "protocol": "TCP", "port": 1, "targetPort": "none"}]}),
    );
    let text = plan(&seen(Some(without), &[pod("a", "True")], None));
    assert!(text.contains(r#""subsets":[]"#), "{text}");
    let headless = service(json!({"clusterIP": "None", "ports": []}));
    let text = plan(&seen(Some(headless), &[pod("a", "True")], None));
    assert!(text.contains(r#""subsets":[{"addresses":[{"#) && !text.contains("ports"), "{text}");
}

#[test]
fn those_of_a_service_that_is_gone_go() {
    let text = plan(&seen(None, &[], Some(endpoints(json!([])))));
    assert_eq!(text, "delete endpoints n/web uid=e\n");
}

#[test]
fn what_cannot_be_read_keeps_its_address() {
    let port = json!([{"name": "http", "port": 8080, "protocol": "TCP"}]);
    let was = endpoints(json!([{"addresses": [address("a"), address("bb")], "ports": port}]));
    let mut seen = seen(Some(service(json!({}))), &[pod("a", "True")], Some(was));
    assert!(plan(&seen).starts_with("merge endpoints"));
    seen.hidden.insert(Key::new("n", "bb"));
    assert_eq!(plan(&seen), "");
}

#[test]
fn a_thousand_are_told_ready_ones_first() {
    let of = |ready: usize, others: usize| EndpointSubset {
        addresses: vec![EndpointAddress::default(); ready],
        not_ready_addresses: vec![EndpointAddress::default(); others],
        ports: Vec::new(),
    };
    let check = |subsets: &[(usize, usize)], expected: &[(usize, usize)], over: bool| {
        let mut all: Vec<_> = subsets.iter().map(|(ready, others)| of(*ready, *others)).collect();
        assert_eq!(truncate(&mut all), over);
        let left: Vec<_> =
            all.iter().map(|it| (it.addresses.len(), it.not_ready_addresses.len())).collect();
        assert_eq!(left, expected);
    };
    check(&[(500, 500)], &[(500, 500)], false);
    check(&[(400, 900)], &[(400, 600)], true);
    check(&[(900, 5), (600, 5)], &[(600, 0), (400, 0)], true);
}
