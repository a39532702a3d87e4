//! Fourth landing: what survives, and what is left behind (nothing).

use std::time::{Duration, Instant};

use skiff_tests::cluster::{BUSYBOX, Cluster};
use skiff_tests::load::Load;

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

#[track_caller]
fn restarts(c: &Cluster) -> String {
    c.k.ok("get pod p -o jsonpath={.status.containerStatuses[0].restartCount}")
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
        assert_eq!(restarts(&c), "0", "round {round}");
        assert!(count(&c) > before);
    }
}

/// Killed every 2 s while four workers write: for 20 s, or as many as SKIFF_KILL_S says.
#[test]
fn what_was_acknowledged_is_there() {
    const EVERY: Duration = Duration::from_secs(2);
    let lasts_s = std::env::var("SKIFF_KILL_S").map_or(20, |text| text.parse().unwrap());
    let c = Cluster::start("trusted-writes");
    c.load_busybox();
    c.k.apply(&counter());
    c.k.wait("--for=condition=Ready pod/p");
    let load = Load::start(&c, 4).unwrap();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(lasts_s) {
        let round = Instant::now();
        c.shell(&format!("kill -9 {}", c.daemon()));
        c.skiff(&["up"]);
        // The pace of the load, nothing waits for it.
        c.shell(&format!("sleep {}", EVERY.saturating_sub(round.elapsed()).as_secs_f64()));
    }
    let acknowledged = load.settle(&c).unwrap();
    assert!(acknowledged > lasts_s, "only {acknowledged} writes in {lasts_s} s");
    println!("{acknowledged} writes acknowledged in {lasts_s} s, none lost");
    assert_eq!(restarts(&c), "0");
    count(&c);
}

#[test]
fn the_supervisor_dies_and_nothing_restarts() {
    let c = Cluster::start("trusted-supervisor");
    c.load_busybox();
    c.k.apply(&counter());
    c.k.wait("--for=condition=Ready pod/p");
    let before = count(&c);
    c.shell("kill -9 $(pgrep -x skiff-super)");
    assert_eq!(c.k.ok("exec p -- echo there"), "there\n");
    assert!(count(&c) > before, "its log goes on");
    assert_eq!(restarts(&c), "0");
    c.k.ok("delete pod p");
    c.k.apply(&counter());
    c.k.wait("--for=condition=Ready pod/p");
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

/// Everything outside of the cluster that a user could find changed.
fn traces(c: &Cluster) -> String {
    let look = format!(
        "echo 1 processes; ps -e -o args= | grep -vE '^(ps|grep|bash|sort)( |$)' | sort; \
         echo 2 links; ip -o link | cut -d: -f2; ip -o -4 address | sed 's/ valid_lft.*//'; \
         echo 3 routes; ip route; ip rule; ip netns; \
         echo 4 rules; nft list ruleset; \
         echo 5 mounts; cut -d' ' -f2 /proc/mounts | sort; \
         echo 6 files; find /var/lib /run $HOME; \
         echo 7 cgroups; find /sys/fs/cgroup -name '{}*' -type d; \
         echo 8 sysctls; grep -rs . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf | sort",
        c.cgroup()
    );
    c.shell(&look)
}

#[test]
fn delete_leaves_no_trace() {
    let c = Cluster::empty("trusted-trace");
    let archive = c.busybox("docker");
    let before = traces(&c);
    c.skiff(&["up"]);
    c.skiff(&["image", "load", &archive]);
    c.k.apply(&counter());
    c.k.ok("create service nodeport p --tcp=80");
    c.k.wait("--for=condition=Ready pod/p");
    let during = traces(&c);
    for trace in ["skiff server", "skiff0", "skiff-services", "/var/lib/skiff"] {
        assert!(during.contains(trace), "one would not see {trace}: {during}");
    }
    c.skiff(&["delete"]);
    assert_eq!(traces(&c), before);
}

/// A cluster beside the host's: apart, with a way out of its own, which does not end when the
/// host's cluster does.
#[test]
fn two_profiles_side_by_side() {
    let c = Cluster::empty("trusted-profiles");
    let archive = c.busybox("docker");
    let data = c.machine().data().display();
    c.shell(&format!(
        "ip netns add out; ip link add up0 type veth peer name up1 netns out; \
         ip address add 198.51.100.1/24 dev up0; ip link set up0 up; \
         ip -n out address add 198.51.100.2/24 dev up1; ip -n out link set up1 up; \
         mkdir {data}/page; echo outside > {data}/page/index.html; \
         ip netns exec out busybox httpd -p 80 -h {data}/page"
    ));
    let before = traces(&c);
    c.skiff(&["up"]);
    c.skiff(&["up", "-p", "other"]);
    c.k.ok("--context skiff create configmap here");
    assert!(c.k.fails("--context skiff-other get configmap here").contains("NotFound"));
    c.skiff(&["image", "load", "-p", "other", &archive]);
    c.k.ok("config use-context skiff-other");
    c.k.apply(&counter());
    c.k.wait("--for=condition=Ready pod/p");
    let fetch = "exec p -- wget -q -O- http://198.51.100.2/";
    assert_eq!(c.k.ok(fetch), "outside\n");
    c.skiff(&["delete"]);
    assert_eq!(c.k.ok(fetch), "outside\n", "without the host's cluster");
    c.skiff(&["delete", "-p", "other"]);
    assert_eq!(traces(&c), before);
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
