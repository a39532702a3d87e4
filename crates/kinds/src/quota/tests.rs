//! What objects use, as text.

use super::*;
use expect_test::{Expect, expect};
use skiff_json::{Value, json};

fn check(of: (&str, &str), object: Value, expected: Expect) {
    let type_ = Counted::of(of.0, of.1).expect("it counts");
    let now = "2026-01-01T01:00:00Z".parse().expect("a time");
    let used = Use::of(type_, &Object::new(object), now);
    let lines: Vec<String> = used.amounts.iter().map(|(name, it)| format!("{name}={it}")).collect();
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn pods() {
    let pods = ("", "pods");
    let resources = json!({"requests": {"cpu": "100m", "example.com/gpu": "2"},
        "limits": {"cpu": "1", "memory": "1Gi", "example.com/gpu": "2"}});
    let pod = json!({"spec": {
        "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "1"}}}],
        "containers": [{"name": "c", "resources": resources}], "overhead": {"cpu": "50m"}}});
    check(
        pods,
        pod.clone(),
        expect![[r#"
            count/pods=1
            cpu=1050m
            limits.cpu=1050m
            limits.memory=1Gi
            pods=1
            requests.cpu=1050m
            requests.example.com/gpu=2"#]],
    );
    let mut ended = pod.clone();
    ended["status"] = json!({"phase": "Succeeded"});
    check(pods, ended, expect!["count/pods=1"]);
    let mut stuck = pod;
    stuck["metadata"] =
        json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30});
    check(pods, stuck, expect!["count/pods=1"]);
}

#[test]
fn others() {
    let ports = json!([{"port": 1}, {"port": 2, "nodePort": 30000}]);
    let service = json!({"spec": {"type": "LoadBalancer", "ports": ports}});
    check(
        ("", "services"),
        service.clone(),
        expect![[r#"
            count/services=1
            services=1
            services.loadbalancers=1
            services.nodeports=2"#]],
    );
    let claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1500m"}}}});
    check(
        ("", "persistentvolumeclaims"),
        claim,
        expect![[r#"
            count/persistentvolumeclaims=1
            gold.storageclass.storage.k8s.io/persistentvolumeclaims=1
            gold.storageclass.storage.k8s.io/requests.storage=2
            persistentvolumeclaims=1
            requests.storage=2"#]],
    );
    let requests = json!([{"exactly": {"deviceClassName": "g", "allocationMode": "ExactCount", "count": 3}},
        {"firstAvailable": [{"deviceClassName": "g", "allocationMode": "All"}]}]);
    check(
        ("resource.k8s.io", "resourceclaims"),
        json!({"spec": {"devices": {"requests": requests}}}),
        expect![[r#"
            count/resourceclaims.resource.k8s.io=1
            g.deviceclass.resource.k8s.io/devices=35"#]],
    );
    check(
        ("", "secrets"),
        json!({}),
        expect![[r#"
            count/secrets=1
            secrets=1"#]],
    );
    assert_eq!(Counted::of("", "events"), None);
}

#[test]
fn what_pods_must_say() {
    let pod = json!({"spec": {"containers": [{"name": "b"}, {"name": "a", "resources": {"limits": {"cpu": "1"}}}]}});
    let used = Use::of(Counted::Pods, &Object::new(pod), Time::UNIX_EPOCH);
    let limited = BTreeSet::from(["limits.cpu", "memory", "pods"]);
    let lacks = used.lacks(&limited).expect("it says nothing of memory");
    assert_eq!(lacks, "must specify limits.cpu for: b; memory for: a,b");
}

#[test]
fn names_of_quotas() {
    assert_eq!(named_by("count/boats.x.example.com"), Some(("x.example.com", "boats")));
    assert_eq!(named_by("secrets"), Some(("", "secrets")));
    assert_eq!(named_by("pods"), None);
    assert!(
        Counted::Pods.counts("requests.example.com/gpu") && Counted::Pods.counts("hugepages-2Mi")
    );
    assert!(!Counted::Pods.counts("services") && Counted::Services.counts("services.nodeports"));
    assert!(Counted::Claims.counts("gold.storageclass.storage.k8s.io/requests.storage"));
}
