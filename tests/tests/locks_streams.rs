//! The node's API and the server's way to it, tried by those who should not get through: who only reads opens no stream,
//! what a caller proves stays here, an address that means this machine is no target, and silence holds nobody up.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use skiff_tests::cluster::{BUSYBOX, Cluster};

/// What the daemon may take on top of what it had, in MiB, whatever is thrown at its streams.
const GROWTH_MOST: u64 = 64;

/// Says in its answer what it was asked, where else to go when that is `/moved`, and switches on `/switch`.
const ECHO: &str = r#"read -r l; s="200 OK"; case "$l" in */moved*) s="302 Found\r\nLocation: http://10.96.0.1/api";;
*/switch*) s="101 Switching Protocols\r\nUpgrade: x";; esac
printf "HTTP/1.1 $s\r\nConnection: close\r\n\r\n"
echo "$l"; while read -r l && [ "$l" != "$(printf "\r")" ]; do echo "$l"; done"#;

/// A cluster with a pod `p`, and what proves who its owner is where curl finds it.
fn cluster(name: &str) -> Cluster {
    let c = Cluster::start(name);
    c.load_busybox();
    let manifest = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": BUSYBOX,
            "command": ["nc", "-ll", "-p", "8080", "-e", "sh", "-c", ECHO]}]}});
    c.k.apply(&manifest.to_string());
    c.k.wait("--for=condition=Ready pod/p");
    c.unfold(&c.machine().home());
    c
}

/// Where the API server is, and the node's own API.
fn places(c: &Cluster) -> (String, String) {
    let server = c.k.ok("config view -o jsonpath={.clusters[0].cluster.server}");
    let of_node = "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}";
    (server, format!("https://{}:10250", c.k.args(&["get", "node", "-o", of_node])))
}

const OWNER: &str = "--cert $HOME/cert --key $HOME/key";
/// The handshake of a WebSocket, for curl. It ends with the head of the answer.
const HANDSHAKE: &str = "-m 5 -H Connection:Upgrade -H Upgrade:websocket -H Sec-WebSocket-Version:13 \
                         -H Sec-WebSocket-Key:dGhlIHNhbXBsZSBub25jZQ== \
                         -H Sec-WebSocket-Protocol:v5.channel.k8s.io";

/// The code and the body of an answer.
#[track_caller]
fn curl(c: &Cluster, options: &str, url: &str) -> (String, String) {
    let said = c.shell(&format!(
        "curl -gsS --http1.1 --path-as-is --cacert $HOME/ca -o $HOME/body -w '%{{http_code}}' {options} '{url}' \
         2> $HOME/curl || [ -s $HOME/curl ]; echo; tr -d '\\0' < $HOME/body"
    ));
    let (code, body) = said.split_once('\n').expect("a code");
    (code.to_owned(), body.to_owned())
}

#[test]
fn who_may_only_read_opens_no_stream() {
    let c = cluster("locks-readers");
    let (server, node) = places(&c);
    let streams = "pods/exec,pods/attach,pods/portforward";
    c.k.ok(&format!("create clusterrole reader --verb=get --resource=pods,nodes/proxy,{streams}"));
    c.k.ok("create serviceaccount eve");
    c.k.ok("create clusterrolebinding eve --clusterrole=reader --serviceaccount=default:eve");
    let token = c.k.ok("create token eve");
    let eve = format!("-H 'Authorization: Bearer {token}' {HANDSHAKE}");
    let pods = format!("{server}/api/v1/namespaces/default/pods");
    let exec = "command=true&stdout=1&container=c";
    for path in ["p/exec", "p/attach", "p/portforward", "none/exec"] {
        let (code, said) = curl(&c, &eve, &format!("{pods}/{path}?{exec}"));
        assert_eq!(code, "403", "{path}: {said}");
        let pod = path.split('/').next().unwrap();
        assert!(said.contains(&format!(r#"pods \"{pod}\" is forbidden: "#)), "{said}");
    }
    let (code, _) = curl(&c, &format!("{OWNER} {HANDSHAKE}"), &format!("{pods}/p/exec?{exec}"));
    assert_eq!(code, "101");
    // No other verb is a way around, whoever may use it.
    for (method, path) in
        [("DELETE", "log"), ("PATCH", "log"), ("PUT", "exec"), ("DELETE", "attach")]
    {
        let options = format!("{OWNER} {HANDSHAKE} -X {method}");
        assert_eq!(
            curl(&c, &options, &format!("{pods}/p/{path}?{exec}")).0,
            "405",
            "{method} {path}"
        );
    }
    let watched = format!("{server}/api/v1/watch/namespaces/default/pods/p/log");
    assert_eq!(curl(&c, OWNER, &watched).0, "405");
    // The node asks the same of whoever comes directly, however the path is written.
    for (path, wanted) in [
        ("exec", "403"),
        ("%65xec", "403"),
        ("%65%78%65%63", "403"),
        ("%2e/exec", "404"),
        ("/exec", "404"),
        ("./exec", "404"),
        ("pods/../exec", "404"),
        ("pods%2f..%2fexec", "404"),
        ("exec;", "404"),
        ("EXEC", "404"),
    ] {
        let url = format!("{node}/{path}/default/p/c?command=true&output=1");
        let (code, said) = curl(&c, &eve, &url);
        assert_eq!(code, wanted, "{path}: {said}");
    }
    // Nobody is nobody, and for its owner too there is no more than there is.
    for path in ["healthz", "metrics", "pods", "exec/default/p/c", "containerLogs/default/p/c", ""]
    {
        assert_eq!(curl(&c, "", &format!("{node}/{path}")).0, "401", "{path}");
    }
    for path in [
        "logs/",
        "run/default/p/c?cmd=id",
        "checkpoint/default/p/c",
        "debug/pprof/",
        "configz",
        "containerLogs/default/p/..%2f..",
        "containerLogs/default/p/../../../x",
    ] {
        assert_eq!(curl(&c, OWNER, &format!("{node}/{path}")).0, "404", "{path}");
    }
    assert_eq!(curl(&c, OWNER, &format!("{node}/healthz")).0, "200");
    // A log that a pod has put a link in place of.
    let uid = c.k.ok("get pod p -o jsonpath={.metadata.uid}");
    c.shell(&format!(
        "echo '2026-01-01T00:00:01Z stdout F secret' > $HOME/log && cat $HOME/log && \
         ln -sf $HOME/log /var/lib/skiff/node/logs/default_p_{uid}/c/0.log"
    ));
    let said = c.k.fails("logs p");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn proxies_lead_where_they_may_and_tell_nobody_who_asked() {
    let c = cluster("locks-proxies");
    let (server, node) = places(&c);
    let proof = "base64url.bearer.authorization.k8s.io.YWJj";
    let (code, heard) = curl(
        &c,
        &format!(
            "{OWNER} -H 'Impersonate-User: kubernetes-admin' -H 'Impersonate-Group: system:masters' \
             -H 'X-Remote-User: me' -H 'X-Remote-Group: mine' -H 'Authorization: Basic YTpi' -H 'X-Kept: 1' \
             -H 'Connection: X-Hop' -H 'X-Hop: 1' -H 'Sec-WebSocket-Protocol: {proof}, a.b' \
             -H 'Sec-WebSocket-Protocol: {proof}'"
        ),
        &format!("{server}/api/v1/namespaces/default/pods/p:8080/proxy/x"),
    );
    assert_eq!(code, "200", "{heard}");
    let heard = heard.to_lowercase();
    assert!(heard.contains("get /x http/1.1"), "{heard}");
    assert!(
        heard.contains("x-kept: 1") && heard.contains("sec-websocket-protocol: a.b"),
        "{heard}"
    );
    for word in ["impersonate", "x-remote", "authorization", "x-hop"] {
        assert!(!heard.contains(word), "{word} in {heard}");
    }
    // A redirect is the client's to follow.
    assert_eq!(
        curl(&c, OWNER, &format!("{server}/api/v1/namespaces/default/pods/p:8080/proxy/moved")).0,
        "302"
    );
    let switch = format!("{server}/api/v1/namespaces/default/pods/p:8080/proxy/switch");
    let (code, said) = curl(&c, OWNER, &switch);
    assert!(code == "503" && said.contains("changed the protocol unasked"), "{code}: {said}");
    // What a pod makes of an upgrade ends with its answer: the next request on the connection is judged for itself.
    c.k.ok("create clusterrole eve --verb=get --resource=pods/proxy");
    c.k.ok("create serviceaccount eve");
    c.k.ok("create clusterrolebinding eve --clusterrole=eve --serviceaccount=default:eve");
    let token = c.k.ok("create token eve");
    let each = "-sS --http1.1 --cacert $HOME/ca -o /dev/null -w '%{http_code} '";
    let said = c.shell(&format!(
        "curl {each} {HANDSHAKE} -H 'Authorization: Bearer {token}' {server}/api/v1/namespaces/default/pods/p:8080/proxy/ \
         --next {each} {server}/api/v1/secrets"
    ));
    assert_eq!(said.trim(), "200 403");
    // Nodes that lie about where they are.
    let api = server.rsplit(':').next().unwrap();
    c.k.apply("{apiVersion: v1, kind: Node, metadata: {name: far}}");
    let address = |node: &str, address: &str, port: &str| {
        let status = serde_json::json!({"status": {
            "addresses": [{"type": "InternalIP", "address": address}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port.parse::<u16>().unwrap()}}}});
        let patch = status.to_string();
        c.k.args(&["patch", "node", node, "--subresource=status", "-p", &patch]);
    };
    for said in ["::ffff:127.0.0.1", "127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "localhost"] {
        address("far", said, "10250");
        for name in [format!("https:far:{api}"), format!("far:{api}"), "far".to_owned()] {
            let refused = c.k.fails(&format!("get --raw /api/v1/nodes/{name}/proxy/version"));
            assert!(refused.contains("address not allowed"), "{said} {name}: {refused}");
        }
    }
    // A node that says it listens where the API server does is not shown who the server is.
    let own = c.k.ok("get node -o jsonpath={.items[?(@.metadata.name!='far')].metadata.name}");
    let ip = node.trim_start_matches("https://").split(':').next().unwrap();
    address(&own, ip, api);
    let refused = c.k.fails(&format!("get --raw /api/v1/nodes/{own}/proxy/api/v1/secrets"));
    assert!(refused.contains(&format!("tls: the peer is not node {own}")), "{refused}");
    address(&own, ip, "10250");
    c.k.ok(&format!("get --raw /api/v1/nodes/{own}/proxy/healthz"));
    // One that cannot be reached: kubectl falls back to SPDY, and hears why all the same.
    address("far", ip, "9");
    c.k.apply("{apiVersion: v1, kind: Pod, metadata: {name: q}, spec: {nodeName: far, containers: [{name: c, image: i}]}}");
    let why = format!("dial tcp {ip}:9: connect: connection refused");
    let said = c.k.fails("exec q -- true");
    assert!(said.contains(&format!("error dialing backend: {why}")), "{said}");
    assert!(!said.to_lowercase().contains("spdy"), "{said}");
    let said = c.k.fails("logs q");
    let url = format!("https://{ip}:9/containerLogs/default/q/c");
    assert!(said.contains(&format!("Error from server: Get \"{url}\": {why}")), "{said}");
}

/// What the peers of [`silence_and_floods_hold_nobody_up`] do; each step waits for a line of input.
const PEERS: &str = r#"
import os, resource, socket, ssl, sys, threading
resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
home, node, server = os.environ["HOME"], sys.argv[1], sys.argv[2]
def place(url): host, port = url.removeprefix("https://").rsplit(":", 1); return host, int(port)
def tls(proven, alpn=None):
    it = ssl.create_default_context(cafile=home + "/ca")
    if proven: it.load_cert_chain(home + "/cert", home + "/key")
    if alpn: it.set_alpn_protocols(alpn)
    return it
def connect(url, context):
    s = context.wrap_socket(socket.create_connection(place(url), 20), server_hostname=place(url)[0])
    s.settimeout(60)
    return s
def rest(s):
    said = b""
    try:
        while more := s.recv(65536): said += more
    except (ConnectionError, ssl.SSLError): pass
    return said
def step(said): print(said, flush=True); sys.stdin.readline()

context = tls(False)
idle = [connect(node, context) for _ in range(1200)]
step("idle")
for s in idle: s.close()
slow = connect(node, tls(False))
slow.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")

try: said = connect(node, tls(True, ["h2"])).selected_alpn_protocol()
except (ConnectionError, ssl.SSLError): said = "refused"
step(f"alpn {said}")
s = connect(node, tls(True))
s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
step(f"preface {rest(s)[:9]}")
s = connect(node, tls(True))
try: s.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Bomb: " + b"x" * (8 << 20))
except (ConnectionError, ssl.SSLError): pass
s.close()
step("bomb")

query = "/api/v1/namespaces/default/pods/p/exec?container=c&stdin=1&stdout=1&command=sleep&command=600"
head = f"""GET {query} HTTP/1.1
Host: a
Connection: Upgrade
Upgrade: websocket
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
Sec-WebSocket-Protocol: v5.channel.k8s.io

""".replace("\n", "\r\n").encode()
context, kept = tls(True), []
def send_much():
    s = connect(server, context)
    s.sendall(head)
    assert b" 101 " in s.recv(4096)
    # One message of 31 MiB, whose last byte never comes; a peer that takes no more of it is what is asked for.
    length = 31 << 20
    s.settimeout(3)
    try: s.sendall(bytes([0x82, 0xff]) + length.to_bytes(8, "big") + bytes(4 + length - 1))
    except TimeoutError: pass
    kept.append(s)
peers = [threading.Thread(target=send_much) for _ in range(8)]
for it in peers: it.start()
for it in peers: it.join()
step(f"sent {len(kept)}")

# What began its head at the start, and never ended it, is gone.
rest(slow)
step("slow")
"#;

/// The peers, from one step to the next.
struct Peers(Child, BufReader<ChildStdout>);

impl Peers {
    #[track_caller]
    fn start(c: &Cluster) -> Peers {
        let (server, node) = places(c);
        let file = c.machine().data().join("peers.py");
        std::fs::write(&file, PEERS).unwrap();
        let mut command = c.inside(Path::new("python3"));
        command.arg(file).args([node, server]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        Peers(child, out)
    }

    #[track_caller]
    fn says(&mut self) -> String {
        let mut said = String::new();
        self.1.read_line(&mut said).unwrap();
        said.trim().to_owned()
    }

    fn go_on(&mut self) {
        use std::io::Write;
        writeln!(self.0.stdin.as_mut().expect("a pipe")).unwrap();
    }
}

/// A line of the node's own metrics.
#[track_caller]
fn metric(c: &Cluster, name: &str) -> u64 {
    let page = curl(c, OWNER, &format!("{}/metrics", places(c).1)).1;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().expect("a number")
}

#[test]
fn silence_and_floods_hold_nobody_up() {
    let c = cluster("locks-floods");
    assert_eq!(c.k.ok("exec p -- echo there"), "there\n");
    let before = c.memory_mib();
    let mut peers = Peers::start(&c);
    assert_eq!(peers.says(), "idle");
    // Twelve hundred strangers are connected, or were: few of them hold a place.
    assert_eq!(c.k.ok("exec p -- echo there"), "there\n");
    let limit = metric(&c, r#"skiff_node_api_connections_limit{proven="false"}"#);
    let strangers = metric(&c, r#"skiff_node_api_connections{proven="false"}"#);
    assert!(strangers <= limit && limit < 1024, "{strangers} of {limit}");
    let gone = metric(&c, r#"skiff_node_api_connections_ended_total{reason="gaveWay"}"#);
    assert!(gone >= 1200 - limit, "{gone}");
    peers.go_on();
    // HTTP/2 is not spoken: no stream can be opened and reset, and no head continued for ever.
    for wanted in ["alpn refused", "preface b''", "bomb"] {
        assert_eq!(peers.says(), wanted);
        peers.go_on();
    }
    assert_eq!(peers.says(), "sent 8");
    let now = c.memory_mib();
    assert!(now < before + GROWTH_MOST, "{before} MiB became {now} MiB");
    assert_eq!(c.k.ok("exec p -- echo there"), "there\n");
    peers.go_on();
    assert_eq!(peers.says(), "slow");
    peers.go_on();
    assert!(peers.0.wait().unwrap().success());
    assert!(metric(&c, r#"skiff_node_api_connections_ended_total{reason="proofTime"}"#) > 0);
}
