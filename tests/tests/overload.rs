//! More than the API can do: the least important is shed, and nobody else notices. Who holds a seat, and for how long.

use skiff_tests::cluster::{BUSYBOX, Cluster};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Of the flood.
const REQUESTS: usize = 20_000;
const AT_ONCE: usize = 200;
/// What the daemon may take on top of what it had, in MiB: objects that were made, and requests that wait.
const GROWTH_MOST: u64 = 200;
/// The others' own time: kubectl takes some tenths of a second of it.
const OTHERS: Duration = Duration::from_secs(5);
/// A node renews its lease each 10 s, and is believed to be there for 40 s.
const LEASE_AGE_MOST_S: i64 = 20;

/// A level, with a schema for one user. So many shares of all seats, and what becomes of those who find none.
fn level(name: &str, shares: u32, response: &str) -> String {
    format!(
        r#"
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {{name: {name}}}
spec:
  type: Limited
  limited: {{nominalConcurrencyShares: {shares}, borrowingLimitPercent: 0, limitResponse: {response}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {{name: {name}}}
spec:
  priorityLevelConfiguration: {{name: {name}}}
  matchingPrecedence: 50
  distinguisherMethod: {{type: ByUser}}
  rules:
  - subjects: [{{kind: User, user: {{name: {name}}}}}]
    resourceRules: [{{verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: ["*"], clusterScope: true}}]
    nonResourceRules: [{{verbs: ["*"], nonResourceURLs: ["*"]}}]
"#
    )
}

/// A cluster with such a level, whose user may do everything, and the parts of the kubeconfig in $HOME.
#[track_caller]
fn cluster(test: &str, name: &str, shares: u32, response: &str) -> Cluster {
    let c = Cluster::start(test);
    c.k.ok(&format!("create clusterrolebinding {name} --clusterrole=cluster-admin --user={name}"));
    c.k.apply(&level(name, shares, response));
    c.k.wait(&format!("--for=condition=Dangling=False flowschema/{name}"));
    c.unfold(&c.machine().home());
    c
}

/// The cells of a level's row: name, active queues, idle, quiescing, waiting, executing, dispatched, rejected, timed
/// out, cancelled.
#[track_caller]
fn row(c: &Cluster, level: &str) -> Vec<String> {
    let table = c.k.ok("get --raw /debug/api_priority_and_fairness/dump_priority_levels");
    let row = table.lines().find(|line| line.starts_with(&format!("{level},")));
    let cells = row.expect("the level is there").split(',');
    cells.map(|cell| cell.trim().to_owned()).collect()
}

#[track_caller]
fn cell(c: &Cluster, level: &str, at: usize) -> u64 {
    row(c, level)[at].parse().expect("a number")
}

const WAITING: usize = 4;
const EXECUTING: usize = 5;
const DISPATCHED: usize = 6;
const REJECTED: usize = 7;
const CANCELLED: usize = 9;

/// Asks again and again until a number of a level is this.
#[track_caller]
fn until(c: &Cluster, level: &str, at: usize, wanted: u64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while cell(c, level, at) != wanted {
        assert!(Instant::now() < deadline, "{wanted} in cell {at}, and it is {:?}", row(c, level));
    }
}

/// How old the lease of the node is.
fn lease_age_s(c: &Cluster) -> i64 {
    let renewed = c.k.ok("get leases -n kube-node-lease -o jsonpath={.items[0].spec.renewTime}");
    let age = c.shell(&format!("echo $(($(date +%s) - $(date -d {renewed} +%s)))"));
    age.trim().parse().expect("a number")
}

#[test]
fn the_least_important_is_shed_and_nobody_else_notices() {
    // Some seats of six hundred, and few places to wait for them.
    let queues = "{type: Queue, queuing: {queues: 2, handSize: 1, queueLengthLimit: 10}}";
    let c = cluster("overload", "greedy", 1, queues);
    c.k.ok("create clusterrolebinding modest --clusterrole=edit --user=modest");
    let before = c.memory_mib();
    let system = cell(&c, "workload-high", DISPATCHED);
    let flood = format!(
        r#"cd $HOME; curl -s -Z --parallel-max {AT_ONCE} -m 60 --cacert ca --cert cert --key key \
          -H 'Content-Type: application/json' -H 'Impersonate-User: greedy' -d '{{"metadata":{{"generateName":"g-"}}}}' \
          -o /dev/null -w '%{{http_code}} %header{{retry-after}}\n' \
          "$(cat server)/api/v1/namespaces/default/configmaps?x=[1-{REQUESTS}]" \
          | sed 's/429 [1-9][0-9]*$/429 told when/' | sort | uniq -c"#
    );
    let began = Instant::now();
    let (told, others) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| c.shell(&flood));
        let mut others = Others::default();
        while !flood.is_finished() {
            others.ask(&c);
        }
        (flood.join().expect("the flood ends"), others)
    });
    eprintln!("{:?} {told}{others:?}, {before} MiB before", began.elapsed());
    let count = |what: &str| {
        let line = told.lines().find(|line| line.trim_end().ends_with(what));
        line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0)
    };
    let (made, refused) = (count(" 201"), count("429 told when"));
    assert!(made > 0 && refused > 0, "{told}");
    assert_eq!(made + refused, REQUESTS, "some are made, some are refused, nothing else: {told}");
    let objects = c.k.ok("get configmaps -o name");
    let objects = objects.lines().filter(|it| it.contains("/g-")).count();
    assert_eq!(objects, made, "what was refused was not done");
    assert!(others.asked > 0 && others.slowest < OTHERS, "{others:?}");
    assert!(others.oldest_lease_s <= LEASE_AGE_MOST_S, "{others:?}");
    assert!(others.memory < before + GROWTH_MOST, "{before} MiB became {} MiB", others.memory);
    // The level is as empty as it was.
    let [_, active, idle, _, waiting, executing, ran, rejected, ..] = &row(&c, "greedy")[..] else {
        panic!("a row has ten cells")
    };
    assert_eq!([active, idle, waiting, executing].map(String::as_str), ["0", "true", "0", "0"]);
    assert_eq!((ran.parse(), rejected.parse()), (Ok(made), Ok(refused)));
    // The system worked on, and none of its requests was ever refused.
    assert!(cell(&c, "workload-high", DISPATCHED) > system, "loops ask through the same stages");
    for level in ["system", "node-high", "workload-high", "leader-election", "exempt"] {
        assert_eq!(cell(&c, level, REJECTED), 0, "{level}");
    }
    assert_eq!(cell(&c, "global-default", REJECTED), 0, "who is modest was never refused");
}

/// How the others fare meanwhile.
#[derive(Debug, Default)]
struct Others {
    asked: usize,
    slowest: Duration,
    oldest_lease_s: i64,
    memory: u64,
}

impl Others {
    #[track_caller]
    fn ask(&mut self, c: &Cluster) {
        let name = format!("n{}", self.asked);
        let timed = |words: &str| {
            let began = Instant::now();
            c.k.ok(words);
            began.elapsed()
        };
        let read = timed("get configmap kube-root-ca.crt --as modest -o name");
        let wrote = timed(&format!("create configmap {name} --as modest"));
        // A loop answers to the new namespace.
        let created = timed(&format!("create namespace {name}"));
        let began = Instant::now();
        c.k.wait(&format!("--for=create configmap/kube-root-ca.crt -n {name}"));
        for time in [read, wrote, created, began.elapsed()] {
            self.slowest = self.slowest.max(time);
        }
        self.asked += 1;
        self.oldest_lease_s = self.oldest_lease_s.max(lease_age_s(c));
        self.memory = self.memory.max(c.memory_mib());
    }
}

/// A call of curl's that goes on by itself, until a signal to whom `$HOME/pids` names.
fn curl(c: &Cluster, user: &str, words: &str, path: &str) -> Child {
    let line = format!(
        "cd $HOME; echo $$ >> pids; exec curl -s {words} --cacert ca --cert cert --key key -H 'Impersonate-User: {user}' \
         \"$(cat server){path}\""
    );
    let mut command = c.inside(std::path::Path::new("bash"));
    command.args(["-c", &line]).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("the machine runs commands")
}

#[test]
fn who_goes_away_gives_up_a_place_in_the_queue() {
    // No seat at all: who asks waits for a fourth of a minute.
    let queues = "{type: Queue, queuing: {queues: 1, handSize: 1, queueLengthLimit: 6}}";
    let c = cluster("overload-gone", "waiting", 0, queues);
    for (rounds, version) in ["--http1.1", "--http2"].into_iter().enumerate() {
        let began = Instant::now();
        let mut waiting: Vec<Child> = (0..3)
            .flat_map(|_| ["/version", "/api/v1/namespaces/default/configmaps"])
            .map(|path| curl(&c, "waiting", version, path))
            .collect();
        until(&c, "waiting", WAITING, 6);
        c.shell("cd $HOME; kill $(cat pids); rm pids");
        for child in &mut waiting {
            child.wait().expect("it ends");
        }
        until(&c, "waiting", WAITING, 0);
        assert!(began.elapsed() < Duration::from_secs(14), "nobody's time ran out");
        assert_eq!(cell(&c, "waiting", CANCELLED), 6 * (rounds as u64 + 1));
    }
    assert_eq!(cell(&c, "waiting", DISPATCHED), 0);
}

#[test]
fn what_runs_long_holds_no_seat() {
    let c = cluster("overload-long", "patient", 10, "{type: Reject}");
    c.load_busybox();
    c.k.apply(&format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p"}},"spec":{{"terminationGracePeriodSeconds":0,
        "containers":[{{"name":"c","image":"{BUSYBOX}","command":["sh","-c","echo begun; exec sleep 1000"]}}]}}}}"#
    ));
    c.k.wait("--for=condition=Ready pod/p");
    // Each says something when it is under way, and goes on.
    let mut running: Vec<Child> = [
        "logs -f p --as patient",
        "exec p --as patient -- tail -f /etc/hosts",
        "get pods -w -o name --as patient",
        "port-forward p 18080:80 --as patient",
    ]
    .map(|words| c.k.start(words).expect("it starts"))
    .into();
    for child in &mut running {
        let mut said = String::new();
        let out = child.stdout.as_mut().expect("a pipe");
        BufReader::new(out).read_line(&mut said).expect("it says something");
        assert!(!said.is_empty(), "it goes on");
    }
    // The last part of what is there may be on its way to a watcher.
    until(&c, "patient", EXECUTING, 0);
    let page = c.k.ok("get --raw /metrics");
    for (verb, entry) in
        [("WATCH", ""), ("CONNECT", "exec"), ("CONNECT", "log"), ("CONNECT", "portforward")]
    {
        let is_own = |line: &&str| {
            line.starts_with("apiserver_longrunning_requests{")
                && line.contains("resource=\"pods\"")
                && line.contains(&format!("subresource=\"{entry}\",verb=\"{verb}\""))
        };
        assert!(page.lines().any(|line| is_own(&line)), "{verb} {entry} runs:\n{page}");
    }
    let seats = "apiserver_flowcontrol_current_executing_seats{flow_schema=\"patient\",priority_level=\"patient\"} 0";
    assert!(page.lines().any(|line| line == seats), "{page}");
    for child in &mut running {
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }
}
