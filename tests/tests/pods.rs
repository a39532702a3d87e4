//! Second landing: pods run; images come in; logs and exec.

use skiff_tests::cluster::{BUSYBOX, Cluster};
use skiff_tests::kit;

/// A pod of one container that runs a shell line.
fn pod(name: &str, extra: &str, line: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{{extra}
        "terminationGracePeriodSeconds":1,"containers":[{{"name":"c","image":"{BUSYBOX}",
        "command":["sh","-c",{}]}}]}}}}"#,
        serde_json::Value::from(line)
    )
}

const ONCE: &str = r#""restartPolicy":"Never","#;

#[test]
fn a_pod_runs_and_ends() {
    let c = Cluster::start("pods-run");
    c.load_busybox();
    c.k.apply(&pod("well", ONCE, "echo hello"));
    c.k.wait("--for=jsonpath={.status.phase}=Succeeded pod/well");
    assert_eq!(c.k.ok("logs well"), "hello\n");
    c.k.apply(&pod("badly", ONCE, "exit 3"));
    c.k.wait("--for=jsonpath={.status.phase}=Failed pod/badly");
    let path = "get pod badly -o jsonpath={.status.containerStatuses[0].state.terminated.exitCode}";
    assert_eq!(c.k.ok(path), "3");
    let scheduled = "get events --field-selector=reason=Scheduled,involvedObject.name=well -o \
        jsonpath={.items[0].action}{.items[0].source}{.items[0].reportingComponent}";
    assert_eq!(c.k.ok(scheduled), "Binding{}default-scheduler");
    assert!(c.k.ok("describe pod well").contains("default-scheduler  Successfully assigned"));
}

#[test]
fn a_resize_waits_for_room() {
    let c = Cluster::start("pods-resize");
    c.load_busybox();
    let cpus: u32 = c.k.ok("get nodes -o jsonpath={..allocatable.cpu}").parse().unwrap();
    let resources = |cpu: &str| format!(r#""resources":{{"requests":{{"cpu":"{cpu}"}}}}"#);
    let with = |name, cpu: &str| {
        let command = format!(r#"{},"command""#, resources(cpu));
        pod(name, "", "sleep 3600").replace(r#""command""#, &command)
    };
    let most = format!("{}m", cpus * 1000 - 500);
    c.k.apply(&with("p", "100m"));
    c.k.apply(&with("other", &most));
    c.k.wait("--for=condition=Ready pod/p pod/other");
    let resize = |cpu: &str| {
        let patch = format!(r#"{{"spec":{{"containers":[{{"name":"c",{}}}]}}}}"#, resources(cpu));
        c.k.args(&["patch", "pod", "p", "--subresource=resize", "-p", &patch]);
    };
    let has = |cpu: &str| {
        let path = "{.status.containerStatuses[0].resources.requests.cpu}";
        c.k.wait(&format!("--for=jsonpath={path}={cpu} pod/p"));
    };
    let pending = r#"{.status.conditions[?(@.type=="PodResizePending")]"#;
    resize("1000");
    c.k.wait(&format!("--for=jsonpath={pending}.reason}}=Infeasible pod/p"));
    has("100m");
    resize("600m");
    c.k.wait(&format!("--for=jsonpath={pending}.reason}}=Deferred pod/p"));
    let why = format!(
        "Node didn't have enough resource: cpu, requested: 600, used: {}, capacity: {}",
        cpus * 1000 - 500,
        cpus * 1000
    );
    assert_eq!(c.k.ok(&format!("get pod p -o jsonpath={pending}.message}}")), why);
    // What was refused is refused by a new daemon too.
    c.shell(&format!("kill -9 {}", c.daemon()));
    c.skiff(&["up"]);
    has("100m");
    c.k.ok("delete pod other");
    has("600m");
    assert_eq!(c.k.ok(&format!("get pod p -o jsonpath={pending}}}")), "");
    c.k.wait("--for=jsonpath={.status.containerStatuses[0].restartCount}=0 pod/p");
    let said = c.k.ok("get events -o jsonpath={.items[*].reason}");
    for reason in ["ResizeInfeasible", "ResizeDeferred", "ResizeStarted", "ResizeCompleted"] {
        assert!(said.contains(reason), "{reason}: {said}");
    }
}

#[test]
fn exec_passes_streams_and_exit_codes() {
    let c = Cluster::start("pods-exec");
    c.load_busybox();
    c.k.apply(&pod("p", "", "sleep 3600"));
    c.k.wait("--for=condition=Ready pod/p");
    let answer =
        c.k.exits(7, &["exec", "-i", "p", "--", "sh", "-c", "cat; echo e >&2; exit 7"], "in");
    assert_eq!(answer.out, "in");
    assert!(answer.err.starts_with("e\n"), "{}", answer.err);
    let answer =
        c.k.exits(0, &["exec", "-it", "p", "--", "sh", "-c", "test -t 1 || echo plain"], "");
    assert!(answer.out.contains("plain"), "there is no terminal here: {}", answer.out);
    assert!(c.k.fails("exec p -- /none").contains("no such file"));
}

#[test]
fn run_interactively_passes_the_exit_code() {
    let c = Cluster::start("pods-it");
    c.load_busybox();
    let image = format!("--image={BUSYBOX}");
    let args = ["run", "p", &image, "--restart=Never", "-i", "--rm", "-q", "--", "sh", "-c"];
    let answer = c.k.exits(4, &[&args[..], &["cat; exit 4"]].concat(), "typed");
    assert!(answer.out.starts_with("typed"), "{}", answer.out);
}

#[test]
fn a_terminal_is_a_terminal() {
    let c = Cluster::start("pods-tty");
    c.load_busybox();
    let kubectl = format!("{} --kubeconfig {}", kit::kubectl().unwrap().display(), c.config());
    let inside = r#"test -t 0 && test -t 1 && read x;
        until stty size 2>&1 | grep -q "33 99"; do sleep 0.1; done; echo "heard $x"; exit 5"#;
    let run = format!(
        "stty rows 33 cols 99; \
         {kubectl} run p --image={BUSYBOX} --restart=Never -it --rm -q -- sh -c '{inside}'\n"
    );
    std::fs::write(c.machine().data().join("run"), run).unwrap();
    // script(1) is the terminal; what is typed waits there until the pod reads it.
    let said = c.shell(&format!(
        "cd {}; mkfifo typed; exec 3<> typed; echo word >&3; \
         script -qefc 'sh run' said < typed > /dev/null 2>&1; code=$?; cat said; echo code=$code",
        c.machine().data().display()
    ));
    assert!(said.contains("heard word"), "{said}");
    assert!(said.contains("code=5"), "{said}");
}

#[test]
fn a_debug_container_sees_the_processes_of_its_target() {
    let c = Cluster::start("pods-debug");
    c.load_busybox();
    c.k.apply(&pod("p", "", "mkfifo /tmp/end; read x < /tmp/end"));
    c.k.wait("--for=condition=Ready pod/p");
    let image = format!("--image={BUSYBOX}");
    let debug = ["debug", "p", &image, "-c", "d", "--target=c", "--", "sleep", "3600"];
    c.k.exits(0, &debug, "");
    c.k.wait("--for=jsonpath={.status.ephemeralContainerStatuses[0].state.running} pod/p");
    let seen = c.k.ok("exec p -c d -- ps");
    assert!(seen.contains("mkfifo /tmp/end"), "{seen}");
    let root = c.k.ok("exec p -c d -- ls /proc/1/root/proc/1/task");
    assert_eq!(root, "1\n", "its root is reached through its process");
    // The target's end is that of all who share its processes: of whoever brings it about too, unless it is quicker.
    let said = c.k.answer_of(&["exec", "p", "--", "sh", "-c", "echo over > /tmp/end"]);
    assert!([0, 137].contains(&said.code), "{}", said.err);
    c.k.wait("--for=jsonpath={.status.ephemeralContainerStatuses[0].state.terminated} pod/p");
}

#[test]
fn logs_follow_and_survive_a_restart() {
    let c = Cluster::start("pods-logs");
    c.load_busybox();
    c.k.apply(&pod("p", "", "echo one; sleep 1; echo two; exit 1"));
    let path = "--for=jsonpath={.status.containerStatuses[0].restartCount}=1 pod/p";
    c.k.wait(path);
    assert_eq!(c.k.ok("logs p --previous"), "one\ntwo\n");
    assert_eq!(c.k.ok("logs p --previous --tail=1"), "two\n");
}

#[test]
fn logs_are_cut_as_asked() {
    let c = Cluster::start("pods-cut");
    c.load_busybox();
    c.k.apply(&pod("p", "", "echo early; sleep 3600"));
    c.k.wait("--for=condition=Ready pod/p");
    assert_eq!(c.k.ok("logs p --since=1h"), "early\n");
    let stamped = c.k.ok("logs p --timestamps");
    let (stamp, line) = stamped.split_once(' ').unwrap();
    assert!(stamp.starts_with("20") && stamp.ends_with('Z') && line == "early\n", "{stamped}");
    assert_eq!(c.k.ok("logs p --since-time=2999-01-01T00:00:00Z"), "");
    assert_eq!(c.k.ok("logs p --limit-bytes=3"), "ear");
    c.k.apply(&pod("silent", "", "sleep 3600"));
    c.k.wait("--for=condition=Ready pod/silent");
    assert_eq!(c.k.ok("logs silent"), "", "a container that says nothing has an empty log");
}

#[test]
fn logs_are_followed_to_the_end() {
    let c = Cluster::start("pods-follow");
    c.load_busybox();
    let line = "for i in 1 2 3 4 5; do echo $i; sleep 0.3; done";
    c.k.apply(&pod("p", ONCE, line));
    c.k.wait("--for=condition=Ready pod/p");
    assert_eq!(c.k.ok("logs -f p"), "1\n2\n3\n4\n5\n");
}

#[test]
fn attach_reaches_the_first_process() {
    let c = Cluster::start("pods-attach");
    c.load_busybox();
    let reads = pod("p", ONCE, "read x; echo got $x")
        .replace(r#""command""#, r#""stdin":true,"stdinOnce":true,"command""#);
    c.k.apply(&reads);
    c.k.wait("--for=condition=Ready pod/p");
    let answer = c.k.exits(0, &["attach", "-i", "p"], "word\n");
    assert_eq!(answer.out, "got word\n");
    c.k.wait("--for=jsonpath={.status.phase}=Succeeded pod/p");
}

#[test]
fn files_are_copied_in_and_out() {
    let c = Cluster::start("pods-cp");
    c.load_busybox();
    c.k.apply(&pod("p", "", "sleep 3600"));
    c.k.wait("--for=condition=Ready pod/p");
    let folder = c.machine().data().display().to_string();
    c.shell(&format!("head -c 3000000 /dev/urandom > {folder}/sent"));
    c.k.ok(&format!("cp {folder}/sent p:/tmp/there"));
    c.k.ok(&format!("cp p:/tmp/there {folder}/back"));
    c.shell(&format!("cmp {folder}/sent {folder}/back"));
}

#[test]
fn port_forward_reaches_a_pod() {
    use std::io::{BufRead, BufReader};
    let c = Cluster::start("pods-forward");
    c.load_busybox();
    let serve = "echo page > /tmp/index.html; httpd -f -p 8080 -h /tmp";
    // Running does not mean that it listens already.
    let probe = r#""readinessProbe":{"tcpSocket":{"port":8080},"periodSeconds":1},"command""#;
    c.k.apply(&pod("web", "", serve).replace(r#""command""#, probe));
    c.k.wait("--for=condition=Ready pod/web");
    let mut forward = c.k.start("port-forward pod/web 18080:8080").unwrap();
    let mut line = String::new();
    // It stays open: kubectl says each connection there.
    let mut said = BufReader::new(forward.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    assert!(line.starts_with("Forwarding from"), "{line}");
    assert_eq!(c.shell("curl -s -m 5 http://127.0.0.1:18080/index.html"), "page\n");
    forward.kill().unwrap();
    forward.wait().unwrap();
}

#[test]
fn images_are_loaded_listed_and_removed() {
    let c = Cluster::start("pods-images");
    c.load_busybox();
    assert!(c.skiff(&["image", "ls"]).contains("registry.k8s.io/busybox"));
    c.skiff(&["image", "rm", BUSYBOX]);
    assert!(!c.skiff(&["image", "ls"]).contains("registry.k8s.io/busybox"));
    let damaged = "head -c 4000 /dev/zero | SKIFF image load -".replace("SKIFF", &skiff());
    assert!(!c.shell(&format!("{damaged} 2>&1 || true")).is_empty());
}

#[test]
fn images_are_loaded_from_a_pipe_and_packed() {
    let c = Cluster::start("pods-packed");
    c.load_busybox();
    c.skiff(&["image", "rm", BUSYBOX]);
    let docker = c.busybox("docker");
    for pack in ["gzip -c", "zstd -q -c"] {
        c.shell(&format!("{pack} {docker} | {} image load -", skiff()));
        c.skiff(&["image", "rm", BUSYBOX]);
    }
    for (at, form) in ["oci", "oci-gzip", "oci-zstd"].into_iter().enumerate() {
        c.skiff(&["image", "load", &c.busybox(form)]);
        let name = format!("p{at}");
        c.k.apply(&pod(&name, ONCE, "echo unpacked"));
        c.k.wait(&format!("--for=jsonpath={{.status.phase}}=Succeeded pod/{name}"));
        assert_eq!(c.k.ok(&format!("logs {name}")), "unpacked\n", "{form}");
        c.k.ok(&format!("delete pod {name}"));
        c.skiff(&["image", "rm", BUSYBOX]);
    }
}

#[test]
fn a_pod_pulls_from_a_registry() {
    let c = Cluster::start("pods-pull");
    let registry = kit::root().join("tests/kit/registry");
    c.shell(&format!("{} {BUSYBOX} {}", registry.display(), c.machine().data().display()));
    c.skiff(&["image", "pull", "127.0.0.1:5000/busybox:test"]);
    let pulled = pod("p", ONCE, "echo pulled").replace(BUSYBOX, "127.0.0.1:5000/busybox:test");
    c.k.apply(&pulled);
    c.k.wait("--for=jsonpath={.status.phase}=Succeeded pod/p");
    assert_eq!(c.k.ok("logs p"), "pulled\n");
}

/// Nobody can reach registry.k8s.io from here: what the pod runs came from the mirror.
#[test]
fn a_mirror_stands_in_for_a_registry() {
    let c = Cluster::empty("pods-mirror");
    let registry = kit::root().join("tests/kit/registry");
    c.shell(&format!("{} {BUSYBOX} {}", registry.display(), c.machine().data().display()));
    c.skiff(&["up", "--registry-mirror", "registry.k8s.io=http://127.0.0.1:5000"]);
    c.k.apply(&pod("p", ONCE, "echo mirrored"));
    c.k.wait("--for=jsonpath={.status.phase}=Succeeded pod/p");
    assert_eq!(c.k.ok("logs p"), "mirrored\n");
    assert!(c.k.ok("get events").contains("Successfully pulled image"));
}

#[test]
fn down_ends_the_containers_and_up_starts_the_same_pods() {
    let c = Cluster::start("pods-down");
    c.load_busybox();
    c.k.apply(&pod("p", "", "echo up; trap 'exit 143' TERM; sleep 3600 & wait"));
    c.k.wait("--for=condition=Ready pod/p");
    let uid = c.k.ok("get pod p -o jsonpath={.metadata.uid}");
    c.skiff(&["down"]);
    assert_eq!(c.shell("pgrep -c -x -f 'sleep 3600' || true").trim(), "0");
    c.skiff(&["up"]);
    c.k.wait("--for=jsonpath={.status.containerStatuses[0].restartCount}=1 pod/p");
    c.k.wait("--for=condition=Ready pod/p");
    assert_eq!(c.k.ok("get pod p -o jsonpath={.metadata.uid}"), uid);
    let last = "get pod p -o jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}";
    assert_eq!(c.k.ok(last), "143", "it ended by SIGTERM, and that stays on record");
    assert_eq!(c.k.ok("logs p --previous"), "up\n");
}

#[test]
fn the_supervised_volumes_change_at_once() {
    let c = Cluster::start("pods-volumes");
    c.load_busybox();
    c.k.ok("create configmap m --from-literal=x=1");
    c.k.apply(&format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p"}},"spec":{{
        "terminationGracePeriodSeconds":1,"volumes":[{{"name":"m","configMap":{{"name":"m"}}}}],
        "containers":[{{"name":"c","image":"{BUSYBOX}",
        "volumeMounts":[{{"name":"m","mountPath":"/m"}}],
        "command":["sh","-c","until grep -q 2 /m/x; do sleep 0.2; done; echo seen"]}}],
        "restartPolicy":"Never"}}}}"#
    ));
    c.k.wait("--for=jsonpath={.status.phase}=Running pod/p");
    c.k.args(&["patch", "configmap", "m", "-p", r#"{"data":{"x":"2"}}"#]);
    c.k.wait("--for=jsonpath={.status.phase}=Succeeded pod/p");
    assert_eq!(c.k.ok("logs p"), "seen\n");
}

fn skiff() -> String {
    kit::skiff().unwrap().display().to_string()
}
