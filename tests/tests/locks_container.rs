//! Nothing that an image or a pod names leads out of a container, and who was asked for is who runs.

use skiff_tests::cluster::{BUSYBOX, Cluster};

/// An image whose author means ill, above the layers of another. Arguments: that archive, and the one to make.
const MAKE: &str = r#"
import hashlib, io, json, sys, tarfile
sha = lambda b: hashlib.sha256(b).hexdigest()
base = tarfile.open(sys.argv[1])
saved = json.load(base.extractfile("manifest.json"))[0]
below = [base.extractfile(name).read() for name in saved["Layers"]]
config = json.load(base.extractfile(saved["Config"]))
out = io.BytesIO()
with tarfile.open(fileobj=out, mode="w") as tar:
    way = tarfile.TarInfo("way")
    way.type, way.linkname = tarfile.SYMTYPE, "/proc/1/root"
    tar.addfile(way)
    for name, text in [("etc/passwd", b"1000:x:0:0::/:/bin/sh\nbig:x:4294967295:4294967295::/:\n"), ("etc/group", b"7:x:0:\n")]:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(text), 0o644
        tar.addfile(entry, io.BytesIO(text))
layers = below + [out.getvalue()]
config["rootfs"] = {"type": "layers", "diff_ids": ["sha256:" + sha(l) for l in layers]}
config["config"]["WorkingDir"] = "/way"
made = json.dumps(config).encode()
manifest = [{"Config": sha(made) + ".json", "RepoTags": ["ill.example/ill:1"], "Layers": [sha(l) + ".tar" for l in layers]}]
members = {sha(l) + ".tar": l for l in layers} | {sha(made) + ".json": made, "manifest.json": json.dumps(manifest).encode()}
with tarfile.open(sys.argv[2], "w") as tar:
    for member, data in members.items():
        entry = tarfile.TarInfo(member)
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
"#;
const ILL: &str = "ill.example/ill:1";

/// A pod that runs once; `spec` and `container` are more fields of these, each with a comma behind it.
fn pod(name: &str, image: &str, spec: &str, container: &str, line: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{{spec}
        "restartPolicy":"Never","terminationGracePeriodSeconds":1,"containers":[{{"name":"c",
        "image":"{image}","imagePullPolicy":"Never",{container}"command":["sh","-c","{line}"]}}]}}}}"#
    )
}

#[test]
fn nothing_leads_out_of_a_container() {
    let c = Cluster::start("container-ways");
    c.load_busybox();
    let at = c.machine().data().display().to_string();
    std::fs::write(format!("{at}/make.py"), MAKE).unwrap();
    c.shell(&format!("python3 {at}/make.py {} {at}/ill.tar", c.busybox("docker")));
    c.skiff(&["image", "load", &format!("{at}/ill.tar")]);
    let shared = r#""shareProcessNamespace":true,"#;
    let folder = |cwd: &str| format!(r#""workingDir":"{cwd}","#);
    let volumes = r#""volumes":[{"name":"v","emptyDir":{}}],"#;
    let mount =
        |target: &str| format!(r#""volumeMounts":[{{"name":"v","mountPath":"{target}"}}],"#);
    let mounted = format!("{volumes}{shared}");
    let daemon = c.daemon();
    let out = format!("/proc/{daemon}/root{at}/made");
    let own = format!("/proc/1/root{at}/through");
    let host = r#""hostPID":true,"#;
    let host_mounted = format!("{volumes}{host}");
    // Name, image, fields of the pod, of the container, and what the refusal names.
    let cases = [
        ("root", BUSYBOX, shared, folder("/proc/1/root"), "chdir to cwd (\"/proc/1/root\")"),
        ("fd", BUSYBOX, "", folder("/proc/self/fd/1"), "chdir to cwd (\"/proc/self/fd/1\")"),
        ("host", BUSYBOX, host, folder(&format!("/proc/{daemon}/root")), "chdir to cwd"),
        ("make", BUSYBOX, host, folder(&out), "chdir to cwd"),
        ("link", ILL, shared, folder("/way/etc"), "chdir to cwd (\"/way/etc\")"),
        ("image", ILL, shared, String::new(), "chdir to cwd (\"/way\")"),
        ("target", BUSYBOX, &mounted, mount(&own), "mount at /proc/1/root/"),
        ("hosttarget", BUSYBOX, &host_mounted, mount(&out), "mount at /proc/"),
        (
            "over",
            BUSYBOX,
            volumes,
            mount("/proc"),
            "nothing can be mounted over /proc, or below it",
        ),
        ("below", BUSYBOX, volumes, mount("/proc/sys"), "over /proc, or below it"),
    ];
    for (name, image, spec, container, _) in &cases {
        c.k.apply(&pod(name, image, spec, container, "ls /; pwd"));
    }
    for (name, .., why) in &cases {
        c.k.wait(&format!("--for=jsonpath={{.status.phase}}=Failed pod/{name}"));
        let state = format!(
            "get pod {name} -o jsonpath={{.status.containerStatuses[0].state.terminated.message}}"
        );
        let said = c.k.ok(&state);
        assert!(said.contains(why), "{name}: {said}");
        assert_eq!(c.k.ok(&format!("logs {name}")), "", "{name} ran");
    }
    assert_eq!(c.shell(&format!("ls -d {at}/made {at}/through 2>/dev/null || true")), "");
    // Agents mount the machine's /sys; a folder that is missing is made; an exec takes the umask too.
    let sys = r#""volumes":[{"name":"v","hostPath":{"path":"/sys"}}],"#;
    let fields = format!("{}{}", folder("/made/here"), mount("/sys"));
    let line = "sleep 1000";
    c.k.apply(&pod("agent", BUSYBOX, sys, &fields, line));
    c.k.wait("--for=condition=Ready pod/agent");
    assert_eq!(c.k.ok("exec agent -- pwd"), "/made/here\n");
    assert_eq!(c.k.ok("exec agent -- ls /sys/firmware"), "");
    assert_eq!(c.k.ok("exec agent -- sh -c umask"), "0022\n");
    // What a pod says in digits is an id, whatever its image calls by that name.
    let user = r#""workingDir":"/","securityContext":{"runAsNonRoot":true,"runAsUser":1000,"runAsGroup":7},"#;
    c.k.apply(&pod(
        "digits",
        ILL,
        "",
        user,
        "id -u; id -g; umask; touch /tmp/f; stat -c %a /tmp/f",
    ));
    c.k.wait("--for=jsonpath={.status.phase}=Succeeded pod/digits");
    assert_eq!(c.k.ok("logs digits"), "1000\n7\n0022\n644\n");
}
