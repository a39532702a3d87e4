//! The audit log beside upstream's: the same requests, and what each server writes of them, field by field. And what
//! becomes of requests when events cannot be kept.

use serde_json::{Map, Value};
use skiff_tests::cluster::Cluster;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// What upstream wrote of the requests; `upstream_is_asked_again` makes it.
const UPSTREAM: &str = include_str!("audit/upstream.txt");

/// What is different, and why.
const KNOWN: &[(&str, &str)] = &[
    (
        "late",
        "a timeout of a nanosecond: upstream asks its store and is refused, Skiff has the answer by then",
    ),
    ("timeout-wrong", "upstream reads the timeout before it knows who calls"),
];

/// Values that are each run's own, by the names of their fields.
const OWN: [&str; 8] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "time",
    "token",
    "expirationTimestamp",
    "lastTransitionTime",
];

/// The events of the cases of a log, each with its fields on lines of their own, without what differs from run to run.
fn events(log: &str) -> BTreeMap<String, String> {
    let mut cases = BTreeMap::<String, String>::new();
    for line in log.lines() {
        let mut event: Value = serde_json::from_str(line).expect("each line is an event");
        let id = event["auditID"].as_str().expect("an event has a name").to_owned();
        let Some(case) = id.strip_prefix("case-") else { continue };
        let fields = event.as_object_mut().expect("an event is an object");
        for time in ["requestReceivedTimestamp", "stageTimestamp"] {
            let time = fields.remove(time).expect("the times are there");
            let form: String =
                time.as_str().expect("a text").replace(|c: char| c.is_ascii_digit(), "0");
            assert_eq!(form, "0000-00-00T00:00:00.000000Z");
        }
        let stage = fields.remove("stage").expect("an event has a stage");
        let out = cases.entry(case.to_owned()).or_default();
        writeln!(out, "== {case} {}", stage.as_str().expect("a text")).expect("a String");
        fields.remove("auditID");
        plain(fields);
        for (name, value) in fields {
            anonymous(value);
            writeln!(out, "{name}: {}", without_ids(&value.to_string())).expect("a String");
        }
    }
    cases
}

/// The caller and the peer are each machine's own.
fn plain(fields: &mut Map<String, Value>) {
    let is_owner =
        fields["user"]["groups"].as_array().is_some_and(|it| it.contains(&"system:masters".into()));
    if is_owner {
        fields["user"] = "the owner".into();
    }
    let ips = fields["sourceIPs"].as_array_mut().expect("a request comes from somewhere");
    *ips.last_mut().expect("the peer") = "the peer".into();
}

fn anonymous(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(anonymous),
        Value::Object(all) => {
            // Texts for people are upstream's own.
            all.remove("description");
            for (name, value) in all.iter_mut() {
                let is_own = OWN.contains(&&**name) && value.is_string() && value != "";
                match name.contains("credential-id") || is_own {
                    _ if name == "cells" => *value = without_age(value),
                    true => *value = "*".into(),
                    false => anonymous(value),
                }
            }
        }
        _ => {}
    }
}

/// The age of an object is that of the moment.
fn without_age(cells: &Value) -> Value {
    let is_age = |cell: &Value| cell.as_str().is_some_and(|it| it.len() < 4 && it.ends_with('s'));
    let cells = cells.as_array().expect("cells are a list").iter();
    cells.map(|cell| if is_age(cell) { "*".into() } else { cell.clone() }).collect()
}

/// UUIDs and the ends of generated names are drawn.
fn without_ids(text: &str) -> String {
    let hex = "[0-9a-f]";
    let drawn = format!("{hex}{{8}}-{hex}{{4}}-{hex}{{4}}-{hex}{{4}}-{hex}{{12}}");
    let uuids = regex::Regex::new(&drawn).expect("a pattern");
    let names = regex::Regex::new("\"g-[a-z0-9]{5}\"").expect("a pattern");
    // The issuer is a setting of upstream's.
    let text = text.replace("default.svc.cluster.local", "default.svc");
    names.replace_all(&uuids.replace_all(&text, "*"), "\"g-*\"").into_owned()
}

/// How the cases of two logs differ, line by line.
fn differences(
    ours: &BTreeMap<String, String>,
    theirs: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let names: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let mut differ = BTreeMap::new();
    for name in names {
        let empty = String::new();
        let (our, their) = (ours.get(name).unwrap_or(&empty), theirs.get(name).unwrap_or(&empty));
        let lines = |of: &str, beside: &str, mark: &str| -> String {
            let beside: Vec<&str> = beside.lines().collect();
            let own = of.lines().filter(|line| !beside.contains(line));
            own.map(|line| format!("{mark} {line}\n")).collect()
        };
        if our != their {
            differ.insert(name.clone(), lines(their, our, "-") + &lines(our, their, "+"));
        }
    }
    differ
}

fn read_cases(text: &str) -> BTreeMap<String, String> {
    let mut cases = BTreeMap::<String, String>::new();
    let mut case = String::new();
    for line in text.lines() {
        if let Some((name, _)) = line.strip_prefix("== ").and_then(|rest| rest.split_once(' ')) {
            name.clone_into(&mut case);
        }
        let out = cases.entry(case.clone()).or_default();
        writeln!(out, "{line}").expect("a String");
    }
    cases
}

/// `SKIFF_AUDIT_LOG=FILE cargo test -p skiff-tests --test audit -- --ignored`, with the log of an upstream server that was
/// started with `audit/policy.yaml` and asked `audit/requests.sh` (`tests/kit/oracle`, `ORACLE_APISERVER_FLAGS`).
#[test]
#[ignore = "it needs upstream's log"]
fn upstream_is_asked_again() {
    let log = std::env::var("SKIFF_AUDIT_LOG").expect("SKIFF_AUDIT_LOG names upstream's log");
    let events = events(&std::fs::read_to_string(log).expect("the log can be read"));
    let to = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audit/upstream.txt");
    std::fs::write(to, events.into_values().collect::<String>()).expect("it can be written");
}

/// A cluster that keeps an audit log, and the folder for files of the test.
fn audited(test: &str, policy: &str, more: &[&str]) -> (Cluster, String) {
    let c = Cluster::empty(test);
    let home = c.machine().home().display().to_string();
    std::fs::write(format!("{home}/policy.yaml"), policy).expect("it can be written");
    let (policy, log) = (format!("{home}/policy.yaml"), format!("{home}/audit/audit.log"));
    // A disk of its own, and a small one.
    c.shell(&format!(
        "mkdir -p -m 700 {home}/audit && mount -t tmpfs -o size=8m,mode=700 none {home}/audit"
    ));
    let mut args = vec!["up", "--audit-policy-file", &policy, "--audit-log-path", &log];
    args.extend(more);
    c.skiff(&args);
    c.unfold(&c.machine().home());
    (c, home)
}

#[test]
fn events_are_upstreams_field_by_field() {
    // Who blocks has its event in the file before it has its answer.
    let blocking = ["--audit-log-mode", "blocking"];
    let (c, home) = audited("audit-events", include_str!("audit/policy.yaml"), &blocking);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audit/requests.sh");
    let script = script.display();
    c.shell(&format!("cd {home} && SERVER=$(cat server) bash {script}"));
    let log = c.shell(&format!("cat {home}/audit/audit.log"));
    let mut differ = differences(&events(&log), &read_cases(UPSTREAM));
    for (case, why) in KNOWN {
        assert!(differ.remove(*case).is_some(), "{case} does not differ any more: {why}");
    }
    let told: String = differ.iter().map(|(case, how)| format!("{case}\n{how}")).collect();
    assert!(differ.is_empty(), "{} cases differ:\n{told}", differ.len());
    let mode = c.shell(&format!("stat -c %a {home}/audit/audit.log {home}/audit"));
    assert_eq!(mode.split_whitespace().collect::<Vec<_>>(), ["600", "700"]);
    // The cluster's own parts are told of like everybody.
    assert!(log.contains("\"username\":\"system:kube-controller-manager\""));
}

/// A request of the owner with curl; the code.
fn ask(c: &Cluster, home: &str, method: &str, path: &str, more: &str) -> String {
    c.shell(&format!(
        "cd {home} && curl -s -o /dev/null -w '%{{http_code}}' --cacert ca --cert cert --key key -X {method} {more} \
         \"$(cat server){path}\""
    ))
}

fn metric(c: &Cluster, row: &str) -> u64 {
    let page = c.k.ok("get --raw /metrics");
    let value = page.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {row} in {page}")).parse().expect("a number")
}

const ALL: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n";

#[test]
fn a_full_disk_stops_nobody_who_does_not_insist() {
    for (mode, code) in [("batch", "201"), ("blocking", "201"), ("blocking-strict", "500")] {
        let (c, home) = audited(&format!("audit-full-{mode}"), ALL, &["--audit-log-mode", mode]);
        let maps = "/api/v1/namespaces/default/configmaps";
        let create = |name: &str| {
            let body = format!("{{\"metadata\":{{\"name\":\"{name}\"}}}}");
            let more = format!("-H 'Content-Type: application/json' -d '{body}'");
            ask(&c, &home, "POST", maps, &more)
        };
        assert_eq!(create("before"), "201", "{mode}");
        let lost = "apiserver_audit_error_total{plugin=\"log\"}";
        assert_eq!(metric(&c, lost), 0);
        // What is left of the disk goes to somebody else.
        c.shell(&format!("cat /dev/zero > {home}/audit/other 2> /dev/null || true"));
        // Some events may still fit into what the file has of its last page.
        let codes: Vec<_> = (0..40).map(|n| create(&format!("after-{n}"))).collect();
        assert_eq!(codes.last().map(String::as_str), Some(code), "{mode}: {codes:?}");
        c.shell(&format!("rm {home}/audit/other"));
        let again = (0..80).map(|n| create(&format!("again-{n}")));
        assert!(again.into_iter().all(|code| code == "201"), "{mode}");
        assert!(metric(&c, lost) >= 2);
        let rejected = metric(&c, "apiserver_audit_requests_rejected_total");
        assert_eq!(rejected > 0, mode == "blocking-strict");
        let said = c.skiff(&["logs"]);
        assert_eq!(said.matches("audit events are lost").count(), 1, "{said}");
        assert!(
            said.contains("No space left on device")
                && said.contains("audit events are kept again")
        );
        // No reader meets half an event.
        let log = c.shell(&format!("cat {home}/audit/audit.log"));
        for line in log.lines() {
            serde_json::from_str::<Value>(line).expect("a whole event");
        }
    }
}

#[test]
fn a_policy_that_is_wrong_starts_nothing_and_is_named() {
    let c = Cluster::empty("audit-policy");
    let home = c.machine().home().display().to_string();
    let file = format!("{home}/policy.yaml");
    let log = format!("{home}/audit.log");
    std::fs::write(&file, ALL.replace("level", "levle")).expect("it can be written");
    let refused = |args: &[&str]| {
        let said = c.skiff_answers(args);
        assert_ne!(said.code, 0, "{args:?}");
        said.out + &said.err
    };
    let told = refused(&["up", "--audit-log-path", &log]);
    assert!(told.contains("audit-log-path needs audit-policy-file"), "{told}");
    let told = refused(&["up", "--audit-policy-file", &file, "--audit-log-path", &log]);
    let why = format!("strict decoding error: unknown field \"rules[0].levle\": from file {file}");
    assert!(told.contains(&why), "{told}");
    let told = refused(&["up", "--audit-log-mode", "never"]);
    assert!(told.contains("it has to be one of batch, blocking, blocking-strict"), "{told}");
}

/// Takes lists, and writes each into a file, on a line.
const SERVER: &str = r#"
import http.server, os, sys
class Takes(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(sys.argv[1], "ab") as lists:
            lists.write(self.headers["Authorization"].encode() + b" " + self.path.encode() + b" " + body + b"\n")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *words):
        pass
listening = http.server.ThreadingHTTPServer(("127.0.0.1", 18080), Takes)
with open(sys.argv[1] + ".pid", "w") as pid:
    pid.write(str(os.getpid()))
open(sys.argv[1], "ab").close()
listening.serve_forever()
"#;

const KUBECONFIG: &str = "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
    clusters: [{name: s, cluster: {server: 'http://127.0.0.1:18080/audit'}}]\n\
    users: [{name: u, user: {token: secret}}]\n\
    contexts: [{name: c, context: {cluster: s, user: u}}]\n";

#[test]
fn a_server_takes_lists_and_one_that_is_away_costs_events_alone() {
    let c = Cluster::empty("audit-webhook");
    let home = c.machine().home().display().to_string();
    let write = |name: &str, text: &str| {
        std::fs::write(format!("{home}/{name}"), text).expect("it can be written")
    };
    write("policy.yaml", ALL);
    write("server.py", SERVER);
    write("webhook.yaml", KUBECONFIG);
    let mut server = c.inside(Path::new("python3"));
    server.args([format!("{home}/server.py"), format!("{home}/lists")]);
    let mut server = server.spawn().expect("the machine has python3");
    c.shell(&format!(
        "timeout 30 bash -c 'until [ -e {home}/lists ]; do read -rt 0.1 < <(:) || :; done'"
    ));
    // Who blocks has its event there before it has its answer.
    c.skiff(&[
        "up",
        "--audit-policy-file",
        &format!("{home}/policy.yaml"),
        "--audit-webhook-config-file",
        &format!("{home}/webhook.yaml"),
        "--audit-webhook-mode",
        "blocking",
        "--audit-webhook-initial-backoff",
        "1s",
    ]);
    c.k.ok("create configmap told");
    let lists = std::fs::read_to_string(format!("{home}/lists")).expect("there are some");
    let told = lists.lines().map(|line| {
        let list =
            line.strip_prefix("Bearer secret /audit ").expect("it is for the path, with the token");
        serde_json::from_str::<Value>(list).expect("JSON")
    });
    let told: Vec<Value> = told.inspect(|list| assert_eq!(list["kind"], "EventList")).collect();
    let events = told.iter().flat_map(|list| list["items"].as_array().expect("a list"));
    let about = |event: &&Value| event["objectRef"]["name"] == "told" && event["verb"] == "create";
    let stages: Vec<&Value> = events.filter(about).map(|event| &event["stage"]).collect();
    assert_eq!(stages, ["ResponseComplete"], "the name comes with the body");
    c.shell(&format!("kill $(cat {home}/lists.pid)"));
    server.wait().expect("it ends");
    c.k.ok("get --raw /version");
    let lost = c.k.ok("get --raw /metrics");
    let lost = lost
        .lines()
        .find_map(|line| line.strip_prefix("apiserver_audit_error_total{plugin=\"webhook\"} "));
    assert!(lost.expect("it is counted").parse::<u64>().expect("a number") > 0);
    assert_eq!(c.skiff(&["logs"]).matches("audit events are lost").count(), 1);
}
