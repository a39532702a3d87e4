//! Locks: what a pod's processes see of those that start them, and what outlives whom.

use serde_json::{Value, json};
use skiff_tests::cluster::{BUSYBOX, Cluster};

fn pod(name: &str, mut spec: Value, containers: Value) -> String {
    spec["terminationGracePeriodSeconds"] = 0.into();
    spec["containers"] = containers;
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}).to_string()
}

fn container(name: &str, script: &str, add: &[&str]) -> Value {
    json!({"name": name, "image": BUSYBOX, "command": ["sh", "-c", script],
        "securityContext": {"capabilities": {"add": add}}})
}

/// CAP_SYS_PTRACE is leave to look into all processes that a container sees: among those is nothing
/// of the machine.
#[test]
fn a_pod_sees_only_itself() {
    let c = Cluster::start("locks-init-pids");
    c.load_busybox();
    let mark = c.machine().home().join("mark").display().to_string();
    c.shell(&format!("touch {mark}"));
    let spy = format!(
        "until [ -e /tmp/done ]; do for p in /proc/[0-9]*; do [ -e $p/root{mark} ] && echo $p; done; \
         done > /tmp/seen 2>/dev/null; echo nothing >> /tmp/seen; mv /tmp/seen /tmp/spied; sleep 3600"
    );
    let both = json!([container("a", &spy, &["SYS_PTRACE"]), container("b", "sleep 3600", &[])]);
    c.k.apply(&pod("shared", json!({"shareProcessNamespace": true}), both));
    c.k.wait("--for=condition=Ready pod/shared");
    let inside = |script: &str| c.k.args(&["exec", "shared", "-c", "a", "--", "sh", "-c", script]);
    assert_eq!(inside("ls /proc/1/root/ /proc/1/fd/ | grep -v ^/proc"), "\n");
    assert_eq!(inside("cat /proc/1/cmdline | tr '\\0' ' '"), "/pause ");
    assert_eq!(inside("cat /proc/1/environ"), "");
    assert_eq!(inside("grep -c . /proc/1/mountinfo"), "1\n");
    // Its memory has a program of one page and the kernel's own: nothing of Skiff.
    assert_eq!(
        inside("grep -c skiff /proc/1/maps /proc/1/exe || true"),
        "/proc/1/maps:0\n/proc/1/exe:0\n"
    );
    assert_eq!(inside("grep -l [p]od-init /proc/[0-9]*/cmdline || echo none"), "none\n");
    // Neighbours are seen, and orphans are reaped.
    assert!(inside("ps").contains("sleep 3600"));
    assert_eq!(
        inside("(true &) ; sleep 0.2; ps | grep -c '[Zz]ombie\\|\\[true\\]' || true"),
        "0\n"
    );
    // While others start and are entered, no process passes by with the machine's root.
    for _ in 0..10 {
        c.k.ok("exec shared -c b -- true");
    }
    inside("touch /tmp/done; until [ -e /tmp/spied ]; do sleep 0.05; done");
    assert_eq!(inside("cat /tmp/spied"), "nothing\n");
    // With the machine's process ids, what is Skiff's stays closed to root without that capability.
    c.k.apply(&pod("host", json!({"hostPID": true}), json!([container("c", "sleep 3600", &[])])));
    c.k.wait("--for=condition=Ready pod/host");
    let script = "for p in $(grep -l skiff /proc/[0-9]*/comm | cut -d/ -f3); do \
        ls -A /proc/$p/root/ /proc/$p/cwd/ /proc/$p/map_files/; \
        for f in environ mem exe fd/0 fd/3; do cat /proc/$p/$f | head -c 1; done; done 2>/dev/null \
        | grep -v '^/proc' | grep -c .; [ $(grep -l skiff /proc/[0-9]*/comm | wc -l) -ge 3 ]";
    assert_eq!(c.k.args(&["exec", "host", "--", "sh", "-c", script]), "0\n");
}

/// The result of a probe, a hook or a command is its own: not that of what it leaves behind.
#[test]
fn a_command_ends_when_it_ends() {
    let c = Cluster::start("locks-init-children");
    c.load_busybox();
    let exec = |script: &str| json!({"exec": {"command": ["sh", "-c", script]}});
    let mut probe = exec("echo x >> /tmp/n; sleep 902 & echo well; exit 0");
    (probe["timeoutSeconds"], probe["periodSeconds"]) = (2.into(), 1.into());
    let mut slow = exec("sleep 904 & sleep 905");
    (slow["timeoutSeconds"], slow["periodSeconds"]) = (1.into(), 1.into());
    slow["failureThreshold"] = 1000.into();
    let mut one = container("c", "while :; do sleep 1; done", &[]);
    one["lifecycle"] = json!({"postStart": exec("sleep 901 & exit 0")});
    one["readinessProbe"] = probe;
    one["livenessProbe"] = slow;
    c.k.apply(&pod("p", json!({}), json!([one])));
    c.k.wait("--for=condition=Ready --timeout=15s pod/p");
    let inside = |script: &str| c.k.args(&["exec", "p", "--", "sh", "-c", script]);
    // Four more results; each is a line.
    inside("n=$(wc -l < /tmp/n); while [ $(wc -l < /tmp/n) -lt $((n + 4)) ]; do sleep 0.1; done");
    let seen = inside("ps");
    assert!(seen.contains("sleep 901") && seen.contains("sleep 902"), "children live on: {seen}");
    // One that was too late is gone with its child, before the next one; its container is not.
    assert!(seen.matches("sleep 904").count() <= 1, "{seen}");
    c.k.wait("--for=jsonpath={.status.containerStatuses[0].restartCount}=0 pod/p");
    let late = "get events --field-selector=reason=Unhealthy -o jsonpath={.items[*].message}";
    assert!(c.k.ok(late).contains("Liveness probe failed: command timed out"), "{}", c.k.ok(late));
    let begun = std::time::Instant::now();
    assert_eq!(inside("sleep 903 & echo started"), "started\n");
    assert!(begun.elapsed().as_secs() < 10, "an exec does not wait for what it leaves behind");
}

/// What a container said before it could be attached to is said once, and whole.
#[test]
fn a_short_run_prints_once() {
    let c = Cluster::start("locks-init-once");
    c.load_busybox();
    let image = format!("--image={BUSYBOX}");
    for round in 0..10 {
        // From at once to about when kubectl has attached: it reads the log first.
        let (name, say) = (format!("once-{round}"), format!("sleep 0.{}; echo hello", round * 3));
        let run = ["run", &name, "--rm", "-i", "--restart=Never", &image, "--", "sh", "-c", &say];
        let said = c.k.args(&run);
        assert_eq!(said.matches("hello").count(), 1, "{say}: {said}");
    }
}
