//! Fourth landing: what survives, and what is left behind (nothing).

use skiff_tests::cluster::{BUSYBOX, Cluster};

const COUNTER: &str = "i=0; while true; do echo $i; i=$((i+1)); sleep 0.05; done";

fn counter() -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p"}},"spec":{{
        "terminationGracePeriodSeconds":1,"containers":[{{"name":"c","image":"{BUSYBOX}",
        "command":["sh","-c","{COUNTER}"]}}]}}}}"#
    )
}

/// The numbers that the counter wrote, which must have no gap.
#[track_caller]
fn count(c: &Cluster) -> usize {
    let lines: Vec<usize> = c.k.ok("logs p").lines().map(|l| l.parse().unwrap()).collect();
    assert!(lines.iter().enumerate().all(|(i, n)| i == *n), "a line is lost: {lines:?}");
    lines.len()
}

#[test]
fn the_daemon_dies_and_nothing_restarts() {
    let c = Cluster::start("trusted-daemon");
    c.load_busybox();
    c.k.apply(&counter());
    c.k.wait("--for=condition=Ready pod/p");
    for round in 0..3 {
        let before = count(&c);
        c.shell(&format!("kill -9 {}", c.daemon()));
        c.skiff(&["up"]);
        c.k.wait("--for=condition=Ready pod/p");
        let restarts = "get pod p -o jsonpath={.status.containerStatuses[0].restartCount}";
        assert_eq!(c.k.ok(restarts), "0", "round {round}");
        assert!(count(&c) >= before);
    }
}

#[test]
fn what_was_acknowledged_is_there() {
    let c = Cluster::start("trusted-writes");
    let mut revisions = Vec::new();
    for round in 0..5 {
        for i in 0..20 {
            c.k.ok(&format!("create configmap m-{round}-{i}"));
        }
        c.shell(&format!("kill -9 {}", c.daemon()));
        c.skiff(&["up"]);
        let names = c.k.ok("get configmaps -o name");
        assert_eq!(names.matches("configmap/m-").count(), (round + 1) * 20);
        let revision = c
            .k
            .ok(&format!("get configmap m-{round}-19 -o jsonpath={{.metadata.resourceVersion}}"));
        revisions.push(revision.parse::<u64>().unwrap());
    }
    assert!(revisions.is_sorted_by(|a, b| a < b), "a revision came back: {revisions:?}");
}

#[test]
fn a_watch_goes_on_from_its_revision_after_a_crash() {
    let c = Cluster::start("trusted-watch");
    let from = c.k.ok("get --raw /api/v1/namespaces/default/configmaps");
    let from: serde_json::Value = serde_json::from_str(&from).unwrap();
    let from = from["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    c.k.ok("create configmap a");
    c.shell(&format!("kill -9 {}", c.daemon()));
    c.skiff(&["up"]);
    let path = "/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=1&resourceVersion=";
    let events = c.k.ok(&format!("get --raw {path}{from}"));
    assert_eq!(events.matches(r#""type":"ADDED""#).count(), 1, "{events}");
}

#[test]
fn delete_leaves_no_trace() {
    let c = Cluster::empty("trusted-trace");
    let look = "ip -o link | cut -d: -f2; ip route; nft list ruleset 2>/dev/null; \
        cut -d' ' -f2 /proc/mounts | sort; ls -A /root /var/lib /run; \
        find /sys/fs/cgroup -name '*skiff*' -type d; \
        sysctl -a 2>/dev/null | grep -E 'ip_forward|bridge-nf'";
    let before = c.shell(look);
    c.skiff(&["up"]);
    c.load_busybox();
    c.k.apply(&counter());
    c.k.wait("--for=condition=Ready pod/p");
    c.skiff(&["delete"]);
    let after = c.shell(look).replace(".kube\n", "");
    assert_eq!(after, before.replace(".kube\n", ""));
}

#[test]
fn two_profiles_side_by_side() {
    let c = Cluster::start("trusted-profiles");
    c.skiff(&["up", "-p", "other"]);
    c.k.ok("--context skiff create configmap here");
    assert!(c.k.fails("--context skiff-other get configmap here").contains("NotFound"));
    c.skiff(&["delete", "-p", "other"]);
    c.k.ok("--context skiff get configmap here");
}

#[test]
fn bad_archives_are_refused() {
    let c = Cluster::start("trusted-archives");
    let folder = c.machine().data().display().to_string();
    for (name, make) in [
        ("dots", "tar -cPf F.tar --transform 's,x,../../x,' x"),
        ("absolute", "tar -cPf F.tar --transform 's,x,/x,' x"),
        ("empty", "tar -cf F.tar -T /dev/null"),
        ("noise", "head -c 100000 /dev/urandom > F.tar"),
    ] {
        let make = make.replace('F', name);
        c.shell(&format!("cd {folder} && echo x > x && {make}"));
        let answer = c.skiff_answers(&["image", "load", &format!("{folder}/{name}.tar")]);
        assert_ne!(answer.code, 0, "{name} was taken");
        assert!(!answer.err.trim().is_empty(), "{name} gets a clear error");
    }
}
