//! Bad input through the front door: each is refused with words that say what to do, the daemon keeps its memory, and
//! nothing is lost afterwards.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdout, Stdio};
use std::time::{Duration, Instant};

use skiff_tests::cluster::Cluster;

/// What the daemon may take on top of what it had, in MiB, whatever is thrown at it.
const GROWTH_MOST: u64 = 300;
/// What of it may be left when it is over.
const LEFT_MOST: u64 = 40;

/// What was there before is there, and the daemon has not grown.
#[track_caller]
fn unharmed(c: &Cluster, before: u64) {
    assert_eq!(c.k.ok("get configmap kept -o jsonpath={.data.x}"), "1");
    c.k.ok("create configmap after");
    let now = c.memory_mib();
    assert!(now < before + GROWTH_MOST, "{before} MiB became {now} MiB");
}

/// What a burst took comes back when it is over.
#[track_caller]
fn given_back(c: &Cluster, before: u64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while c.memory_mib() > before + LEFT_MOST {
        assert!(Instant::now() < deadline, "{before} MiB, and it stays at {} MiB", c.memory_mib());
    }
}

fn cluster(name: &str) -> (Cluster, u64) {
    let c = Cluster::start(name);
    c.k.ok("create configmap kept --from-literal=x=1");
    let before = c.memory_mib();
    (c, before)
}

/// A body to POST as it is, and what the answer says, over each HTTP that this machine's curl speaks.
#[track_caller]
fn refused(c: &Cluster, type_: &str, body: &str, wanted: &str) {
    let file = c.machine().data().join("body");
    std::fs::write(&file, body).unwrap();
    let has_http2 = c.shell("curl --version").contains("HTTP2");
    for version in ["--http1.1", "--http2"].into_iter().take(1 + usize::from(has_http2)) {
        let line = format!(
            "curl -sS {version} --max-time 60 --cacert $HOME/ca --cert $HOME/cert --key $HOME/key \
             -H 'Content-Type: {type_}' --data-binary @{} \
             $(cat $HOME/server)/api/v1/namespaces/default/configmaps",
            file.display()
        );
        let said = c.shell(&line);
        assert!(said.contains(wanted), "{type_} {version}: {}", &said[..said.len().min(2000)]);
    }
}

/// Connections that others make and hold.
struct Held(std::process::Child, BufReader<ChildStdout>);

impl Held {
    /// So many, each with this request on it, once they are there; `answered` waits for the head of each answer.
    #[track_caller]
    fn start(c: &Cluster, count: usize, request: &str, answered: bool) -> Held {
        let script = r#"
import os, resource, socket, ssl, sys
count, request, answered = int(sys.argv[1]), sys.argv[2].replace("\n", "\r\n").encode(), sys.argv[3] == "true"
resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
home = os.environ["HOME"]
tls = ssl.create_default_context(cafile=home + "/ca")
tls.load_cert_chain(home + "/cert", home + "/key")
host, port = open(home + "/server").read().removeprefix("https://").rsplit(":", 1)
held = []
def until(s, end):
    said = b""
    while end not in said:
        more = s.recv(65536)
        if not more: sys.exit("ended after " + repr(said))
        said += more
for i in range(count):
    s = tls.wrap_socket(socket.create_connection((host, int(port))), server_hostname=host)
    s.sendall(request)
    if answered: until(s, b"\r\n\r\n")
    held.append(s)
print("held", flush=True)
for line in sys.stdin:
    for s in held: until(s, line.strip().encode())
    print("seen", flush=True)
"#;
        let file = c.machine().data().join("hold.py");
        std::fs::write(&file, script).unwrap();
        let mut command = c.inside(Path::new("python3"));
        command.arg(file).args([&*count.to_string(), request, &*answered.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut held = Held(child, out);
        held.says("held");
        held
    }

    #[track_caller]
    fn says(&mut self, wanted: &str) {
        let mut said = String::new();
        self.1.read_line(&mut said).unwrap();
        assert_eq!(said.trim(), wanted);
    }

    /// Returns when this text came on each connection.
    #[track_caller]
    fn see(&mut self, text: &str) {
        writeln!(self.0.stdin.as_mut().expect("a pipe"), "{text}").unwrap();
        self.says("seen");
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// The value of one line of `/metrics`.
#[track_caller]
fn metric(c: &Cluster, name: &str) -> u64 {
    let page = c.k.ok("get --raw /metrics");
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().expect("a number")
}

#[test]
fn bodies_that_are_bombs_are_refused() {
    let (c, before) = cluster("hostile-bodies");
    c.unfold(&c.machine().home());
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
    let repeated = repeated.replace(r#""name":"x""#, r#""generateName":"x""#);
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

/// Items that are compared with each other one by one would take hours, and a thread of the server.
#[test]
fn lists_of_many_items_are_judged_at_once() {
    const COUNT: usize = 100_000;
    let (c, before) = cluster("hostile-items");
    let schema = r#"{"type":"object","properties":{"keyed":{"type":"array","x-kubernetes-list-type":"map",
        "x-kubernetes-list-map-keys":["id"],"items":{"type":"object","required":["id"],"properties":{"id":{"type":"integer"}}}},
        "set":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"integer"}},"x":{"type":"string"}}}"#;
    c.k.apply(&format!(
        r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{{"name":"as.x.example"}},
        "spec":{{"group":"x.example","scope":"Namespaced","names":{{"kind":"A","plural":"as"}},"versions":[{{"name":"v1",
        "served":true,"storage":true,"schema":{{"openAPIV3Schema":{schema}}}}}]}}}}"#
    ));
    c.k.wait("--for=condition=Established crd/as.x.example");
    let object = |name: &str, last: usize| {
        let ids = || (0..COUNT).chain([last]);
        let keyed: Vec<String> = ids().map(|id| format!(r#"{{"id":{id}}}"#)).collect();
        let set: Vec<String> = ids().map(|id| id.to_string()).collect();
        format!(
            r#"{{"apiVersion":"x.example/v1","kind":"A","metadata":{{"name":"{name}"}},"keyed":[{}],"set":[{}]}}"#,
            keyed.join(","),
            set.join(",")
        )
    };
    let create = ["create", "--raw", "/apis/x.example/v1/namespaces/default/as", "-f", "-"];
    let twice = c.k.exits(1, &create, &object("twice", 7)).err;
    for place in ["keyed", "set"] {
        assert!(twice.contains(&format!("{place}[{COUNT}]: Duplicate value")), "{twice}");
    }
    c.k.exits(0, &create, &object("once", COUNT));
    // Each item is looked for among those that were there.
    let change = r#"[{"op":"add","path":"/x","value":"y"},{"op":"replace","path":"/keyed/0/id","value":-1}]"#;
    c.k.args(&["patch", "as", "once", "--type=json", "-p", change, "-o", "name"]);
    c.k.ok("delete as once");
    given_back(&c, before);
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
    BufReader::new(out).read_line(&mut said).unwrap();
    assert_eq!(said.trim(), "held");
    unharmed(&c, before);
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn thousands_of_watches_are_served_beside_others() {
    const MANY: usize = 2000;
    let (c, before) = cluster("hostile-watches");
    c.unfold(&c.machine().home());
    let request = "GET /api/v1/namespaces/default/configmaps?watch=1 HTTP/1.1\nHost: a\n\n";
    let mut held = Held::start(&c, MANY, request, true);
    let watches = "apiserver_longrunning_requests{component=\"apiserver\",group=\"\",resource=\"configmaps\",\
                   scope=\"namespace\",subresource=\"\",verb=\"WATCH\",version=\"v1\"}";
    assert_eq!(metric(&c, watches), MANY as u64);
    assert!(metric(&c, "skiff_connections") >= MANY as u64);
    c.k.ok("create configmap seen-by-all");
    held.see("seen-by-all");
    unharmed(&c, before);
    held.end();
}

#[test]
fn senders_that_stop_in_a_body_hold_nobody_up() {
    let (c, before) = cluster("hostile-sender");
    c.unfold(&c.machine().home());
    let request = "POST /api/v1/namespaces/default/configmaps HTTP/1.1\nHost: a\n\
                   Content-Type: application/json\nContent-Length: 3000000\n\n{";
    // More than requests may run at once: a body that is not there yet takes none of their places.
    let held = Held::start(&c, 1000, request, false);
    assert_eq!(metric(&c, "apiserver_current_inflight_requests{request_kind=\"mutating\"}"), 0);
    unharmed(&c, before);
    held.end();
}

#[test]
fn a_decompression_bomb_is_no_image() {
    let (c, before) = cluster("hostile-bomb");
    // A layer of zeros, 64 GiB of them, in one that is compressed a thousand times: as a layer, and around the archive.
    let script = r#"
import gzip, io, json, sys, tarfile
def header(name, size):
    i = tarfile.TarInfo(name); i.size = size
    return i.tobuf(tarfile.GNU_FORMAT)
def member(t, name, data):
    i = tarfile.TarInfo(name); i.size = len(data)
    t.addfile(i, io.BytesIO(data))
zeros = gzip.compress(bytes(64 << 20), 9)
bomb = gzip.compress(header("zeros", 64 << 30)) + zeros * 1024
if sys.argv[1] == "archive":
    open(sys.argv[2], "wb").write(bomb)
else:
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}).encode()
    with tarfile.open(sys.argv[2], mode="w") as t:
        member(t, "c.json", config); member(t, "l/layer.tar", bomb)
        member(t, "manifest.json", json.dumps([{"Config": "c.json", "RepoTags": ["evil:bomb"], "Layers": ["l/layer.tar"]}]).encode())
"#;
    let make = c.machine().data().join("make.py");
    std::fs::write(&make, script).unwrap();
    let disk = || -> u64 {
        let used = c.shell("du -s --block-size=1M /var/lib/skiff/images");
        used.split_whitespace().next().expect("a size").parse().expect("a number")
    };
    let disk_before = disk();
    for place in ["layer", "archive"] {
        let archive = c.machine().data().join(format!("{place}.tar"));
        c.shell(&format!("python3 {} {place} {}", make.display(), archive.display()));
        let answer = c.skiff_answers(&["image", "load", &archive.display().to_string()]);
        assert_ne!(answer.code, 0, "{place}: {}{}", answer.out, answer.err);
        assert!(answer.err.contains("decompression bomb"), "{place}: {}", answer.err);
    }
    assert!(!c.skiff(&["image", "ls"]).contains("evil"));
    assert!(disk() < disk_before + 10, "{disk_before} MiB became {} MiB", disk());
    unharmed(&c, before);
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
    let refusals = [("dots", "climbs above"), ("link", "leads out"), ("digest", "sha256:")];
    // The root that a layer's link or name begins at is the image's own.
    for (kind, word) in refusals.into_iter().chain([("absolute", ""), ("root", "")]) {
        let archive = c.machine().data().join(format!("{kind}.tar"));
        c.shell(&format!("python3 {} {kind} {}", make.display(), archive.display()));
        let answer = c.skiff_answers(&["image", "load", &archive.display().to_string()]);
        assert_eq!(answer.code != 0, !word.is_empty(), "{kind}: {}{}", answer.out, answer.err);
        assert!(answer.err.contains(word), "{kind}: {}", answer.err);
        let found = c.shell("ls -d /escaped 2>/dev/null || true");
        assert_eq!(found.trim(), "", "{kind} escaped");
    }
    assert_eq!(c.skiff(&["image", "ls"]).matches("evil").count(), 2);
    unharmed(&c, before);
}
