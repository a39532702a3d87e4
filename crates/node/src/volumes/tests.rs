//! Sources on a real disk: what a start finds of them, with the boot that it was and another one.

use super::*;
use skiff_json::{Value, json};

const BOOT: &str = "b1";

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let dir = std::env::temp_dir().join(format!("skiff-volumes-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("made");
        Folder(dir.canonicalize().expect("there"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(why) = remove::tree(&self.0) {
            eprintln!("{why}");
        }
    }
}

fn pod(volumes: Value) -> Arc<Pod> {
    let value = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"volumes": volumes, "containers": [{"name": "c"}]}});
    skiff_json::from_value(value).map(Arc::new).expect("a pod")
}

fn mount(pod: &Arc<Pod>, held: &Held, boot: &str, stamp: &str) -> Result<(), String> {
    let place =
        Place { dir: held.dir.clone(), group: None, boot: boot.into(), stamp: stamp.into() };
    let given = Given {
        pod: pod.clone(),
        sources: Sources::default(),
        tokens: Tokens::default(),
        certificates: Default::default(),
        addresses: Addresses::default(),
        node: Capacity { milli_cpu: 1, memory: 1, storage: 1 },
    };
    held.source.mount(&place, &given)
}

fn whole_after(all: &BTreeMap<String, Arc<Held>>, boot: &str) -> Vec<String> {
    let found = Found { boot: boot.into(), table: Table::read().expect("read") };
    let all: Vec<_> = all.values().cloned().collect();
    whole(&all, &found).into_keys().collect()
}

#[test]
fn what_a_start_finds_is_whole_by_its_sort() {
    let folder = Folder::new("found");
    let name = json!([{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]);
    let pod = pod(json!([
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "shown", "downwardAPI": {"items": name}},
        {"name": "host", "hostPath": {"path": folder.0}},
    ]));
    let all = Held::all(&pod, &folder.0.join("pod"));
    assert_eq!(whole_after(&all, BOOT), [""; 0], "nothing is there");
    for (name, held) in &all {
        for stamp in ["s1", "s2"] {
            mount(&pod, held, BOOT, stamp).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    }
    // A path of the machine is looked at whenever it is mounted; nothing tells of it here.
    assert_eq!(whole_after(&all, BOOT), ["disk", "memory", "shown"]);
    // After another boot nothing that was written last can be relied on; data of the pod stay.
    std::fs::write(all["disk"].dir.join("data"), b"kept").expect("written");
    std::fs::write(all["memory"].dir.join("data"), b"gone").expect("written");
    rustix::mount::unmount(&all["memory"].dir, rustix::mount::UnmountFlags::empty())
        .expect("unmounted, as a boot does");
    assert_eq!(whole_after(&all, "b2"), ["disk"]);
    for held in all.values() {
        mount(&pod, held, "b2", "s3").expect("mounted anew");
    }
    assert_eq!(whole_after(&all, "b2"), ["disk", "memory", "shown"]);
    assert!(all["disk"].dir.join("data").exists() && !all["memory"].dir.join("data").exists());
    let shown = std::fs::read_to_string(all["shown"].dir.join("name")).expect("there");
    assert_eq!(shown, "p");
    for held in all.values() {
        held.source.unmount(&held.dir).expect("unmounted");
        held.source.unmount(&held.dir).expect("what is gone is gone");
    }
    assert_eq!(whole_after(&all, "b2"), [""; 0]);
    assert!(!all["memory"].dir.exists() && !all["shown"].dir.exists() && folder.0.exists());
}

#[test]
fn an_empty_dir_is_there_as_a_whole_or_not_at_all() {
    use std::os::unix::fs::MetadataExt;
    let folder = Folder::new("empty");
    let pod = pod(json!([{"name": "v", "emptyDir": {}}]));
    let all = Held::all(&pod, &folder.0.join("pod"));
    let held = &all["v"];
    // The process ended before the folder had its mode.
    let half = held.dir.with_file_name(".v");
    std::fs::create_dir_all(half.join("rubble")).expect("made");
    assert_eq!(whole_after(&all, BOOT), [""; 0]);
    mount(&pod, held, BOOT, "s1").expect("mounted");
    assert_eq!(std::fs::metadata(&held.dir).expect("there").mode() & 0o7777, 0o777);
    assert!(!half.exists() && !held.dir.join("rubble").exists());
}

#[test]
fn what_cannot_be_mounted_is_named_by_its_field() {
    let pod = pod(json!([
        {"name": "a", "nfs": {"server": "s", "path": "/"}},
        {"name": "b", "persistentVolumeClaim": {"claimName": "c"}},
        {"name": "c", "emptyDir": {"medium": "HugePages-2Mi"}},
        {"name": "d", "hostPath": {"path": "/proc/self/cmdline", "type": "Directory"}},
        {"name": "e", "configMap": {"name": "m"}},
    ]));
    let all = Held::all(&pod, Path::new("/nowhere"));
    let why = |name: &str| mount(&pod, &all[name], BOOT, "s").expect_err("it cannot be mounted");
    assert_eq!(why("a"), "volumes of type nfs are not supported by this node");
    assert_eq!(why("b"), "persistentvolumeclaim \"c\" not found");
    assert_eq!(why("c"), "emptyDir.medium \"HugePages-2Mi\" is not supported by this node");
    let wrong = "hostPath type check failed: /proc/self/cmdline is not a directory";
    assert_eq!(why("d"), wrong);
    assert_eq!(why("e"), "configmap \"m\" not found");
}
