//! Budgets, drains and preemption where pods really run.

use skiff_tests::cluster::{BUSYBOX, Cluster};

/// Some pods that run until they are told to end, and go at once.
fn deployment(name: &str, replicas: u32, more: &str) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"{name}"}},"spec":{{"replicas":{replicas},
        "selector":{{"matchLabels":{{"app":"{name}"}}}},"template":{{"metadata":{{"labels":{{"app":"{name}"}}}},
        "spec":{{"terminationGracePeriodSeconds":0,{more}"containers":[{{"name":"c","image":"{BUSYBOX}",
        "command":["sleep","3600"]}}]}}}}}}}}"#
    )
}

#[test]
fn an_eviction_waits_for_its_budget_and_a_drain_for_evictions() {
    let c = Cluster::start("scale-budget");
    c.load_busybox();
    c.k.apply(&deployment("web", 2, ""));
    c.k.ok("create pdb web --selector=app=web --min-available=1");
    c.k.wait("--for=condition=Available deployment/web");
    c.k.wait("--for=jsonpath={.status.disruptionsAllowed}=1 pdb/web");
    let node = c.k.ok("get nodes -o jsonpath={.items[0].metadata.name}");
    // The first pod goes; its successor has no node to go to, so the other one stays.
    let refused = c.k.fails(&format!("drain {node} --ignore-daemonsets --force --timeout=5s"));
    assert!(
        refused.contains("Cannot evict pod as it would violate the pod's disruption budget"),
        "{refused}"
    );
    c.k.wait("--for=jsonpath={.status.currentHealthy}=1 pdb/web");
    c.k.ok("delete pdb web");
    c.k.ok(&format!("drain {node} --ignore-daemonsets --force --timeout=30s"));
    c.k.ok(&format!("uncordon {node}"));
    c.k.wait("--for=condition=Available deployment/web");
}

#[test]
fn who_matters_more_takes_the_room_of_who_matters_less() {
    let c = Cluster::start("scale-preempt");
    c.load_busybox();
    let cpus: u32 = c.k.ok("get nodes -o jsonpath={..allocatable.cpu}").parse().unwrap();
    let asks = format!(r#""resources":{{"requests":{{"cpu":"{}m"}}}},"#, cpus * 1000 - 500);
    let pod = |name: &str, class: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{{class}
            "terminationGracePeriodSeconds":1,"containers":[{{"name":"c","image":"{BUSYBOX}",{asks}
            "command":["sleep","3600"]}}]}}}}"#
        )
    };
    c.k.ok("create priorityclass high --value=1000");
    c.k.ok("create priorityclass calm --value=2000 --preemption-policy=Never");
    c.k.apply(&pod("low", ""));
    c.k.wait("--for=condition=Ready pod/low");
    c.k.apply(&pod("calm", r#""priorityClassName":"calm","#));
    c.k.wait("--for=condition=PodScheduled=False pod/calm");
    let why = "{.status.conditions[?(@.type==\"PodScheduled\")].message}";
    let said = c.k.ok(&format!("get pod calm -o jsonpath={why}"));
    assert!(said.ends_with("preemption: not eligible due to preemptionPolicy=Never."), "{said}");
    c.k.ok("delete pod calm");
    c.k.apply(&pod("high", r#""priorityClassName":"high","#));
    c.k.wait("--for=condition=Ready pod/high");
    assert!(c.k.fails("get pod low").contains("not found"));
    let events = "get events --field-selector=involvedObject.name=low,reason=Preempted -o jsonpath={.items[*].message}";
    let uid = c.k.ok("get pod high -o jsonpath={.metadata.uid}");
    assert!(c.k.ok(events).starts_with(&format!("Preempted by pod {uid} on node ")));
    assert_eq!(c.k.ok("get pod high -o jsonpath={.status.nominatedNodeName}"), "");
}

#[test]
fn an_autoscaler_keeps_its_bounds_without_any_metric() {
    let c = Cluster::start("scale-bounds");
    c.load_busybox();
    c.k.apply(&deployment("web", 1, ""));
    c.k.ok("autoscale deployment web --min=2 --max=3 --cpu=50%");
    c.k.wait("--for=jsonpath={.status.availableReplicas}=2 deployment/web");
    c.k.ok("scale deployment web --replicas=5");
    c.k.wait("--for=jsonpath={.spec.replicas}=3 deployment/web");
    assert!(
        c.k.ok("describe hpa web")
            .contains("New size: 2; reason: Current number of replicas below Spec.MinReplicas")
    );
}
