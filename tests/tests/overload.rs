//! More than the API can do: the least important is shed, and nobody else notices.

use skiff_tests::cluster::Cluster;
use std::time::{Duration, Instant};

/// Three seats of some hundred, and few places to wait for them, for whoever is called greedy.
const LEAST: &str = r#"
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: least}
spec:
  type: Limited
  limited:
    nominalConcurrencyShares: 1
    borrowingLimitPercent: 0
    limitResponse: {type: Queue, queuing: {queues: 2, handSize: 1, queueLengthLimit: 10}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: least}
spec:
  priorityLevelConfiguration: {name: least}
  matchingPrecedence: 50
  distinguisherMethod: {type: ByUser}
  rules:
  - subjects: [{kind: User, user: {name: greedy}}]
    resourceRules: [{verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: ["*"], clusterScope: true}]
"#;

/// The renewal of the node's lease that is there now.
fn renewed(c: &Cluster) -> String {
    c.k.ok("get leases -n kube-node-lease -o jsonpath={.items[0].spec.renewTime}")
}

fn row(c: &Cluster, level: &str) -> Vec<String> {
    let table = c.k.ok("get --raw /debug/api_priority_and_fairness/dump_priority_levels");
    let row = table.lines().find(|line| line.starts_with(&format!("{level},")));
    let cells = row.expect("the level is there").split(',');
    cells.map(|cell| cell.trim().to_owned()).collect()
}

#[test]
fn the_least_important_is_shed_and_nobody_else_notices() {
    let c = Cluster::start("overload");
    c.k.ok("create clusterrolebinding greedy --clusterrole=edit --user=greedy");
    c.k.ok("create clusterrolebinding modest --clusterrole=edit --user=modest");
    c.k.apply(LEAST);
    c.k.wait("--for=condition=Dangling=False flowschema/least");
    let of = |path: &str| c.k.ok(&format!("config view --raw -o jsonpath={{{path}}}"));
    let server = of(".clusters[0].cluster.server");
    let ca = of(".clusters[0].cluster.certificate-authority-data");
    let (crt, key) =
        (of(".users[0].user.client-certificate-data"), of(".users[0].user.client-key-data"));
    // Two hundred at once, of whom thirteen find a seat or a place.
    let flood = format!(
        r#"cd $(mktemp -d); echo {ca} | base64 -d > ca; echo {crt} | base64 -d > crt; echo {key} | base64 -d > key
        curl -s -Z --parallel-max 200 --cacert ca --cert crt --key key -H 'Content-Type: application/json' \
          -H 'Impersonate-User: greedy' -d '{{"metadata":{{"generateName":"g-"}}}}' -o /dev/null \
          -w '%{{http_code}} %header{{retry-after}}\n' "{server}/api/v1/namespaces/default/configmaps?x=[1-20000]" \
          | sed 's/429 [1-9][0-9]*$/429 told when/' | sort | uniq -c"#
    );
    let (told, slowest, leases) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| c.shell(&flood));
        let (mut slowest, mut leases) = (Duration::ZERO, std::collections::BTreeSet::new());
        while !flood.is_finished() {
            let began = Instant::now();
            c.k.ok("get configmap kube-root-ca.crt --as modest -o name");
            slowest = slowest.max(began.elapsed());
            leases.insert(renewed(&c));
        }
        (flood.join().expect("the flood ends"), slowest, leases)
    });
    let count = |what: &str| {
        let line = told.lines().find(|line| line.trim_end().ends_with(what));
        line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0)
    };
    assert!(count("201") > 0 && count("429 told when") > 0, "{told}");
    assert_eq!(told.lines().count(), 2, "some are made, some are refused, nothing else: {told}");
    assert!(slowest < Duration::from_secs(5), "kubectl itself takes some tenths: {slowest:?}");
    eprintln!("{told}slowest of the others {slowest:?}, {} leases", leases.len());
    let made = c.k.ok("get configmaps -o name").lines().filter(|it| it.contains("/g-")).count();
    assert_eq!(made, count("201"), "what was refused was not done");
    // The level is as empty as it was.
    let [_, active, idle, _, waiting, executing, ran, rejected, ..] = &row(&c, "least")[..] else {
        panic!("a row has ten cells")
    };
    assert_eq!([active, idle, waiting, executing].map(String::as_str), ["0", "true", "0", "0"]);
    assert_eq!((ran.parse(), rejected.parse()), (Ok(made), Ok(count("429 told when"))));
    // Nobody of the system was ever refused.
    for level in ["system", "node-high", "workload-high", "leader-election", "exempt"] {
        assert_eq!(row(&c, level)[7], "0", "{level}");
    }
}
