//! Locks, fields of pods: what a pod asks for is honoured, or refused with words that say why, and never dropped
//! without a word.

use serde_json::{Value, json};
use skiff_tests::cluster::{BUSYBOX, Cluster};
use skiff_tests::kit;

/// A pod of one container that runs a shell line once; `change` edits it.
fn pod(name: &str, line: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": BUSYBOX, "command": ["sh", "-c", line]}],
        },
    });
    change(&mut pod);
    pod.to_string()
}

fn ends(c: &Cluster, name: &str, phase: &str) {
    c.k.wait(&format!("--for=jsonpath={{.status.phase}}={phase} pod/{name}"));
}

/// The pod fails with this reason and message, of which an event tells as well.
#[track_caller]
fn refused(c: &Cluster, name: &str, reason: &str, message: &str) {
    ends(c, name, "Failed");
    let status =
        c.k.ok(&format!("get pod {name} -o jsonpath={{.status.reason}}|{{.status.message}}"));
    assert_eq!(status, format!("{reason}|Pod was rejected: {message}"));
    let told = format!("get events --field-selector=involvedObject.name={name},reason={reason} -o");
    assert_eq!(
        c.k.ok(&format!("{told} jsonpath={{.items[*].type}}|{{.items[*].message}}")),
        format!("Warning|{message}")
    );
}

#[test]
fn what_may_not_be_given_is_refused() {
    let c = Cluster::empty("fields-refused");
    c.skiff(&["up", "--allowed-unsafe-sysctls", "kernel.msg*"]);
    c.load_busybox();
    let sysctls = |name: &str, value: &str| {
        let list = json!([{"name": name, "value": value}]);
        move |pod: &mut Value| pod["spec"]["securityContext"] = json!({"sysctls": list})
    };
    for (name, sysctl) in [("a", "net.core.somaxconn"), ("b", "net/ipv4/ip_forward")] {
        c.k.apply(&pod(name, "true", sysctls(sysctl, "1")));
        let message = format!("forbidden sysctl: {:?} not allowlisted", sysctl.replace('/', "."));
        refused(&c, name, "SysctlForbidden", &message);
    }
    c.k.apply(&pod("allowed", "cat /proc/sys/kernel/msgmax", sysctls("kernel/msgmax", "4321")));
    ends(&c, "allowed", "Succeeded");
    assert_eq!(c.k.ok("logs allowed"), "4321\n");

    let profile = json!({"appArmorProfile": {"type": "RuntimeDefault"}});
    let annotation = json!({"container.apparmor.security.beta.kubernetes.io/c": "runtime/default"});
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if !enabled.is_ok_and(|text| text.starts_with('Y')) {
        c.k.apply(&pod("armor", "true", |pod| pod["spec"]["securityContext"] = profile.clone()));
        c.k.apply(&pod("noted", "true", |pod| pod["metadata"]["annotations"] = annotation.clone()));
        for name in ["armor", "noted"] {
            let message = "Cannot enforce AppArmor: AppArmor is not enabled on the host";
            refused(&c, name, "AppArmor", message);
        }
    }
    c.k.apply(&pod("labelled", "true", |pod| {
        pod["spec"]["securityContext"] = json!({"seLinuxOptions": {"level": "s0:c1,c2"}});
        pod["spec"]["containers"][0]["securityContext"] = json!({"seLinuxOptions": {"type": "t"},
            "appArmorProfile": {"type": "Unconfined"}});
    }));
    ends(&c, "labelled", "Succeeded");
    let told = "get events --field-selector=involvedObject.name=labelled,reason=SELinuxNotEnforced";
    assert_eq!(c.k.ok(&format!("{told} -o name")).lines().count(), 1);
}

#[test]
fn nobody_takes_the_ports_of_the_cluster() {
    let c = Cluster::start("fields-ports");
    c.load_busybox();
    let node = c.k.ok("get nodes -o jsonpath={.items[0].metadata.name}");
    let port = |number: u16| {
        move |pod: &mut Value| {
            let ports = json!([{"containerPort": 80, "hostPort": number}]);
            pod["spec"]["containers"][0]["ports"] = ports;
        }
    };
    for number in [6443, 10250] {
        let name = format!("p{number}");
        c.k.apply(&pod(&name, "sleep 3600", port(number)));
        let waits = "--for=jsonpath={.status.conditions[0].reason}=Unschedulable";
        c.k.wait(&format!("{waits} pod/{name}"));
        let bound = format!("b{number}");
        c.k.apply(&pod(&bound, "sleep 3600", |pod| {
            port(number)(pod);
            pod["spec"]["nodeName"] = json!(node);
        }));
        let why = "node(s) didn't have free ports for the requested pod ports";
        refused(&c, &bound, "NodePorts", &format!("Predicate NodePorts failed: {why}"));
    }
    let shared = |pod: &mut Value| {
        pod["spec"]["hostNetwork"] = json!(true);
        pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 6443}]);
    };
    c.k.apply(&pod("shared", "sleep 3600", shared));
    c.k.wait("--for=jsonpath={.status.conditions[0].reason}=Unschedulable pod/shared");
    let declared = c.k.ok("get nodes -o jsonpath={.items[0].status.declaredFeatures}");
    let wanted = ["ExtendWebSocketsToKubelet", "InPlacePodVerticalScalingInitContainers"];
    assert_eq!(declared, json!(wanted).to_string());
}

#[test]
fn a_network_of_ones_own_needs_no_root() {
    let c = Cluster::empty("fields-network");
    let data = c.machine().data().display().to_string();
    c.shell(&format!(
        "echo 'nameserver 127.0.0.53' > {data}/stub && echo 'nameserver 192.0.2.53' > {data}/real && \
         mkdir -p /run/systemd/resolve && \
         cp {data}/real /run/systemd/resolve/resolv.conf && mount --bind {data}/stub /etc/resolv.conf"
    ));
    c.skiff(&["up"]);
    c.load_busybox();
    let read = "cd /proc/sys/net/ipv4; echo $(cat ip_unprivileged_port_start ping_group_range)";
    let line = format!("nc -l -p 80 & sleep 0.2; kill $! && {read}");
    let nobody = json!({"runAsUser": 65534, "runAsNonRoot": true});
    c.k.apply(&pod("own", &line, |pod| pod["spec"]["securityContext"] = nobody.clone()));
    c.k.apply(&pod("wins", read, |pod| {
        let list = json!([{"name": "net/ipv4/ip_unprivileged_port_start", "value": "1024"}]);
        pod["spec"]["securityContext"] = json!({"sysctls": list});
    }));
    c.k.apply(&pod("host", read, |pod| pod["spec"]["hostNetwork"] = json!(true)));
    c.k.apply(&pod("stub", "cat /etc/resolv.conf", |pod| {
        pod["spec"]["dnsPolicy"] = json!("Default")
    }));
    c.k.apply(&pod("many", "cat /etc/resolv.conf", |pod| {
        let searches = ["a.example", "cluster.local", "a.example", "b.example"];
        pod["spec"]["dnsConfig"] = json!({
            "nameservers": ["192.0.2.1", "192.0.2.2", "192.0.2.3"], "searches": searches,
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]});
    }));
    let of_machine = c.shell(read);
    for (name, wanted) in [
        ("own", "0 0 2147483647\n"),
        ("wins", "1024 0 2147483647\n"),
        ("host", &of_machine),
        ("stub", "nameserver 192.0.2.53\n"),
        (
            "many",
            "search default.svc.cluster.local svc.cluster.local cluster.local a.example b.example\n\
                  nameserver 10.96.0.10\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n\
                  options ndots:2 edns0\n",
        ),
    ] {
        ends(&c, name, "Succeeded");
        assert_eq!(c.k.ok(&format!("logs {name}")), wanted, "{name}");
    }
    let told =
        "get events --field-selector=reason=DNSConfigForming -o jsonpath={.items[*].message}";
    let wanted = "Nameserver limits were exceeded, some nameservers have been omitted, the applied \
                  nameserver line is: 10.96.0.10 192.0.2.1 192.0.2.2";
    assert_eq!(c.k.ok(told), wanted);
}

/// The busybox image with VOLUMEs and a layer on top.
fn image_with_volumes(c: &Cluster) {
    let script = r#"
import hashlib, io, json, sys, tarfile
old = tarfile.open(sys.argv[1])
config = json.load(old.extractfile("config.json"))
out = io.BytesIO()
with tarfile.open(fileobj=out, mode="w") as t:
    for name, mode, data in [("data", 0o1777, None), ("data/seed", 0o644, b"seed"), ("real", 0o700, None)]:
        i = tarfile.TarInfo(name); i.mode = mode
        i.type, i.size = (tarfile.DIRTYPE, 0) if data is None else (tarfile.REGTYPE, len(data))
        t.addfile(i, io.BytesIO(data or b""))
    i = tarfile.TarInfo("link"); i.type, i.linkname = tarfile.SYMTYPE, "/real"; t.addfile(i)
layer = out.getvalue()
config["config"]["Volumes"] = {v: {} for v in ["/data", "/not/there/", "/link", "/proc/1/root", "/covered/in"]}
config["rootfs"]["diff_ids"].append("sha256:" + hashlib.sha256(layer).hexdigest())
def put(t, name, data): i = tarfile.TarInfo(name); i.size = len(data); t.addfile(i, io.BytesIO(data))
with tarfile.open(sys.argv[2], "w") as t:
    put(t, "config.json", json.dumps(config).encode())
    put(t, "layer.tar", old.extractfile("layer.tar").read())
    put(t, "top.tar", layer)
    put(t, "manifest.json", json.dumps([{"Config": "config.json", "RepoTags": ["r.example/volumes:1"],
        "Layers": ["layer.tar", "top.tar"]}]).encode())
"#;
    let (file, out) =
        (c.machine().data().join("volumes.py"), c.machine().data().join("volumes.tar"));
    std::fs::write(&file, script).unwrap();
    let base = c.busybox("docker");
    c.shell(&format!("python3 {} {base} {}", file.display(), out.display()));
    c.skiff(&["image", "load", &out.display().to_string()]);
}

#[test]
fn volumes_of_an_image_can_be_written_to() {
    let c = Cluster::start("fields-volumes");
    image_with_volumes(&c);
    let line = "cat /data/seed && echo && stat -c '%a %u' /data /real && for d in data not/there link real covered/in; \
                do touch /$d/x && echo $d; done; touch /x 2>/dev/null || echo ro; exit 7";
    c.k.apply(&pod("p", line, |pod| {
        pod["spec"]["restartPolicy"] = json!("OnFailure");
        pod["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
        let container = &mut pod["spec"]["containers"][0];
        container["image"] = json!("r.example/volumes:1");
        container["imagePullPolicy"] = json!("Never");
        container["volumeMounts"] = json!([{"name": "v", "mountPath": "/covered"}]);
        container["securityContext"] = json!({"readOnlyRootFilesystem": true});
        container["command"][2] = json!(format!("mkdir -p /covered/in; ls /data; {line}"));
    }));
    c.k.wait("--for=jsonpath={.status.containerStatuses[0].restartCount}=1 pod/p");
    let wanted = "seed\nseed\n1777 0\n700 0\ndata\nnot/there\nlink\nreal\ncovered/in\nro\n";
    for run in ["--previous", ""] {
        c.k.wait(
            "--for=jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}=7 pod/p",
        );
        assert_eq!(c.k.ok(&format!("logs p {run}")), wanted, "fresh after a restart");
    }
}

#[test]
fn folders_of_volumes_have_upstreams_modes() {
    let c = Cluster::start("fields-modes");
    c.load_busybox();
    c.k.ok("create configmap m --from-literal=f=1");
    c.k.ok("create secret generic s --from-literal=f=1");
    let items = json!([{"path": "f", "fieldRef": {"fieldPath": "metadata.name"}}]);
    let volumes = json!([
        {"name": "config", "configMap": {"name": "m"}},
        {"name": "secret", "secret": {"secretName": "s", "defaultMode": 0o400}},
        {"name": "downward", "downwardAPI": {"items": items}},
        {"name": "projected", "projected": {"sources": [{"downwardAPI": {"items": items}}]}},
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
    ]);
    let names = ["config", "secret", "downward", "projected", "disk", "memory"];
    let mount = |name: &&str| json!({"name": name, "mountPath": format!("/v/{name}")});
    let sub = json!({"name": "disk", "mountPath": "/sub", "subPath": "a/b"});
    let mounts: Vec<Value> = names.iter().map(mount).chain([sub]).collect();
    let line = "cd /v; for d in *; do echo $d $(stat -c %a $d) $(stat -L -c %a $d/f 2>/dev/null); done; \
                stat -c %a /sub; \
                for d in config secret downward projected; do ln -s / $d/x 2>/dev/null && echo $d; done; true";
    for (name, group) in [("plain", None), ("grouped", Some(77))] {
        c.k.apply(&pod(name, line, |pod| {
            pod["spec"]["volumes"] = volumes.clone();
            pod["spec"]["containers"][0]["volumeMounts"] = json!(mounts);
            if let Some(group) = group {
                pod["spec"]["securityContext"] = json!({"fsGroup": group});
            }
        }));
        ends(&c, name, "Succeeded");
    }
    let plain = "config 777 644\ndisk 777\ndownward 1777 644\nmemory 1777\n\
                 projected 1777 644\nsecret 1777 400\n777\n";
    assert_eq!(c.k.ok("logs plain"), plain);
    let grouped = "config 2777 644\ndisk 2777\ndownward 3777 644\nmemory 3777\n\
                   projected 3777 644\nsecret 3777 440\n2777\n";
    assert_eq!(c.k.ok("logs grouped"), grouped);
}

#[test]
fn what_is_over_its_limit_on_the_disk_is_evicted() {
    let c = Cluster::start("fields-storage");
    c.load_busybox();
    let two = "dd if=/dev/zero bs=1M count=2 of=";
    let limited = |pod: &mut Value| {
        let limits = json!({"limits": {"ephemeral-storage": "1Mi"}});
        pod["spec"]["containers"][0]["resources"] = limits;
    };
    c.k.apply(&pod("volume", &format!("{two}/v/f; sleep 3600"), |pod| {
        pod["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]);
        let mounts = json!([{"name": "v", "mountPath": "/v"}]);
        pod["spec"]["containers"][0]["volumeMounts"] = mounts;
    }));
    c.k.apply(&pod("root", &format!("{two}/f; sleep 3600"), limited));
    c.k.apply(&pod("hosts", &format!("{two}/etc/hosts; sleep 3600"), limited));
    c.k.apply(&pod("fits", "dd if=/dev/zero bs=1k count=500 of=/f; sleep 3600", limited));
    let pod = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ";
    for (name, message) in [
        ("volume", "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". "),
        ("root", pod),
        ("hosts", pod),
    ] {
        ends(&c, name, "Failed");
        let path = "jsonpath={.status.reason}|{.status.message}";
        assert_eq!(c.k.ok(&format!("get pod {name} -o {path}")), format!("Evicted|{message}"));
    }
    assert_eq!(c.k.ok("get pod fits -o jsonpath={.status.phase}"), "Running");
}

#[test]
fn an_image_here_is_not_for_those_who_may_not_pull_it() {
    let c = Cluster::start("fields-pulled");
    let registry = kit::root().join("tests/kit/registry");
    c.shell(&format!("{} {BUSYBOX} {}", registry.display(), c.machine().data().display()));
    let script = r#"
import http.server, urllib.request, urllib.error
class Door(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.headers.get("Authorization") != "Basic dTpw":
            self.send_response(401); self.send_header("WWW-Authenticate", 'Basic realm="r"')
            self.send_header("Content-Length", "0"); self.end_headers(); return
        ask = urllib.request.Request("http://127.0.0.1:5000" + self.path, method=self.command,
            headers={"Accept": self.headers.get("Accept", "*/*")})
        try: answer = urllib.request.urlopen(ask)
        except urllib.error.HTTPError as e: answer = e
        body = answer.read()
        self.send_response(answer.status)
        for name in ["Content-Type", "Docker-Content-Digest", "Content-Length"]:
            if name in answer.headers: self.send_header(name, answer.headers[name])
        self.end_headers(); self.wfile.write(body)
    do_HEAD = do_GET
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 5001), Door)
print("up", flush=True)
server.serve_forever()
"#;
    let file = c.machine().data().join("door.py");
    std::fs::write(&file, script).unwrap();
    let out = c.machine().data().join("door.out");
    c.shell(&format!(
        "python3 {} >{} 2>&1 </dev/null & until grep -q up {1}; do sleep 0.1; done",
        file.display(),
        out.display()
    ));
    let image = "127.0.0.1:5001/busybox:test";
    let secret = |namespace: &str, name: &str, password: &str| {
        c.k.ok(&format!(
            "-n {namespace} create secret docker-registry {name} --docker-server=127.0.0.1:5001 \
             --docker-username=u --docker-password={password}"
        ));
    };
    let run = |namespace: &str, name: &str, policy: &str, secrets: &[&str]| {
        let named: Vec<Value> = secrets.iter().map(|name| json!({"name": name})).collect();
        c.k.apply(&pod(name, "true", |pod| {
            pod["metadata"]["namespace"] = json!(namespace);
            pod["spec"]["imagePullSecrets"] = json!(named);
            pod["spec"]["containers"][0]["image"] = json!(image);
            pod["spec"]["containers"][0]["imagePullPolicy"] = json!(policy);
        }));
    };
    let reason = |namespace: &str, name: &str, reason: &str| {
        let path = "{.status.containerStatuses[0].state.waiting.reason}";
        c.k.wait(&format!("-n {namespace} --for=jsonpath={path}={reason} pod/{name}"));
    };
    c.k.ok("create namespace other");
    secret("default", "good", "p");
    secret("default", "bad", "wrong");
    run("default", "first", "IfNotPresent", &["good"]);
    ends(&c, "first", "Succeeded");
    run("other", "without", "IfNotPresent", &[]);
    run("other", "never", "Never", &[]);
    reason("other", "never", "ErrImageNeverPull");
    let events = "-n other get events --field-selector=involvedObject.name=without,reason=Failed";
    reason("other", "without", "ImagePullBackOff");
    assert!(
        c.k.ok(&format!("{events} -o jsonpath={{.items[*].message}}"))
            .contains("authorization failed")
    );
    run("default", "both", "Always", &["bad", "good"]);
    ends(&c, "both", "Succeeded");
    secret("other", "elsewhere", "p");
    c.skiff(&["down"]);
    c.skiff(&["up"]);
    run("other", "same", "Never", &["elsewhere"]);
    c.k.wait("-n other --for=jsonpath={.status.phase}=Succeeded pod/same");
    run("default", "again", "Never", &["good"]);
    ends(&c, "again", "Succeeded");
    run("default", "bare", "Never", &[]);
    reason("default", "bare", "ErrImageNeverPull");
}

#[test]
fn values_that_grow_are_stopped() {
    let c = Cluster::start("fields-grow");
    c.load_busybox();
    let before = c.memory_mib();
    let doubling: Vec<Value> = (0..64)
        .map(|n| match n {
            0 => json!({"name": "V0", "value": "x"}),
            n => json!({"name": format!("V{n}"), "value": format!("$(V{0})$(V{0})", n - 1)}),
        })
        .collect();
    c.k.apply(&pod("env", "true", |pod| pod["spec"]["containers"][0]["env"] = json!(doubling)));
    let long = "$(V16)".repeat(64);
    c.k.apply(&pod("args", "true", |pod| {
        pod["spec"]["containers"][0]["env"] = json!(doubling[..17]);
        pod["spec"]["containers"][0]["args"] = json!(vec![long; 64]);
    }));
    for (name, why) in [
        ("env", "the environment grows longer than a program can be given at variable \"V17\""),
        ("args", "the arguments are longer than a program can be given"),
    ] {
        let path = "{.status.containerStatuses[0].state.waiting.reason}";
        c.k.wait(&format!("--for=jsonpath={path}=CreateContainerConfigError pod/{name}"));
        let path = "jsonpath={.status.containerStatuses[0].state.waiting.message}";
        assert_eq!(c.k.ok(&format!("get pod {name} -o {path}")), why);
    }
    let now = c.memory_mib();
    assert!(now < before + 64, "{before} MiB became {now} MiB");
}
