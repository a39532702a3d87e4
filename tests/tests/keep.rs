//! Keeping a cluster: its backup and the way back, another program under its containers, secrets that the disk does not
//! tell, and data that older and newer builds wrote.

use serde_json::{Value, json};
use skiff_tests::cluster::{BUSYBOX, Cluster};
use skiff_tests::load::Load;
use skiff_tests::{kit, kubectl};
use std::path::PathBuf;

const DATA: &str = "/var/lib/skiff";
/// A restore gives out no revision that is not beyond the backup's by so much.
const JUMP: u64 = 1_000_000_000;

/// The words behind a value, and the value's own words, as they would lie on the disk.
const WORD: &str = "plain-for-all-to-see";
const BASE64: &str = "cGxhaW4tZm9yLWFsbC10by1zZWU=";

fn file(c: &Cluster, name: &str) -> String {
    c.machine().data().join(name).display().to_string()
}

/// The revision that a backup says it is of.
fn revision(said: &str) -> u64 {
    let at = said.split("as of revision ").nth(1).expect("it says so");
    at.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().expect("a number")
}

fn items(c: &Cluster, path: &str) -> Value {
    let list: Value = serde_json::from_str(&c.k.args(&["get", "--raw", path])).expect("JSON");
    list["items"].clone()
}

fn list_revision(c: &Cluster) -> u64 {
    let list: Value =
        serde_json::from_str(&c.k.ok("get --raw /api/v1/configmaps?limit=1")).expect("JSON");
    list["metadata"]["resourceVersion"].as_str().unwrap().parse().expect("a revision")
}

fn refused(answer: &kubectl::Answer, words: &str) {
    assert_ne!(answer.code, 0, "{}", answer.out);
    assert!(answer.err.contains(words), "{}", answer.err);
    assert_eq!(answer.err.trim_end().lines().count(), 1, "{}", answer.err);
}

/// A pod that echoes what it is sent.
fn echo() -> String {
    let command = ["nc", "-ll", "-p", "7000", "-e", "cat"];
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "echo"}, "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": BUSYBOX, "imagePullPolicy": "Never", "command": command}]}})
    .to_string()
}

#[test]
fn a_backup_under_writes_makes_the_same_cluster_elsewhere() {
    let one = Cluster::start("keep");
    one.load_busybox();
    one.k.ok("create configmap sea --from-literal=deep=yes");
    one.k.args(&["create", "secret", "generic", "s", &format!("--from-literal=a={WORD}")]);
    one.k.apply(&echo());
    one.k.wait("--for=condition=Ready pod/echo");
    let load = Load::start(&one, 2).unwrap();
    one.shell(&format!(
        "until [ $(grep -c create {0}/log-0) -gt 20 ]; do sleep 0.05; done",
        file(&one, "load")
    ));
    let backup = file(&one, "backup");
    let at = revision(&one.skiff(&["backup", "--images", &backup]));
    let exact = format!("resourceVersion={at}&resourceVersionMatch=Exact");
    let paths = ["configmaps", "secrets"].map(|kind| format!("/api/v1/namespaces/default/{kind}"));
    let were = paths.clone().map(|path| items(&one, &format!("{path}?{exact}")));
    assert!(load.settle(&one).unwrap() > 20);
    assert_eq!(one.shell(&format!("stat -c %a {backup}")), "600\n");
    assert_eq!(one.shell(&format!("ls {backup}* | wc -l")), "1\n");
    let whole = one.shell(&format!("{} backup - | wc -c", kit::skiff().unwrap().display()));
    assert!(whole.trim().parse::<u64>().unwrap() > 10_000, "{whole}");

    let two = Cluster::empty("keep-elsewhere");
    let said = two.skiff(&["restore", &backup]);
    assert!(said.contains(&format!("of revision {at}")), "{said}");
    two.skiff(&["up"]);
    // Every object is as it was, with the revision that it had.
    for (path, were) in paths.iter().zip(&were) {
        let own = |all: &Value| -> Vec<Value> {
            let all = all.as_array().unwrap().iter();
            all.filter(|it| it["metadata"]["name"] != "kube-root-ca.crt").cloned().collect()
        };
        assert_eq!(own(&items(&two, path)), own(were), "{path}");
    }
    // Whoever remembers anything lists anew, and goes on from there.
    for seen in [at, at + 5, at + 100_000] {
        let path = format!("/api/v1/configmaps?watch=1&timeoutSeconds=5&resourceVersion={seen}");
        let answer = two.k.answer_of(&["get", "--raw", &path]);
        let said = answer.out + &answer.err;
        assert!(said.contains("too old resource version") || said.contains("410"), "{said}");
    }
    let now = list_revision(&two);
    assert!(now > at + JUMP, "{now}");
    two.k.ok("create configmap later");
    let path = format!("/api/v1/configmaps?watch=1&timeoutSeconds=1&resourceVersion={now}");
    let events = two.k.args(&["get", "--raw", &path]);
    assert!(events.contains("\"later\""), "{events}");
    // The images came along, the pod is the same one, and runs.
    two.k.wait("--for=condition=Ready pod/echo");
    let uid = |c: &Cluster| c.k.ok("get pod echo -o jsonpath={.metadata.uid}");
    assert_eq!(uid(&one), uid(&two));
    for folder in ["pki", "store"] {
        let open = format!("find {DATA}/{folder} -perm /077 | wc -l");
        assert_eq!(two.shell(&open), "0\n", "{folder}");
    }
}

#[test]
fn a_restore_is_whole_or_did_not_happen() {
    let c = Cluster::start("keep-whole");
    c.k.ok("create configmap sea --from-literal=deep=old");
    std::fs::write(file(&c, "words"), "open sesame\n").unwrap();
    std::fs::write(file(&c, "others"), "open barley\n").unwrap();
    let (plain, locked) = (file(&c, "plain"), file(&c, "locked"));
    c.skiff(&["backup", &plain]);
    c.skiff(&["backup", "--passphrase-file", &file(&c, "words"), &locked]);
    let held = std::fs::read(&locked).unwrap();
    assert!(!held.windows(9).any(|w| w == b"configmap") && held.len() > 10_000);
    c.k.args(&["patch", "configmap", "sea", "-p", r#"{"data":{"deep":"new"}}"#]);
    refused(
        &c.skiff_answers(&["restore", &plain]),
        "runs: `skiff down` first, then `skiff restore",
    );
    c.skiff(&["down"]);
    let state = || c.shell(&format!("cd {DATA}; find . -type f | sort | xargs sha256sum; ls"));
    let before = state();

    let bytes = std::fs::read(&plain).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(file(&c, name), bytes).unwrap();
        file(&c, name)
    };
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    let newer = [b"skiff-backup 2\n", &bytes[15..]].concat();
    for (name, bytes, why) in [
        ("cut", &bytes[..bytes.len() - 7], "it is cut short"),
        ("damaged", &damaged[..], "it is damaged"),
        ("newer", &newer[..], "it was written by a newer Skiff (format 2, this one knows 1)"),
        ("foreign", b"\x1f\x8b\x08", "it is no backup of Skiff's"),
    ] {
        refused(&c.skiff_answers(&["restore", &write(name, bytes)]), why);
    }
    refused(&c.skiff_answers(&["restore", &locked]), "--passphrase-file");
    let others = ["restore", "--passphrase-file", &file(&c, "others"), &locked];
    refused(&c.skiff_answers(&others), "the passphrase is not that of the backup");
    refused(&c.skiff_answers(&["restore", "/nowhere"]), "there is no file /nowhere");
    assert_eq!(state(), before, "nothing was touched");

    // Killed while it builds: the old data are there, and the next one works.
    let skiff = kit::skiff().unwrap();
    c.shell(&format!(
        "{} restore {plain} & until [ -e {DATA}/restore.new/store/store.db ]; do kill -0 $! || break; done; \
         kill -9 $! ; wait; true",
        skiff.display()
    ));
    c.skiff(&["up"]);
    let deep = || c.k.ok("get configmap sea -o jsonpath={.data.deep}");
    let decided = deep() == "old";
    let high = list_revision(&c);
    assert!(decided == (high > JUMP), "{high}");
    c.skiff(&["down"]);
    c.skiff(&["restore", "--passphrase-file", &file(&c, "words"), &locked]);
    c.skiff(&["up"]);
    assert_eq!(deep(), "old");
    assert!(list_revision(&c) > high + JUMP, "beyond what the old store gave out");
    assert_eq!(c.shell(&format!("ls {DATA} | grep restore || true")), "");
    c.k.wait(&format!("--for=condition=Ready node/{}", c.machine().name()));
}

/// The cluster runs from a program of its own, which may be replaced.
fn own_program(c: &Cluster) -> String {
    let skiff = kit::skiff().unwrap();
    c.shell(&format!("mkdir /var/lib/bin; cp {} /var/lib/bin/skiff", skiff.display()));
    c.shell("/var/lib/bin/skiff up");
    "/var/lib/bin/skiff".to_owned()
}

#[test]
fn an_upgrade_touches_no_container_and_no_connection() {
    let c = Cluster::empty("keep-upgrade");
    let skiff = own_program(&c);
    c.load_busybox();
    c.k.apply(&echo());
    c.k.wait("--for=condition=Ready pod/echo");
    let ip = c.k.ok("get pod echo -o jsonpath={.status.podIP}");
    let daemon = c.daemon();
    let process = || c.shell("pgrep -o -x -f 'nc -ll -p 7000 -e cat'");
    let before = process();
    // Other bytes, the same program.
    c.shell(&format!("cp {skiff} /var/lib/bin/next; echo >> /var/lib/bin/next"));
    let said = c.shell(&format!(
        "exec 3<>/dev/tcp/{ip}/7000; echo one >&3; read -u 3 a; {skiff} upgrade /var/lib/bin/next >&2; \
         echo two >&3; read -u 3 b; echo $a $b"
    ));
    assert_eq!(said, "one two\n");
    assert_eq!((process(), c.daemon()), (before.clone(), daemon));
    assert_eq!(
        c.shell(&format!("cmp {skiff} /var/lib/bin/next; ls /var/lib/bin")),
        "next\nskiff\n"
    );
    assert_eq!(c.shell(&format!("readlink /proc/{daemon}/exe")), format!("{skiff}\n"));
    assert_eq!(c.k.ok("get pod echo -o jsonpath={.status.containerStatuses[0].restartCount}"), "0");
    // The same program begins anew all the same.
    c.shell(&format!("for i in 1 2 3 4 5; do {skiff} upgrade || exit; done"));

    // What does not start gives its place back; what is no Skiff never had it.
    let about = r#"{"skiffVersion":"v9","kubernetesVersion":"v1.99.0","storeFormat":FORMAT}"#;
    let script = |name: &str, format: &str| {
        let about = about.replace("FORMAT", format);
        let text = format!("#!/bin/sh\n[ \"$1\" = version ] && echo '{about}' && exit\nexit 3\n");
        c.shell(&format!(
            "cat > /var/lib/bin/{name} <<'EOF'\n{text}EOF\nchmod +x /var/lib/bin/{name}"
        ));
        PathBuf::from(format!("/var/lib/bin/{name}"))
    };
    let run = |program: &str| c.shell(&format!("{skiff} upgrade {program} 2>&1 || true"));
    let bad = run(&script("bad", "1").display().to_string());
    assert!(
        bad.contains("did not start") && bad.contains("the former program is back and runs"),
        "{bad}"
    );
    assert_eq!(c.shell(&format!("cmp {skiff} /var/lib/bin/next")), "");
    let old = run(&script("old", "0").display().to_string());
    assert!(old.contains("knows format 0 of the store, and this cluster's has 1"), "{old}");
    let none = run("/bin/true");
    assert!(none.contains("/bin/true is no Skiff for this machine"), "{none}");
    assert_eq!(process(), before);
    c.k.ok("create configmap later");
}

/// As a unit of systemd runs it: nobody but the process itself begins anew, and it waits for nobody meanwhile.
#[test]
fn a_server_in_the_foreground_is_upgraded_in_place() {
    let c = Cluster::empty("keep-foreground");
    c.shell(&format!(
        "mkdir /var/lib/bin; cp {} /var/lib/bin/skiff",
        kit::skiff().unwrap().display()
    ));
    let mut command = c.inside("bash".as_ref());
    let log = file(&c, "logs/server");
    command.args(["-c", &format!("exec /var/lib/bin/skiff server > {log} 2>&1")]);
    let mut server = command.spawn().unwrap();
    c.shell(&format!("until grep -q 'the API answers' {log}; do sleep 0.05; done"));
    // No kubeconfig of a user leads there, which `status` finds worth an exit code.
    let process = || -> Value {
        let status = c.skiff_answers(&["status", "-o", "json"]);
        serde_json::from_str::<Value>(&status.out).expect("JSON")["pid"].clone()
    };
    let daemon = process();
    c.shell("cp /var/lib/bin/skiff /var/lib/bin/next; echo >> /var/lib/bin/next");
    c.shell("/var/lib/bin/skiff upgrade --timeout 60 /var/lib/bin/next");
    assert_eq!(process(), daemon);
    assert_eq!(
        c.shell("cmp /var/lib/bin/skiff /var/lib/bin/next; ls /var/lib/bin"),
        "next\nskiff\n"
    );
    c.skiff(&["down"]);
    assert!(server.wait().unwrap().success(), "it was told to stop");
}

/// How often the value's words are found in the files of the store.
fn on_disk(c: &Cluster) -> usize {
    let found = c.shell(&format!("cat {DATA}/store/* | grep -a -o {BASE64} | wc -l"));
    found.trim().parse().expect("a number")
}

fn value(c: &Cluster) -> String {
    c.k.ok("get secret s -o jsonpath={.data.a}")
}

#[test]
fn secrets_are_not_told_by_the_disk_and_not_lost_with_their_key() {
    let c = Cluster::start("keep-secrets");
    c.k.args(&["create", "secret", "generic", "s", &format!("--from-literal=a={WORD}")]);
    assert!(on_disk(&c) > 0, "the test can see it");
    assert_eq!(c.skiff(&["secrets-encrypt", "status"]), "encryption: off\n");
    refused(&c.skiff_answers(&["secrets-encrypt", "rotate"]), "up --secrets-encryption true");
    c.skiff(&["down"]);
    c.skiff(&["up", "--secrets-encryption", "true"]);
    let status = c.skiff(&["secrets-encrypt", "status"]);
    assert!(status.contains("secrets: 1 plain") && status.contains("next: "), "{status}");
    c.skiff(&["secrets-encrypt", "reencrypt"]);
    assert_eq!((on_disk(&c), value(&c).as_str()), (0, BASE64));
    let first = c.skiff(&["secrets-encrypt", "status"]);
    assert!(first.contains("secrets: 1 k8s:enc:secretbox:v1:key1-"), "{first}");
    c.skiff(&["secrets-encrypt", "rotate"]);
    let second = c.skiff(&["secrets-encrypt", "status"]);
    assert!(second.contains("secrets: 1 k8s:enc:secretbox:v1:key2-"), "{second}");
    let keys = format!("{DATA}/pki/encryption.json");
    assert_eq!(c.shell(&format!("stat -c %a {keys}; grep -c key1- {keys} || true")), "600\n0\n");
    assert_eq!((on_disk(&c), value(&c).as_str()), (0, BASE64));
    // What is sealed stays so in a backup, and what opens it goes along.
    let backup = file(&c, "backup");
    c.skiff(&["backup", &backup]);
    assert_eq!(c.shell(&format!("grep -a -c {BASE64} {backup} || true")), "0\n");

    // The key is lost: the name is taken, nothing is destroyed, and the sentence says what it takes.
    c.skiff(&["down"]);
    c.shell(&format!("mv {keys} {DATA}/../kept"));
    c.skiff(&["up"]);
    let status = c.skiff(&["status"]);
    assert!(status.contains("unreadable: secrets/default/s"), "{status}");
    let lost = c.k.fails("get secret s");
    assert!(lost.contains("no key of today's configuration opens it"), "{lost}");
    assert!(c.k.fails("create secret generic s").contains("already exists"));
    let refused = c.skiff_answers(&["secrets-encrypt", "rotate"]);
    assert!(refused.err.contains("give those keys back first"), "{}", refused.err);
    c.skiff(&["down"]);
    c.shell(&format!("mv {DATA}/../kept {keys}"));
    c.skiff(&["up"]);
    assert_eq!(value(&c), BASE64);
    // Off again: what was sealed can be read, and is plain when it is written anew.
    c.skiff(&["down"]);
    c.skiff(&["up", "--secrets-encryption", "false"]);
    c.skiff(&["secrets-encrypt", "reencrypt"]);
    assert!(on_disk(&c) > 0 && value(&c) == BASE64);

    let two = Cluster::empty("keep-secrets-2");
    two.skiff(&["restore", &backup]);
    two.skiff(&["up"]);
    assert_eq!((on_disk(&two), value(&two).as_str()), (0, BASE64));
}

#[test]
fn a_configuration_file_says_what_is_sealed_and_a_change_counts_at_once() {
    let c = Cluster::faulty("keep-config");
    let config = file(&c, "encryption.yaml");
    let key = |name: &str| {
        format!("{{name: {name}, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}}")
    };
    let text = |provider: &str, keys: &str| {
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
             - resources: [secrets, configmaps]\n  \
             providers: [{{{provider}: {{keys: [{keys}]}}}}, {{identity: {{}}}}]\n\
             - resources: ['*.example.com']\n  providers: [{{aesgcm: {{keys: [{keys}]}}}}]\n"
        )
    };
    let up = ["up", "--encryption-config", &config];
    std::fs::write(&config, text("aescbc", &key("one"))).unwrap();
    let open = c.skiff_answers(&up);
    assert!(open.code != 0 && open.err.contains("`chmod 600` it"), "{}", open.err);
    c.shell(&format!("chmod 600 {config}"));
    std::fs::write(&config, text("kms", "")).unwrap();
    let kms = c.skiff_answers(&up);
    assert!(
        kms.err.contains("resources[0].providers[0].kms: Forbidden: Skiff asks no KMS yet"),
        "{}",
        kms.err
    );
    std::fs::write(&config, text("aescbc", &key("one"))).unwrap();
    c.skiff(&up);
    c.k.args(&["create", "secret", "generic", "s", &format!("--from-literal=a={WORD}")]);
    c.k.apply(&std::fs::read_to_string(kit::root().join("docs/examples/boats.yaml")).unwrap());
    c.k.wait("--for=condition=Established crd/boats.example.com");
    c.k.apply(&std::fs::read_to_string(kit::root().join("docs/examples/skiff.yaml")).unwrap());
    assert_eq!(on_disk(&c), 0);
    let status = c.skiff(&["secrets-encrypt", "status"]);
    for row in ["secrets: 1 k8s:enc:aescbc:v1:one", "boats.example.com: 1 k8s:enc:aesgcm:v1:one"] {
        assert!(status.contains(row), "{status}");
    }
    // A new key in front counts from the next write; nonsense changes nothing.
    std::fs::write(&config, text("secretbox", &format!("{}, {}", key("two"), key("one")))).unwrap();
    let told = |words: &str| {
        c.shell(&format!("until grep -q '{words}' {DATA}/logs/skiff.log; do sleep 0.05; done"));
    };
    told("was read again");
    c.k.ok("create configmap later");
    let status = c.skiff(&["secrets-encrypt", "status"]);
    assert!(status.contains("configmaps: 1 k8s:enc:secretbox:v1:two"), "{status}");
    // The part that hears of it comes back, and reads what it missed.
    c.ask_faults(&["encryption"]);
    std::fs::write(&config, text("secretbox", &format!("{}, {}", key("three"), key("one"))))
        .unwrap();
    c.shell(&format!(
        "until [ $(grep -c 'was read again' {DATA}/logs/skiff.log) = 2 ]; do sleep 0.05; done"
    ));
    assert_eq!(c.faults(), "");
    std::fs::write(&config, "nonsense").unwrap();
    told("configuration of before goes on");
    assert_eq!(value(&c), BASE64);
}

#[test]
fn what_the_keel_wrote_opens_and_what_a_newer_build_wrote_does_not() {
    let c = Cluster::empty("keep-keel");
    let fixture = kit::root().join("tests/fixtures/keel.sql");
    let python = |line: &str| {
        let open = format!("import sqlite3, sys; db = sqlite3.connect('{DATA}/store/store.db')");
        c.shell(&format!("python3 -c \"{open}; {line}; db.commit()\""));
    };
    c.shell(&format!("mkdir -p {DATA}/store; echo '{{}}' > {DATA}/admin.kubeconfig"));
    python(&format!("db.executescript(open('{}').read())", fixture.display()));
    c.skiff(&["up"]);
    let get = |what: &str, path: &str| c.k.ok(&format!("-n old get {what} -o jsonpath={{{path}}}"));
    assert_eq!(get("configmap chart", ".data.depth"), "3");
    assert_eq!(get("configmap chart", ".metadata.labels.kept"), "yes");
    assert_eq!(get("secret key", ".data.word"), "a2VlbA==");
    assert_eq!(get("service web", ".spec.clusterIP"), "10.96.158.31");
    assert_eq!(get("deployment web", ".spec.replicas"), "0");
    assert_eq!(c.k.ok("get boat skiff -o jsonpath={.spec.sails}"), "1");
    assert!(c.k.fails("-n old get configmap gone").contains("not found"));
    // It goes on from there; the node of then is no more.
    c.k.ok("delete node keelfix");
    c.k.ok("-n old scale deployment web --replicas=1");
    c.k.wait("-n old --for=create pod -l app=web");
    c.k.ok("delete namespace old --wait");
    assert!(!c.skiff(&["status"]).contains("unreadable"));
    c.skiff(&["down"]);
    python("db.execute('PRAGMA user_version = 99')");
    let newer = c.skiff_answers(&["up"]);
    let says = "was written by a newer Skiff (format 99, this one knows 1)";
    assert!(newer.code != 0 && newer.err.contains(says), "{}", newer.err);
}
