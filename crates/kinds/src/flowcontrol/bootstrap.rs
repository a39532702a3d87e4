//! What every cluster begins with: the schemas and levels that upstream makes and keeps (KEP-1040, "Default
//! behaviors").
//!
//! Those that are mandatory stay as they are; the others follow until an administrator says that they shall not
//! (annotation `apf.kubernetes.io/autoupdate-spec`).

use super::GROUP;
use skiff_json::{Value, json};

/// Says whether a spec is kept as it is here.
pub const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// Names that are mandatory, of both kinds.
pub const MANDATORY: &[&str] = &["exempt", "catch-all"];

/// A limited level: shares of the whole, percents that others may use meanwhile, and queues with the queues that one
/// flow may be in.
struct Limited(&'static str, i64, i64, Option<(i64, i64)>);

const LIMITED: &[Limited] = &[
    Limited("catch-all", 5, 0, None),
    Limited("global-default", 20, 50, Some((128, 6))),
    Limited("leader-election", 10, 0, Some((16, 4))),
    Limited("node-high", 40, 25, Some((64, 6))),
    Limited("system", 30, 33, Some((64, 6))),
    Limited("workload-high", 40, 50, Some((128, 6))),
    Limited("workload-low", 100, 90, Some((128, 6))),
];
const QUEUE_LENGTH: i64 = 50;

/// A schema: its level, its precedence and how it tells flows apart.
struct Schema(&'static str, &'static str, i64, &'static str, &'static [Subject], Rules);

enum Subject {
    Group(&'static str),
    User(&'static str),
    SystemAccounts,
}

enum Rules {
    Everything,
    Probes,
    Leases,
    Nodes,
}

use Rules::*;
use Subject::*;

const EVERYBODY: &[Subject] = &[Group("system:unauthenticated"), Group("system:authenticated")];
const NODES: &[Subject] = &[Group("system:nodes")];
const MANAGER: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";

#[rustfmt::skip]
const SCHEMAS: &[Schema] = &[
    Schema("exempt", "exempt", 1, "", &[Group("system:masters")], Everything),
    Schema("probes", "exempt", 2, "", EVERYBODY, Probes),
    Schema("system-leader-election", "leader-election", 100, "ByUser",
        &[User(MANAGER), User(SCHEDULER), SystemAccounts], Leases),
    Schema("system-node-high", "node-high", 400, "ByUser", NODES, Nodes),
    Schema("system-nodes", "system", 500, "ByUser", NODES, Everything),
    Schema("kube-controller-manager", "workload-high", 800, "ByNamespace", &[User(MANAGER)], Everything),
    Schema("kube-scheduler", "workload-high", 800, "ByNamespace", &[User(SCHEDULER)], Everything),
    Schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", &[SystemAccounts], Everything),
    Schema("service-accounts", "workload-low", 9000, "ByUser", &[Group("system:serviceaccounts")], Everything),
    Schema("global-default", "global-default", 9900, "ByUser", EVERYBODY, Everything),
    Schema("catch-all", "catch-all", 10_000, "ByUser", EVERYBODY, Everything),
];

/// The names of all schemas, or of all levels.
pub fn names(kind: &str) -> Vec<&'static str> {
    match kind {
        "FlowSchema" => SCHEMAS.iter().map(|it| it.0).collect(),
        _ => std::iter::once("exempt").chain(LIMITED.iter().map(|it| it.0)).collect(),
    }
}

/// What the spec of that name begins as.
pub fn spec(kind: &str, name: &str) -> Option<Value> {
    match (kind, name) {
        ("FlowSchema", name) => SCHEMAS.iter().find(|it| it.0 == name).map(Schema::spec),
        (_, "exempt") => Some(
            json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}),
        ),
        (_, name) => LIMITED.iter().find(|it| it.0 == name).map(Limited::spec),
    }
}

/// The whole object of that name.
pub fn object(kind: &str, name: &str) -> Option<Value> {
    Some(json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind,
        "metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}}, "spec": spec(kind, name)?}))
}

impl Limited {
    fn spec(&self) -> Value {
        let Limited(_, shares, lendable, queues) = self;
        let response = match queues {
            None => json!({"type": "Reject"}),
            Some((queues, hand)) => json!({"type": "Queue", "queuing":
                {"queues": queues, "handSize": hand, "queueLengthLimit": QUEUE_LENGTH}}),
        };
        json!({"type": "Limited", "limited": {"nominalConcurrencyShares": shares,
            "lendablePercent": lendable, "limitResponse": response}})
    }
}

impl Schema {
    fn spec(&self) -> Value {
        let Schema(_, level, precedence, method, subjects, rules) = self;
        let mut rule = rules.json();
        rule["subjects"] = subjects.iter().map(Subject::json).collect();
        let mut spec = json!({"matchingPrecedence": precedence, "rules": [rule],
            "priorityLevelConfiguration": {"name": level}});
        if !method.is_empty() {
            spec["distinguisherMethod"] = json!({"type": method});
        }
        spec
    }
}

impl Subject {
    fn json(&self) -> Value {
        match self {
            Group(name) => json!({"kind": "Group", "group": {"name": name}}),
            User(name) => json!({"kind": "User", "user": {"name": name}}),
            SystemAccounts => json!({"kind": "ServiceAccount",
                "serviceAccount": {"name": "*", "namespace": "kube-system"}}),
        }
    }
}

impl Rules {
    fn json(&self) -> Value {
        let leases = |verbs: &[&str]| {
            json!({"verbs": verbs, "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
                "namespaces": ["*"]})
        };
        match self {
            Everything => json!({
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                    "namespaces": ["*"], "clusterScope": true}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            }),
            Probes => json!({"nonResourceRules":
                [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]}),
            Leases => json!({"resourceRules": [leases(&["get", "create", "update"])]}),
            Nodes => json!({"resourceRules": [
                {"verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"],
                    "namespaces": ["*"], "clusterScope": true},
                leases(&["*"]),
            ]}),
        }
    }
}
