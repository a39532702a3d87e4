//! Floods of HTTP/2 frames at the API, written by hand: each ends the connection of who sends it, costs bounded memory,
//! and holds nobody else up.

use skiff_tests::cluster::Cluster;
use std::path::Path;
use std::process::Stdio;

/// What the daemon may take on top of what it had, in MiB.
const GROWTH_MOST: u64 = 64;

/// A client that speaks frames (RFC 9113): `python3 flood.py SERVER FLOOD` says how its connection ended.
const CLIENT: &str = r#"
import socket, ssl, struct, sys, threading
host, port = sys.argv[1].removeprefix("https://").rsplit(":", 1)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
tls.set_alpn_protocols(["h2"])
s = tls.wrap_socket(socket.create_connection((host, int(port))), server_hostname=host)
assert s.selected_alpn_protocol() == "h2"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW, MORE = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4
def frame(sort, flags, stream, body=b""):
    return struct.pack(">I", len(body))[1:] + bytes([sort, flags]) + struct.pack(">I", stream) + body
def text(word): return bytes([len(word)]) + word
def field(name, value): return b"\0" + text(name) + text(value)
# GET https /version: three fields of the static table, two written out.
head = b"\x82\x87" + field(b":path", b"/version") + field(b":authority", b"a")
ended = None
def reads():
    global ended
    rest = b""
    try:
        while ended is None:
            more = s.recv(65536)
            if not more: break
            rest += more
            while len(rest) >= 9 and len(rest) >= 9 + int.from_bytes(rest[:3], "big"):
                size, sort = int.from_bytes(rest[:3], "big"), rest[3]
                if sort == GOAWAY: ended = "goaway %d" % int.from_bytes(rest[13:17], "big")
                rest = rest[9 + size:]
    except OSError: pass
    ended = ended or "closed"
def opened(n): return 2 * n + 1
def rapid(n):
    return frame(HEADERS, END_HEADERS | END_STREAM, opened(n), head) + frame(RST, 0, opened(n), struct.pack(">I", 8))
def broken(n):
    # A window that grows by nothing is a fault of the stream, which the server ends itself.
    return frame(HEADERS, END_HEADERS, opened(n), head) + frame(WINDOW, 0, opened(n), bytes(4))
def more(n):
    first = frame(HEADERS, END_STREAM, 1, head) if n == 0 else b""
    return first + frame(MORE, 0, 1, field(b"x", b"y" * 100) * 150)
def empty(n):
    return (frame(HEADERS, END_STREAM, 1, head) if n == 0 else b"") + frame(MORE, 0, 1)
# One entry of the table, named four thousand times in each frame.
large = b"\x40" + text(b"bomb") + b"\x7f\xa1\x1e" + b"y" * 4000
def bomb(n):
    body = head + (large if n == 0 else b"") + b"\xbe" * 4000
    return frame(HEADERS, END_HEADERS | END_STREAM, opened(n), body)
def ping(n): return frame(PING, 0, 0, bytes(8))
def settings(n): return frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535 + n % 2))
def none(n): return (frame(HEADERS, END_HEADERS, 1, head) if n == 0 else b"") + frame(DATA, 0, 1)
flood, is_read = globals()[sys.argv[2]], sys.argv[3] == "read"
s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
if is_read: threading.Thread(target=reads, daemon=True).start()
s.settimeout(3)
n = 0
try:
    while ended is None and n < int(sys.argv[4]):
        s.sendall(b"".join(flood(i) for i in range(n, n + 50)))
        n += 50
except TimeoutError: ended = ended or "held back"
except OSError: ended = ended or "closed"
print(ended or "served", n)
"#;

#[test]
fn floods_of_frames_end_with_their_connection() {
    let c = Cluster::start("locks-h2");
    let server = c.k.ok("config view -o jsonpath={.clusters[0].cluster.server}");
    let file = c.machine().data().join("flood.py");
    std::fs::write(&file, CLIENT).unwrap();
    let before = c.memory_mib();
    let floods = [
        // CVE-2023-44487, and its sister in which the server is made to end the streams (CVE-2025-8671).
        ("rapid", "read", "100000", "goaway 11"),
        ("broken", "read", "100000", "goaway"),
        // CVE-2023-45288: a head that goes on; one of which nothing comes; and one that unfolds.
        ("more", "read", "100000", "goaway 11"),
        ("empty", "read", "100000", "goaway 11"),
        ("bomb", "read", "100000", "goaway"),
        // CVE-2019-9512 and 9515: answers that nobody reads. No more is taken in.
        ("ping", "silent", "30000000", "held back"),
        ("settings", "silent", "30000000", "held back"),
        // CVE-2019-9518: frames without anything in them.
        ("none", "silent", "1000000", "goaway"),
    ];
    let begun = floods.map(|(flood, reads, times, ending)| {
        let mut command = c.inside(Path::new("python3"));
        command.arg(&file).args([server.trim(), flood, reads, times]).stdout(Stdio::piped());
        (flood, command.spawn().unwrap(), ending)
    });
    // Others are served meanwhile: what nobody reads keeps its sender for seconds.
    assert_eq!(c.k.ok("get --raw /readyz"), "ok");
    c.k.ok("create configmap beside");
    let floods = begun.map(|(flood, child, ending)| {
        let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        (format!("{flood}: {}", said.trim()), ending)
    });
    for (said, ending) in &floods {
        // Whether its last words come before its end is up to the network.
        assert!(said.contains(ending) || said.contains(": closed"), "{floods:?}");
    }
    let grown = c.memory_mib().saturating_sub(before);
    assert!(grown < GROWTH_MOST, "{grown} MiB: {floods:?}");
    c.k.ok("get configmap beside");
}
