//! Damage: records on disk that nobody can decode, with sums that fit, so that no disk can be blamed for them. The
//! cluster is down meanwhile.

use crate::cluster::Cluster;

const SCRIPT: &str = r#"
import sqlite3, sys
def rotl(x, n): return ((x << n) | (x >> (64 - n))) & (2**64 - 1)
def mix(s, w): return ((rotl(s, 23) ^ w) * 0x9e3779b97f4a7c15) & (2**64 - 1)
def total(words, parts):
    s = 0x534b4946
    for w in words: s = mix(s, w)
    for p in parts:
        s = mix(s, len(p))
        whole = len(p) // 8 * 8
        for i in range(0, whole, 8): s = mix(s, int.from_bytes(p[i:i+8], "little"))
        s = mix(s, int.from_bytes(p[whole:].ljust(8, b"\0"), "little"))
    return s - 2**64 if s >= 2**63 else s
def fits(revision, prev, deleted, generation, key, facets, body):
    return total([revision, prev, deleted, generation], [key.encode(), facets, body])
db = sqlite3.connect(sys.argv[1])
row = lambda key: db.execute("SELECT revision, prev, deleted, generation, facets, body FROM log WHERE key = ? ORDER BY revision DESC", (key,)).fetchone()
def spoil(key):
    revision, prev, deleted, generation, facets, body = row(key)
    body = body[:-1] + b',"deep":' + b"[" * 130 + b"]" * 130 + b"}" if key.startswith("widgets") else body[:-9]
    db.execute("UPDATE log SET body = ?, sum = ? WHERE revision = ?", (body, fits(revision, prev, deleted, generation, key, facets, body), revision))
def add(key):
    _, _, _, generation, facets, body = row("namespaces//default")
    revision = db.execute("SELECT max(revision) FROM log").fetchone()[0] + 1
    body = body[:-9]
    db.execute("INSERT INTO log (revision, prev, deleted, generation, sum, key, facets, body) VALUES (?, 0, 0, ?, ?, ?, ?, ?)",
               (revision, generation, fits(revision, 0, 0, generation, key, facets, body), key, facets, body))
for key in sys.argv[3:]: {"spoil": spoil, "add": add}[sys.argv[2]](key)
db.commit()
"#;

/// Cuts the bodies of these keys short; nests those of `widgets` deeper than readers go.
#[track_caller]
pub fn spoil(c: &Cluster, keys: &[&str]) {
    run(c, "spoil", keys);
}

/// Adds records under these keys whose bodies are cut short.
#[track_caller]
pub fn add(c: &Cluster, keys: &[&str]) {
    run(c, "add", keys);
}

#[track_caller]
fn run(c: &Cluster, what: &str, keys: &[&str]) {
    let file = c.machine().data().join("damage.py");
    std::fs::write(&file, SCRIPT).expect("the folder can be written to");
    let store = c.shell("find /var/lib/skiff /run -xdev -name store.db 2> /dev/null | head -1");
    let keys: Vec<String> = keys.iter().map(|key| format!("'{key}'")).collect();
    c.shell(&format!("python3 {} {} {what} {}", file.display(), store.trim(), keys.join(" ")));
}
