//! Quotas under load, and pods that a taint drives away.

use skiff_tests::cluster::{BUSYBOX, Cluster};

/// Creates as many objects of a resource at once, all from this body; how often each code was the answer.
fn storm(c: &Cluster, resource: &str, body: &str, count: usize) -> Vec<(String, usize)> {
    let of = |path: &str| c.k.ok(&format!("config view --raw -o jsonpath={{{path}}}"));
    let server = of(".clusters[0].cluster.server");
    let ca = of(".clusters[0].cluster.certificate-authority-data");
    let (crt, key) =
        (of(".users[0].user.client-certificate-data"), of(".users[0].user.client-key-data"));
    let script = format!(
        r#"cd $(mktemp -d); echo {ca} | base64 -d > ca; echo {crt} | base64 -d > crt; echo {key} | base64 -d > key
        curl -s -Z --parallel-max 64 --cacert ca --cert crt --key key -H 'Content-Type: application/json' \
          -d '{body}' -o /dev/null -w '%{{http_code}}\n' \
          "{server}/api/v1/namespaces/default/{resource}?x=[1-{count}]" | sort | uniq -c"#
    );
    let told = c.shell(&script);
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let count = words.next().and_then(|it| it.parse().ok()).expect("a count");
        (words.next().expect("a code").to_owned(), count)
    };
    told.lines().map(line).collect()
}

fn quota(c: &Cluster, name: &str, hard: &str) {
    c.k.ok(&format!("create quota {name} --hard={hard}"));
    let (resource, _) = hard.split_once('=').expect("a name and an amount");
    c.k.wait(&format!("--for=jsonpath={{.status.used.{resource}}} quota/{name}"));
}

#[test]
fn exactly_as_many_as_a_quota_allows() {
    let c = Cluster::start("quota-storm");
    quota(&c, "pods", "pods=1000");
    let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"p-"},
        "spec":{"schedulerName":"nobody","containers":[{"name":"c","image":"x"}]}}"#;
    assert_eq!(storm(&c, "pods", pod, 64), [("201".to_owned(), 64)], "nobody fights for a quota");
    assert_eq!(c.k.ok("get quota pods -o jsonpath={.status.used.pods}"), "64");
    quota(&c, "secrets", "count/secrets=500");
    let secret = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"generateName":"s-"}}"#;
    let told = storm(&c, "secrets", secret, 1000);
    assert_eq!(told, [("201".to_owned(), 500), ("403".to_owned(), 500)]);
    assert_eq!(c.k.ok("get secrets -o name").lines().count(), 500);
    // What goes is free again, and what is counted then is right.
    c.k.ok("delete secrets --all --wait=false");
    c.k.wait("--for=jsonpath={.status.used.count/secrets}=0 quota/secrets");
    c.k.ok("delete pods --all --grace-period=0 --force");
    c.k.wait("--for=jsonpath={.status.used.pods}=0 quota/pods");
}

#[test]
fn a_taint_drives_pods_away() {
    let c = Cluster::start("quota-taint");
    c.load_busybox();
    let pod = |name: &str, tolerations: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{
            "terminationGracePeriodSeconds":1,"tolerations":[{tolerations}],
            "containers":[{{"name":"c","image":"{BUSYBOX}","command":["sleep","3600"]}}]}}}}"#
        )
    };
    c.k.apply(&pod("goes", ""));
    c.k.apply(&pod("stays", r#"{"key":"mine","operator":"Exists"}"#));
    let while_ = r#"{"key":"mine","operator":"Exists","effect":"NoExecute","tolerationSeconds":2}"#;
    c.k.apply(&pod("while", while_));
    quota(&c, "q", "pods=3");
    c.k.wait("--for=condition=Ready pod/goes pod/stays pod/while");
    c.k.ok("taint nodes --all mine=1:NoExecute");
    c.k.wait("--for=delete pod/goes pod/while");
    let told = c.k.ok("get events --field-selector=reason=TaintManagerEviction \
        -o jsonpath={.items[*].message}");
    assert!(told.contains("Marking for deletion Pod default/goes"), "{told}");
    assert_eq!(c.k.ok("get pods -o name"), "pod/stays\n");
    c.k.wait("--for=jsonpath={.status.used.pods}=1 quota/q");
}
