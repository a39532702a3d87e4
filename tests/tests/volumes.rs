//! Volumes as facts: what a daemon that was killed left is found, used and taken away; what cannot be
//! taken away is told, and what is not the node's is not touched.

use serde_json::{Value, json};
use skiff_tests::cluster::{BUSYBOX, Cluster};

/// Where the folders of pods are.
const PODS: &str = "/var/lib/skiff/node/pods";

/// One container with volumes: in memory, on the disk, of a ConfigMap.
fn pod(name: &str, script: &str) -> String {
    let volumes = json!([
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {"name": "disk", "emptyDir": {}},
        {"name": "map", "configMap": {"name": "m"}},
    ]);
    let mount = |name: &str| json!({"name": name, "mountPath": format!("/{name}")});
    let mounts: Vec<Value> = ["memory", "disk", "map"].map(mount).into();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "volumes": volumes,
        "containers": [{"name": "c", "image": BUSYBOX, "imagePullPolicy": "Never",
            "volumeMounts": mounts, "command": ["sh", "-c", script]}]}})
    .to_string()
}

/// The folder of a pod's volume in memory.
fn memory(c: &Cluster, name: &str) -> String {
    let uid = c.k.ok(&format!("get pod {name} -o jsonpath={{.metadata.uid}}"));
    format!("{PODS}/{uid}/volumes/kubernetes.io~empty-dir/memory")
}

/// The pod has its volumes, and no image to start from.
fn waits_with_volumes(c: &Cluster, name: &str) {
    let reason = "{.status.containerStatuses[0].state.waiting.reason}=ErrImageNeverPull";
    c.k.wait(&format!("--for=jsonpath={reason} pod/{name}"));
    let folder = memory(c, name);
    c.shell(&format!("until mountpoint -q {folder}; do sleep 0.05; done"));
}

fn kill_and_up(c: &Cluster) {
    c.shell(&format!("kill -9 {}", c.daemon()));
    c.skiff(&["up"]);
}

/// A process of the machine that stays in a folder.
fn somebody_uses(c: &Cluster, folder: &str) {
    let stay = format!("(cd {folder} && exec setsid sleep 7200 > /dev/null 2>&1) &");
    c.shell(&format!("{stay} until pgrep -x -f 'sleep 7200'; do sleep 0.05; done"));
}

fn nobody_uses(c: &Cluster) {
    c.shell("pkill -x -f 'sleep 7200'");
}

#[track_caller]
fn nothing_is_left(c: &Cluster) {
    assert_eq!(c.shell(&format!("ls -A {PODS}")), "");
    assert_eq!(c.shell(&format!("grep -c {PODS} /proc/mounts || true")), "0\n");
}

/// The same, where the node hears of it only when the object has gone.
#[track_caller]
fn all_goes(c: &Cluster) {
    c.shell(&format!("while [ -n \"$(ls -A {PODS})\" ]; do sleep 0.05; done"));
    nothing_is_left(c);
}

#[test]
fn a_daemon_killed_between_mount_and_start_finds_its_volumes() {
    let c = Cluster::start("volumes-killed");
    c.k.ok("create configmap m --from-literal=x=1");
    let script = "cat /memory/f /disk/f /map/x; \
        [ $(grep -c ' /memory ' /proc/mounts) = 1 ] && stat -c %a /memory /disk";
    c.k.apply(&pod("p", script));
    waits_with_volumes(&c, "p");
    let memory = memory(&c, "p");
    let disk = memory.replace("memory", "disk");
    c.shell(&format!("echo m > {memory}/f; echo d > {disk}/f"));
    kill_and_up(&c);
    c.load_busybox();
    c.k.wait("--for=jsonpath={.status.phase}=Succeeded pod/p");
    assert_eq!(c.k.ok("logs p"), "m\nd\n11777\n777\n", "what was written stayed, once");
    // A pod that has ended has no volumes any more; its object is there.
    c.shell(&format!("while [ -e {memory} ] || [ -e {disk} ]; do sleep 0.05; done"));
    // The object of one that has ended goes at once, as upstream's does; the node hears of it.
    c.k.ok("delete pod p");
    all_goes(&c);
}

#[test]
fn what_a_killed_daemon_mounted_goes_with_the_pod() {
    let c = Cluster::start("volumes-goes");
    c.k.ok("create configmap m --from-literal=x=1");
    c.k.apply(&pod("p", "true"));
    waits_with_volumes(&c, "p");
    kill_and_up(&c);
    c.k.ok("delete pod p");
    nothing_is_left(&c);
    // The object went while nobody was there to see it.
    c.k.apply(&pod("forced", "true"));
    waits_with_volumes(&c, "forced");
    let folder = memory(&c, "forced");
    somebody_uses(&c, &folder);
    c.k.ok("delete pod forced --force --grace-period=0");
    kill_and_up(&c);
    c.shell(&format!("mountpoint -q {folder}"));
    nobody_uses(&c);
    all_goes(&c);
}

#[test]
fn a_volume_in_use_keeps_the_object_and_says_why() {
    let c = Cluster::start("volumes-busy");
    c.load_busybox();
    c.k.ok("create configmap m --from-literal=x=1");
    c.k.apply(&pod("p", "sleep 3600"));
    c.k.wait("--for=condition=Ready pod/p");
    let folder = memory(&c, "p");
    somebody_uses(&c, &folder);
    c.k.ok("delete pod p --wait=false");
    // Each look takes kubectl a tenth of a second or more.
    let mut looks = (0..300).map(|_| c.k.ok("get events --field-selector=reason=FailedUnMount"));
    let told = looks.find(|said| said.contains("pod/p")).expect("it is told");
    let why = format!("UnmountVolume.TearDown failed for volume \"memory\" : unmount {folder}: ");
    assert!(told.contains(&why), "{told}");
    assert_eq!(c.k.ok("get pod p -o name"), "pod/p\n");
    nobody_uses(&c);
    c.k.wait("--for=delete pod/p");
    nothing_is_left(&c);
}

#[test]
fn an_orphan_with_a_mount_inside_is_never_emptied() {
    let c = Cluster::start("volumes-orphan");
    let precious = c.machine().home().join("precious").display().to_string();
    c.shell(&format!("mkdir {precious}; echo precious > {precious}/f"));
    c.shell(&format!("kill -9 {}", c.daemon()));
    // Of drivers that this node does not have: one whose mount can be taken away, one in use.
    let orphan = |uid: &str| format!("{PODS}/{uid}/volumes/kubernetes.io~nfs/v");
    let (free, used) = (orphan("free"), orphan("used"));
    for folder in [&free, &used] {
        c.shell(&format!("mkdir -p {folder} && mount --bind {precious} {folder}"));
        c.shell(&format!("ln -s {precious} {folder}/../link"));
    }
    somebody_uses(&c, &used);
    c.skiff(&["up"]);
    c.shell(&format!("while [ -e {PODS}/free ]; do sleep 0.05; done"));
    assert_eq!(c.shell(&format!("cat {precious}/f {used}/f")), "precious\nprecious\n");
    nobody_uses(&c);
    c.shell(&format!("while [ -e {PODS}/used ]; do sleep 0.05; done"));
    assert_eq!(c.shell(&format!("cat {precious}/f")), "precious\n");
    nothing_is_left(&c);
}
