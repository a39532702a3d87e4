//! The whole of it in a server: who is answered what, and what it leaves behind.

use crate::testkit::{Bench, bench, map};
use crate::{Entry, fairness};
use expect_test::expect;
use futures_util::FutureExt;
use futures_util::stream::StreamExt;
use http::{HeaderMap, Method};
use skiff_api::wire::{Answer, Body, Call, Payload, Peer, Sending, Serve, User};
use skiff_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

/// A call as a user of RBAC's, who may read everything.
fn call(user: &str, method: Method, path: &str, body: Payload) -> Call {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    Call {
        method,
        path: path.into(),
        query: query.into(),
        headers: HeaderMap::new(),
        payload: Sending::Here(body),
        peer: Peer::Local(Arc::new(User::system(user, &["system:readers"]))),
        upgrade: None,
    }
}

async fn get(bench: &Bench, user: &str, path: &str) -> Answer {
    Entry(bench.server.clone()).serve(call(user, Method::GET, path, Payload::None)).await
}

/// A server with a level of one seat, for the user `narrow`; queues are what the response says.
async fn narrow(response: Value) -> Bench {
    let bench = bench().await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": "readers"}, "rules": [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]}]});
    bench.create(&format!("{rbac}/clusterroles"), role).await;
    let binding = json!({"metadata": {"name": "readers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "readers"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:readers"}]});
    bench.create(&format!("{rbac}/clusterrolebindings"), binding).await;
    let level = json!({"metadata": {"name": "narrow"}, "spec": {"type": "Limited",
        "limited": {"nominalConcurrencyShares": 0, "borrowingLimitPercent": 0, "limitResponse": response}}});
    bench.create(&format!("{GROUP}/prioritylevelconfigurations"), level).await;
    let schema = json!({"metadata": {"name": "narrow"}, "spec": {"matchingPrecedence": 50,
        "priorityLevelConfiguration": {"name": "narrow"}, "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "narrow"}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"],
                "clusterScope": true}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}});
    bench.create(&format!("{GROUP}/flowschemas"), schema).await;
    // The follower takes it in.
    bench.server.world.sleep(Duration::from_millis(1)).await;
    bench
}

fn queue() -> Value {
    json!({"type": "Queue", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 1}})
}

fn marks(answer: &Answer) -> [&str; 2] {
    ["x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"]
        .map(|name| answer.headers.get(name).map_or("none", |it| it.to_str().expect("a text")))
}

async fn uid(bench: &Bench, plural: &str) -> String {
    let it = bench.ask(Method::GET, &format!("{GROUP}/{plural}/narrow"), Value::Null).await;
    it.2["metadata"]["uid"].as_str().expect("it has one").to_owned()
}

#[tokio::test(start_paused = true)]
async fn answers_tell_what_they_were_matched_to() {
    let bench = narrow(queue()).await;
    let uids = [uid(&bench, "flowschemas").await, uid(&bench, "prioritylevelconfigurations").await];
    widen(&bench, 1).await;
    let own = get(&bench, "narrow", "/version").await;
    assert_eq!(marks(&own), [&*uids[0], &*uids[1]]);
    // Those that are not stored have no UID, and their requests are marked all the same.
    assert_eq!(marks(&get(&bench, "other", "/api/v1/nodes").await), ["", ""]);
    // Refusals too, but for what runs long and is no watch.
    assert_eq!(marks(&get(&bench, "narrow", "/api/v1/madeup").await), [&*uids[0], &*uids[1]]);
    let log = get(&bench, "narrow", "/api/v1/namespaces/n/pods/p/log").await;
    assert_eq!(marks(&log), ["none", "none"]);
}

/// Gives the level so many seats of all.
async fn widen(bench: &Bench, shares: u32) {
    let path = format!("{GROUP}/prioritylevelconfigurations/narrow");
    let mut level = bench.ask(Method::GET, &path, Value::Null).await.2;
    level["spec"]["limited"]["nominalConcurrencyShares"] = shares.into();
    bench.ask(Method::PUT, &path, level).await;
    bench.server.world.sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_rule_of_what_lies_in_no_namespace_matches() {
    let bench = narrow(json!({"type": "Reject"})).await;
    let path = format!("{GROUP}/flowschemas/narrow");
    let mut schema = bench.ask(Method::GET, &path, Value::Null).await.2;
    schema["spec"]["rules"] = json!([{"subjects": [{"kind": "User", "user": {"name": "narrow"}}],
        "resourceRules": [{"verbs": ["*"], "apiGroups": [""], "resources": ["pods/status", "nodes"],
            "clusterScope": true}]}]);
    let changed = bench.ask(Method::PUT, &path, schema).await;
    bench.server.world.sleep(Duration::from_millis(1)).await;
    assert_eq!(changed.0, 200);
    let own = uid(&bench, "flowschemas").await;
    let mark = async |path: &str| marks(&get(&bench, "narrow", path).await)[0] == own;
    assert!(mark("/api/v1/nodes").await && mark("/api/v1/nodes/n").await, "{}", changed.2);
    assert!(!mark("/api/v1/nodes/n/status").await && !mark("/api/v1/pods").await);
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_seat_waits_and_is_told_to_come_again() {
    let bench = narrow(queue()).await;
    let begin = bench.server.world.uptime();
    let waits = get(&bench, "narrow", "/version");
    let second = async {
        bench.server.world.sleep(Duration::from_secs(1)).await;
        let answer = get(&bench, "narrow", "/version").await;
        assert_eq!(bench.server.world.uptime() - begin, Duration::from_secs(1), "at once");
        let text =
            get(&bench, "boss", "/debug/api_priority_and_fairness/dump_priority_levels").await;
        (answer, text)
    };
    let (waited, (answer, levels)) = futures_util::future::join(waits, second).await;
    assert_eq!(bench.server.world.uptime() - begin, Duration::from_secs(15));
    let mut out = String::new();
    for answer in [waited, answer] {
        let header = |name| answer.headers.get(name).map_or("", |it| it.to_str().expect("a text"));
        let Body::Bytes(body) = &answer.body else { panic!("bytes") };
        out += &format!(
            "{} {:?} {} {:?}\n",
            answer.status,
            header("retry-after"),
            header("content-type"),
            String::from_utf8_lossy(body)
        );
    }
    expect![[r#"
        429 Too Many Requests "1" text/plain; charset=utf-8 "Too many requests, please try again later.\n"
        429 Too Many Requests "1" text/plain; charset=utf-8 "Too many requests, please try again later.\n"
    "#]].assert_eq(&out);
    let Body::Bytes(text) = &levels.body else { panic!("bytes") };
    expect![[r#"
        PriorityLevelName, ActiveQueues, IsIdle, IsQuiescing, WaitingRequests, ExecutingRequests, DispatchedRequests, RejectedRequests, TimedoutRequests, CancelledRequests
        catch-all,         0,            false,  false,       0,               1,                 1,                  0,                0,                0
        exempt,            0,            true,   false,       0,               0,                 4,                  0,                0,                0
        narrow,            1,            false,  false,       1,               0,                 0,                  1,                0,                0
    "#]].assert_eq(&String::from_utf8_lossy(text));
}

#[tokio::test(start_paused = true)]
async fn a_seat_that_comes_wakes_who_waits_and_masters_pass() {
    let bench = narrow(queue()).await;
    let widened = async {
        bench.server.world.sleep(Duration::from_secs(1)).await;
        assert_eq!(bench.ask(Method::GET, "/version", Value::Null).await.0, 200);
        widen(&bench, 1).await;
    };
    let waits = get(&bench, "narrow", "/version");
    let begin = bench.server.world.uptime();
    let (answer, ()) = futures_util::future::join(waits, widened).await;
    assert_eq!(answer.status, 200);
    assert!(bench.server.world.uptime() - begin < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_ones_own_leaves_a_fourth_of_it_to_wait() {
    let bench = narrow(queue()).await;
    let begin = bench.server.world.uptime();
    let answer = get(&bench, "narrow", "/api/v1/nodes?timeout=8s").await;
    assert_eq!(
        (answer.status.as_u16(), bench.server.world.uptime() - begin),
        (429, Duration::from_secs(2))
    );
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_leaves_no_trace() {
    let bench = narrow(queue()).await;
    for _ in 0..3 {
        let waits = get(&bench, "narrow", "/version");
        let gone = bench.server.world.within(Duration::from_secs(1), waits).await;
        assert!(gone.is_none());
    }
    let shown = bench.server.fairness.shown("dump_requests", fairness::Details::Shown);
    assert_eq!(shown.expect("a table").lines().count(), 1);
    widen(&bench, 1).await;
    assert_eq!(get(&bench, "narrow", "/version").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn without_queues_one_is_refused_at_once() {
    let bench = narrow(json!({"type": "Reject"})).await;
    // What is wider than the level runs alone in it.
    let watch = get(&bench, "narrow", "/api/v1/nodes?watch=1").await;
    assert_eq!(watch.status, 200);
    assert_eq!(get(&bench, "narrow", "/version").await.status, 429);
    assert_eq!(get(&bench, "other", "/version").await.status, 200);
    drop(watch);
    assert_eq!(get(&bench, "narrow", "/version").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_watch_holds_its_seat_until_it_has_told_what_is_there() {
    let bench = narrow(json!({"type": "Reject"})).await;
    bench.create("/api/v1/namespaces", json!({"metadata": {"name": "n"}})).await;
    bench.create("/api/v1/namespaces/n/configmaps", map("a")).await;
    widen(&bench, 1).await;
    let watch = "/api/v1/namespaces/n/configmaps?watch=1";
    let seats = || bench.server.fairness.running()[0];
    let Body::Watch(mut frames) = get(&bench, "narrow", watch).await.body else {
        panic!("a watch")
    };
    let held = seats();
    let _first = frames.next().await;
    let _nothing = frames.next().now_or_never();
    assert_eq!((held, seats()), (1, 0), "nothing more is there, and it was told");
    // One that nobody reads gives it back by time.
    let slow = get(&bench, "narrow", watch).await;
    let held = seats();
    bench.server.world.sleep(Duration::from_secs(31)).await;
    assert_eq!((held, seats()), (1, 0));
    drop(slow);
    // One that begins with nothing needs none.
    let later = get(&bench, "narrow", &format!("{watch}&resourceVersion=1")).await;
    assert_eq!((later.status.as_u16(), seats()), (200, 0));
}

#[tokio::test(start_paused = true)]
async fn a_large_list_holds_its_seats_while_it_is_sent() {
    let bench = narrow(json!({"type": "Reject"})).await;
    for namespace in ["few", "many"] {
        bench.create("/api/v1/namespaces", json!({"metadata": {"name": namespace}})).await;
    }
    bench.create("/api/v1/namespaces/few/secrets", json!({"metadata": {"name": "a"}})).await;
    for name in ["a", "b", "c", "d", "e"] {
        let map = json!({"metadata": {"name": name}, "data": {"x": "x".repeat(100_000)}});
        bench.create("/api/v1/namespaces/many/configmaps", map).await;
    }
    widen(&bench, 1).await;
    let seats = || bench.server.fairness.running()[0];
    let ask = async |path: &str, accept: &str, peer: Option<Peer>| {
        let mut call = call("narrow", Method::GET, path, Payload::None);
        call.headers.insert("accept", accept.parse().expect("a header"));
        call.peer = peer.unwrap_or(call.peer);
        let answer = Entry(bench.server.clone()).serve(call).await;
        assert_eq!(answer.status, 200);
        answer
    };
    let afar = || {
        let user = User::system("narrow", &["system:readers"]);
        Some(Peer::Remote {
            certificate: Some(Arc::new(user)),
            address: ([127, 0, 0, 1], 1).into(),
        })
    };
    let (many, few) = ("/api/v1/namespaces/many/configmaps", "/api/v1/namespaces/few/secrets");
    let table = "application/json;as=Table;g=meta.k8s.io;v=v1";
    for accept in ["application/json", table] {
        let answer = ask(many, accept, afar()).await;
        let held = seats();
        drop(answer);
        assert_eq!((held, seats()), (1, 0), "{accept}");
        // One that nobody reads gives them back by time.
        let slow = ask(many, accept, afar()).await;
        let held = seats();
        bench.server.world.sleep(Duration::from_secs(31)).await;
        assert_eq!((held, seats()), (1, 0), "{accept}");
        drop(slow);
    }
    // What is small is as good as sent, and inside the process nothing is.
    let small = ask(few, "application/json", afar()).await;
    let own = ask(many, "application/json", None).await;
    assert_eq!(seats(), 0);
    drop((small, own));
}

#[tokio::test(start_paused = true)]
async fn a_level_that_goes_ends_with_its_last_request() {
    let bench = narrow(queue()).await;
    let shown = |name: &str| bench.server.fairness.shown(name, fairness::Details::Hidden);
    let waits = get(&bench, "narrow", "/version");
    let deleted = async {
        bench.server.world.sleep(Duration::from_secs(1)).await;
        for plural in ["flowschemas", "prioritylevelconfigurations"] {
            bench.ask(Method::DELETE, &format!("{GROUP}/{plural}/narrow"), Value::Null).await;
        }
        bench.server.world.sleep(Duration::from_millis(1)).await;
        assert!(shown("dump_priority_levels").expect("a table").contains("narrow"));
        assert_eq!(get(&bench, "narrow", "/version").await.status, 200, "it is another's now");
    };
    let (answer, ()) = futures_util::future::join(waits, deleted).await;
    assert_eq!(answer.status, 429);
    bench.server.world.sleep(Duration::from_secs(10)).await;
    assert!(!shown("dump_priority_levels").expect("a table").contains("narrow"));
}

#[tokio::test(start_paused = true)]
async fn what_is_counted_is_told() {
    let bench = narrow(queue()).await;
    assert_eq!(get(&bench, "narrow", "/version").await.status, 429);
    widen(&bench, 1).await;
    assert_eq!(get(&bench, "narrow", "/version").await.status, 200);
    let metrics = get(&bench, "boss", "/metrics").await;
    let Body::Bytes(text) = &metrics.body else { panic!("bytes") };
    let text = String::from_utf8_lossy(text);
    // Of buckets one of each histogram.
    let own = |line: &&str| {
        line.starts_with("apiserver_flowcontrol")
            && line.contains("\"narrow\"")
            && (!line.contains("_bucket")
                || line.contains("le=\"10\"")
                || line.contains("le=\"8\""))
    };
    let lines: Vec<&str> = text.lines().filter(own).collect();
    expect![[r#"
        apiserver_flowcontrol_current_limit_seats{priority_level="narrow"} 100
        apiserver_flowcontrol_current_r{priority_level="narrow"} 0
        apiserver_flowcontrol_demand_seats_average{priority_level="narrow"} 1
        apiserver_flowcontrol_demand_seats_high_watermark{priority_level="narrow"} 1
        apiserver_flowcontrol_demand_seats_smoothed{priority_level="narrow"} 1.009671811487784
        apiserver_flowcontrol_demand_seats_stdev{priority_level="narrow"} 0
        apiserver_flowcontrol_lower_limit_seats{priority_level="narrow"} 100
        apiserver_flowcontrol_nominal_limit_seats{priority_level="narrow"} 100
        apiserver_flowcontrol_target_seats{priority_level="narrow"} 100
        apiserver_flowcontrol_upper_limit_seats{priority_level="narrow"} 100
        apiserver_flowcontrol_current_executing_requests{flow_schema="narrow",priority_level="narrow"} 0
        apiserver_flowcontrol_current_executing_seats{flow_schema="narrow",priority_level="narrow"} 0
        apiserver_flowcontrol_current_inqueue_requests{flow_schema="narrow",priority_level="narrow"} 0
        apiserver_flowcontrol_current_inqueue_seats{flow_schema="narrow",priority_level="narrow"} 0
        apiserver_flowcontrol_dispatched_requests_total{flow_schema="narrow",priority_level="narrow"} 1
        apiserver_flowcontrol_rejected_requests_total{flow_schema="narrow",priority_level="narrow",reason="time-out"} 1
        apiserver_flowcontrol_request_execution_seconds_bucket{flow_schema="narrow",priority_level="narrow",type="regular",le="10"} 1
        apiserver_flowcontrol_request_execution_seconds_sum{flow_schema="narrow",priority_level="narrow",type="regular"} 0
        apiserver_flowcontrol_request_execution_seconds_count{flow_schema="narrow",priority_level="narrow",type="regular"} 1
        apiserver_flowcontrol_request_queue_length_after_enqueue_bucket{flow_schema="narrow",priority_level="narrow",le="10"} 2
        apiserver_flowcontrol_request_queue_length_after_enqueue_sum{flow_schema="narrow",priority_level="narrow"} 2
        apiserver_flowcontrol_request_queue_length_after_enqueue_count{flow_schema="narrow",priority_level="narrow"} 2
        apiserver_flowcontrol_request_wait_duration_seconds_bucket{execute="true",flow_schema="narrow",priority_level="narrow",le="10"} 1
        apiserver_flowcontrol_request_wait_duration_seconds_sum{execute="true",flow_schema="narrow",priority_level="narrow"} 15
        apiserver_flowcontrol_request_wait_duration_seconds_count{execute="true",flow_schema="narrow",priority_level="narrow"} 2
        apiserver_flowcontrol_work_estimated_seats_bucket{flow_schema="narrow",priority_level="narrow",le="8"} 2
        apiserver_flowcontrol_work_estimated_seats_sum{flow_schema="narrow",priority_level="narrow"} 2
        apiserver_flowcontrol_work_estimated_seats_count{flow_schema="narrow",priority_level="narrow"} 2"#]].assert_eq(&lines.join("\n"));
    assert!(
        text.contains(
            "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"catch-all\"} 500"
        )
    );
}
