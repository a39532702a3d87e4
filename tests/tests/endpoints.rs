//! Endpoints: those that follow pods, and those that somebody wrote by hand and a Service serves all the same.

use skiff_tests::cluster::{BUSYBOX, Cluster};

/// A pod that serves its own name.
fn web(name: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","labels":{{"app":"web"}}}},"spec":{{
        "terminationGracePeriodSeconds":1,"containers":[{{"name":"c","image":"{BUSYBOX}","command":["sh","-c",
        "hostname > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"],
        "readinessProbe":{{"httpGet":{{"path":"/","port":8080}},"periodSeconds":1}}}}]}}}}"#
    )
}

#[test]
fn endpoints_follow_pods_and_are_mirrored() {
    let c = Cluster::start("endpoints");
    c.load_busybox();
    c.k.apply(&web("a"));
    c.k.apply(&web("b"));
    c.k.ok("create service clusterip web --tcp=80:8080");
    c.k.wait("--for=condition=Ready pod/a pod/b");
    c.k.wait("--for=jsonpath={.subsets[0].addresses[1].targetRef.kind}=Pod endpoints/web");
    let names = "get endpoints web -o jsonpath={.subsets[*].addresses[*].targetRef.name}";
    let mut told: Vec<String> = c.k.ok(names).split_whitespace().map(str::to_owned).collect();
    told.sort();
    assert_eq!(told, ["a", "b"]);
    c.k.ok("delete pod b");
    let address = c.k.ok("get pod a -o jsonpath={.status.podIP}");
    let only = format!("--for=jsonpath={{.subsets[*].addresses[*].ip}}={address} endpoints/web");
    c.k.wait(&only);
    assert!(c.k.ok("get endpoints web").contains(&format!("{address}:8080")));
    // Of a Service that selects nothing, what somebody writes is served.
    c.k.apply(
        r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"outside"},"spec":{"ports":[{"port":80}]}}"#,
    );
    c.k.apply(&format!(
        r#"{{"apiVersion":"v1","kind":"Endpoints","metadata":{{"name":"outside"}},"subsets":[{{
        "addresses":[{{"ip":"{address}"}}],"ports":[{{"port":8080}}]}}]}}"#
    ));
    c.k.wait("--for=create endpointslice -l kubernetes.io/service-name=outside");
    let at = c.k.ok("get service outside -o jsonpath={.spec.clusterIP}");
    let fetch =
        format!("for i in $(seq 50); do timeout 2 wget -q -O- http://{at}/ && exit; done; exit 1");
    assert_eq!(c.k.args(&["exec", "a", "--", "sh", "-c", &fetch]), "a\n");
    // The addresses of both are objects, and go with them.
    let taken = c.k.ok("get ipaddresses");
    assert!(taken.contains("services/default/outside") && taken.contains("services/default/web"));
    c.k.ok("delete service outside web");
    assert!(!c.k.ok("get ipaddresses").contains("services/default/web"));
    c.k.wait("--for=delete endpointslice -l kubernetes.io/service-name=outside");
    assert_eq!(c.k.ok("get endpoints -o name"), "endpoints/kubernetes\n");
}
