//! Bad input through the front door: each is refused with words that say what to do, the daemon keeps its memory, and
//! nothing is lost afterwards.

use std::path::Path;
use std::process::Stdio;

use skiff_tests::cluster::Cluster;

/// What the daemon may take on top of what it had, in MiB, whatever is thrown at it.
const GROWTH_MOST: u64 = 300;

/// The memory of the daemon in MiB.
fn memory(c: &Cluster) -> u64 {
    let daemon = c.daemon();
    let status = c.shell(&format!("grep VmRSS /proc/{daemon}/status"));
    let kib = status.split_whitespace().nth(1).expect("a number");
    kib.parse::<u64>().expect("a number") / 1024
}

/// What was there before is there, and the daemon has not grown.
#[track_caller]
fn unharmed(c: &Cluster, before: u64) {
    assert_eq!(c.k.ok("get configmap kept -o jsonpath={.data.x}"), "1");
    c.k.ok("create configmap after");
    let now = memory(c);
    assert!(now < before + GROWTH_MOST, "{before} MiB became {now} MiB");
}

fn cluster(name: &str) -> (Cluster, u64) {
    let c = Cluster::start(name);
    c.k.ok("create configmap kept --from-literal=x=1");
    let before = memory(&c);
    (c, before)
}

/// A body to POST as it is, and what the answer says.
#[track_caller]
fn refused(c: &Cluster, sort: &str, body: &str, wanted: &str) {
    let file = c.machine().data().join("body");
    std::fs::write(&file, body).unwrap();
    let line = format!(
        "curl -sS --http1.1 --max-time 60 --cacert $HOME/ca --cert $HOME/cert --key $HOME/key \
         -H 'Content-Type: {sort}' --data-binary @{} $(cat $HOME/server)/api/v1/namespaces/default/configmaps",
        file.display()
    );
    let said = c.shell(&line);
    assert!(said.contains(wanted), "{sort}: {}", &said[..said.len().min(2000)]);
}

/// Lays the parts of the kubeconfig where curl finds them.
fn unfold(c: &Cluster) {
    let raw =
        |path: &str| c.k.args(&["config", "view", "--raw", "-o", &format!("jsonpath={path}")]);
    let server = raw("{.clusters[0].cluster.server}");
    std::fs::write(c.machine().home().join("server"), server).unwrap();
    for (file, path) in [
        ("ca", "{.clusters[0].cluster.certificate-authority-data}"),
        ("cert", "{.users[0].user.client-certificate-data}"),
        ("key", "{.users[0].user.client-key-data}"),
    ] {
        c.shell(&format!("echo {} | base64 -d > $HOME/{file}", raw(path)));
    }
}

#[test]
fn bodies_that_are_bombs_are_refused() {
    let (c, before) = cluster("hostile-bodies");
    unfold(&c);
    let head = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"#;
    let large = format!(r#"{head}"data":{{"a":"{}"}}}}"#, "x".repeat(4 << 20));
    refused(&c, "application/json", &large, "Request entity too large: limit is 3145728");
    let deep = format!(r#"{head}"data":{}"#, "[".repeat(1 << 20));
    refused(&c, "application/json", &deep, "exceeded max depth");
    let mut bomb =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\na0: &a0 [x,x,x,x,x,x,x,x,x]\n"
            .to_owned();
    for level in 1..10 {
        let below = vec![format!("*a{}", level - 1); 9].join(",");
        bomb += &format!("a{level}: &a{level} [{below}]\n");
    }
    refused(&c, "application/yaml", &bomb, "document contains excessive aliasing");
    // A long path to many repeated fields must not cost the square of the body.
    let fields = vec![r#""a":"1""#; 100_000].join(",");
    let key = "k".repeat(1 << 20);
    let repeated = format!(r#"{head}"{key}":{{{fields}}}}}"#);
    refused(&c, "application/json", &repeated, r#""kind": "ConfigMap""#);
    let unknown = format!(r#"{head}"dta":{{"a":"1"}}}}"#);
    let strict = c.k.exits(
        1,
        &["create", "--validate=strict", "-f", "-"],
        &unknown.replace("\"x\"", "\"y\""),
    );
    assert!(strict.err.contains(r#"unknown field "dta""#), "{}", strict.err);
    unharmed(&c, before);
}

#[test]
fn a_node_gets_tokens_and_evicts_for_its_own_pods_only() {
    let (c, before) = cluster("hostile-node");
    c.k.wait("--for=create serviceaccount/default");
    // A pod that no scheduler ever sees runs nowhere.
    c.k.apply("{apiVersion: v1, kind: Pod, metadata: {name: far}, spec: {schedulerName: none, containers: [{name: c, image: i}]}}");
    let uid = c.k.ok("get pod far -o jsonpath={.metadata.uid}");
    let node = "--as system:node:other --as-group system:nodes --as-group system:masters";
    let said = c.k.fails(&format!("create token default {node}"));
    assert!(said.contains("node requested token not bound to a pod"), "{said}");
    let bound = "--bound-object-kind Pod --bound-object-name far";
    let said = c.k.fails(&format!("create token default {bound} {node}"));
    assert!(said.contains("node requested token with a pod binding without a uid"), "{said}");
    let said = c.k.fails(&format!("create token default {bound} --bound-object-uid {uid} {node}"));
    assert!(said.contains("bound to a pod scheduled on a different node"), "{said}");
    let eviction = r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"far"}}"#;
    let path = "/api/v1/namespaces/default/pods/far/eviction";
    let mut words: Vec<&str> = node.split(' ').collect();
    words.extend(["create", "--raw", path, "-f", "-"]);
    let said = c.k.exits(1, &words, eviction).err;
    assert!(
        said.contains("node other can only evict pods with spec.nodeName set to itself"),
        "{said}"
    );
    c.k.ok(&format!("create token default {bound} --bound-object-uid {uid}"));
    unharmed(&c, before);
}

#[test]
fn silent_and_half_open_connections_hold_nobody_up() {
    let (c, before) = cluster("hostile-slow");
    let server = c.k.ok("config view -o jsonpath={.clusters[0].cluster.server}");
    let place = server.trim_start_matches("https://").replace(':', "/");
    // A thousand connections that never say a word, and one that ends in the middle of its hello.
    let line = format!(
        "ulimit -n 4000; for i in $(seq 1000); do exec {{fd}}<>/dev/tcp/{place} || exit 1; done; \
         printf '\\x16\\x03\\x01\\x02' >&$fd; echo held; read -r _"
    );
    let mut silent = c.inside(Path::new("bash"));
    silent.args(["-c", &line]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = silent.spawn().unwrap();
    let mut said = String::new();
    let out = child.stdout.take().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said).unwrap();
    assert_eq!(said.trim(), "held");
    unharmed(&c, before);
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn archives_of_strangers_stay_inside() {
    let (c, before) = cluster("hostile-archive");
    let script = r#"
import io, json, hashlib, tarfile, sys
kind = sys.argv[1]
def member(t, name, data=b"", type=tarfile.REGTYPE, link=""):
    i = tarfile.TarInfo(name); i.size = len(data); i.type = type; i.linkname = link
    t.addfile(i, io.BytesIO(data))
layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as t:
    if kind == "dots": member(t, "../../../../escaped", b"x")
    if kind == "absolute": member(t, "/escaped", b"x")
    if kind in ("link", "root"):
        member(t, "out", type=tarfile.SYMTYPE, link="/" if kind == "root" else "../../../..")
        member(t, "out/escaped", b"x")
layer = layer.getvalue()
diff = hashlib.sha256(b"other" if kind == "digest" else layer).hexdigest()
config = json.dumps({"architecture": "amd64", "os": "linux", "config": {},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + diff]}}).encode()
with tarfile.open(sys.argv[2], mode="w") as t:
    member(t, "c.json", config); member(t, "l/layer.tar", layer)
    member(t, "manifest.json", json.dumps([{"Config": "c.json", "RepoTags": ["evil:" + kind], "Layers": ["l/layer.tar"]}]).encode())
"#;
    let make = c.machine().data().join("make.py");
    std::fs::write(&make, script).unwrap();
    let refusals =
        [("dots", ".."), ("absolute", "absolute"), ("link", "leads out"), ("digest", "sha256:")];
    // The root that a layer's link leads to is the layer's own.
    for (kind, word) in refusals.into_iter().chain([("root", "")]) {
        let archive = c.machine().data().join(format!("{kind}.tar"));
        c.shell(&format!("python3 {} {kind} {}", make.display(), archive.display()));
        let answer = c.skiff_answers(&["image", "load", &archive.display().to_string()]);
        assert_eq!(answer.code != 0, kind != "root", "{kind}: {}{}", answer.out, answer.err);
        assert!(answer.err.contains(word), "{kind}: {}", answer.err);
        let found = c.shell("ls -d /escaped 2>/dev/null || true");
        assert_eq!(found.trim(), "", "{kind} escaped");
    }
    assert_eq!(c.skiff(&["image", "ls"]).matches("evil").count(), 1);
    unharmed(&c, before);
}
