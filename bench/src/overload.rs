//! Twice as much as the API can do, for a minute: who is shed, and how those fare that the cluster cannot be without.
//!
//! What it can do is measured first, with closed loops, by the same clients on the same processors. Then requests begin
//! by the clock, whether others were answered or not; so many at once as no client would have, and not more: the load
//! must not end in the client's own memory.

use crate::cluster::{TICKS_PER_S, client, processes};
use crate::http2::{Connections, How};
use crate::{Row, ask, number, percentile};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::Method;
use skiff_json::{Value, json};
use skiff_tests::cluster::Cluster;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const USERS: usize = 8;
/// Of each user.
const CONNECTIONS: usize = 4;
const AT_ONCE: usize = 64;
/// What lists read.
const OBJECTS: usize = 500;
const TRIAL: Duration = Duration::from_secs(5);
const LOAD: Duration = Duration::from_secs(60);
/// Requests of all users that are under way at the most.
const UNDER_WAY: usize = 4000;
/// How often those ask whom the cluster cannot be without.
const BEAT: Duration = Duration::from_millis(100);
const SETTLE: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_secs(10);
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const MAPS: &str = "/api/v1/namespaces/bench/configmaps";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const ACCOUNTS: &[&str] =
    &["system:serviceaccounts", "system:serviceaccounts:bench", "system:authenticated"];
const NODES: &[&str] = &["system:nodes", "system:authenticated"];
const CONTROLLER: &str = "system:serviceaccount:kube-system:replicaset-controller";
const CONTROLLERS: &[&str] =
    &["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"];

pub fn figures() -> Result<Vec<Row>> {
    let cluster = Cluster::start("bench-overload");
    let k = &cluster.k;
    k.ok("create namespace bench");
    k.ok("create clusterrolebinding bench --clusterrole=edit --group=system:serviceaccounts:bench");
    let pss = || -> Result<f64> { Ok(number(&processes(&cluster)?, "pss_kb")? / 1024.0) };
    std::thread::sleep(QUIET);
    let before = pss()?;
    let (measured, most) = std::thread::scope(|scope| -> Result<(Value, f64)> {
        let inside = client(&cluster)?;
        let load = scope.spawn(move || ask(inside, &["overload"]));
        let mut most = before;
        while !load.is_finished() {
            std::thread::sleep(Duration::from_secs(1));
            most = most.max(pss()?);
        }
        let measured = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
        Ok((measured, most))
    })?;
    eprintln!("{measured}");
    std::thread::sleep(SETTLE);
    let begin = processes(&cluster)?;
    std::thread::sleep(QUIET);
    let end = processes(&cluster)?;
    cluster.skiff(&["delete"]);
    let ticks = number(&end, "ticks")? - number(&begin, "ticks")?;
    let busy = ticks / TICKS_PER_S / QUIET.as_secs_f64() * 100.0;
    let (after, figure) = (number(&end, "pss_kb")? / 1024.0, |name: &str| number(&measured, name));
    let times = |who: &str| -> Result<String> {
        let [p50, p99, worst] =
            ["p50_ms", "p99_ms", "worst_ms"].map(|it| measured[who][it].as_f64());
        let shown = |it: Option<f64>| it.map(|it| format!("{it:.0}"));
        let all = [shown(p50), shown(p99), shown(worst)].into_iter().collect::<Option<Vec<_>>>();
        Ok(format!("{} ms", all.context("times are missing")?.join(" / ")))
    };
    Ok(vec![
        Row::alone(
            "what the API can do, and what it is asked for",
            format!("{:.0} /s, {:.0} /s", figure("can_per_s")?, figure("asked_per_s")?),
            "2x",
        ),
        Row::alone(
            "    answered, and refused with 429",
            format!("{:.0} /s, {:.0} /s", figure("done_per_s")?, figure("shed_per_s")?),
            "reported",
        ),
        Row::alone("    a node's lease: p50 / p99 / worst", times("node")?, "p99 < 1 s"),
        Row::alone("    a controller's requests", times("controller")?, "p99 < 1 s"),
        Row::alone("    of these failed", format!("{}", figure("failed")?), "0"),
        Row::alone(
            "    age of the real node's lease, at most",
            format!("{:.1} s", figure("lease_age_s")?),
            "< 40 s",
        ),
        Row::alone(
            "    PSS before, at most, 30 s after",
            format!("{before:.0}, {most:.0}, {after:.0} MiB"),
            "bounded",
        ),
        Row::alone("    processor time 20 to 30 s after", format!("{busy:.2} %"), "idle"),
    ])
}

/// One request of the load, by its number.
fn request(number: usize) -> (Method, String, &'static str, Bytes) {
    let name = format!("load-{:03}", number % OBJECTS);
    match number % 20 {
        0 => (Method::GET, MAPS.to_owned(), "", Bytes::new()),
        even if even % 2 == 0 => {
            let body = json!({"data": {"patched": number.to_string()}}).to_string();
            (Method::PATCH, format!("{MAPS}/{name}"), MERGE, body.into())
        }
        _ => (Method::GET, format!("{MAPS}/{name}"), "", Bytes::new()),
    }
}

async fn one(connections: &Connections, number: usize) -> Result<u16> {
    let (method, path, sort, body) = request(number);
    connections.ask(number, (method, &path, sort), body).await
}

pub async fn run() -> Result<Value> {
    let admin = Connections::open(2).await?;
    for number in 0..OBJECTS {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("load-{number:03}")}, "data": {"text": "x".repeat(1024)}});
        let how: How = (Method::POST, MAPS, JSON);
        ensure!(admin.ask(0, how, body.to_string().into()).await? == 201, "objects are made");
    }
    let mut users = Vec::new();
    for number in 0..USERS {
        let user = format!("system:serviceaccount:bench:greedy-{number}");
        users.push(Connections::open(CONNECTIONS).await?.acting(&user, ACCOUNTS));
    }
    let can = trial(&users).await?;
    let asked = 2.0 * can;
    let over = Cell::new(false);
    let began = Instant::now();
    let load = async {
        let codes = flood(&users, asked).await;
        over.set(true);
        codes
    };
    let node = Connections::open(1).await?.acting("system:node:bench", NODES);
    let controller = Connections::open(1).await?.acting(CONTROLLER, CONTROLLERS);
    lease(&node).await?;
    let (codes, node, controller, age) = tokio::join!(
        load,
        beats(&node, &over, renewal),
        beats(&controller, &over, controlling),
        oldest(&admin, &over)
    );
    let took = began.elapsed().as_secs_f64();
    let (node, controller) = (node?, controller?);
    let count = |of: &dyn Fn(u16) -> bool| -> usize {
        codes.iter().filter(|(code, _)| of(**code)).map(|(_, count)| count).sum()
    };
    Ok(json!({"can_per_s": can, "asked_per_s": asked, "codes": codes,
        "done_per_s": count(&|code| code < 300) as f64 / took,
        "shed_per_s": count(&|code| code == 429) as f64 / took,
        "node": node, "controller": controller, "lease_age_s": age?,
        "failed": node["failed"].as_u64().unwrap_or(0) + controller["failed"].as_u64().unwrap_or(0)}))
}

/// How many requests a second are answered, when each worker waits for its answers.
async fn trial(users: &[Connections]) -> Result<f64> {
    let (next, began) = (Cell::new(0), Instant::now());
    let worker = |worker: usize| {
        let next = &next;
        async move {
            let mut done = 0;
            while began.elapsed() < TRIAL {
                let number = next.replace(next.get() + 1);
                let code = one(&users[worker % users.len()], number).await?;
                done += usize::from(code < 300);
            }
            anyhow::Ok(done)
        }
    };
    let done: usize = try_join_all((0..AT_ONCE).map(worker)).await?.iter().sum();
    Ok(done as f64 / began.elapsed().as_secs_f64())
}

/// Begins so many requests a second; how many ended with which code. 0 is one that had no answer, 1 one that was not
/// even sent, because too many were under way.
async fn flood(users: &[Connections], per_s: f64) -> BTreeMap<u16, usize> {
    let (mut codes, mut under_way) = (BTreeMap::<u16, usize>::new(), FuturesUnordered::new());
    let (began, mut number) = (Instant::now(), 0);
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while began.elapsed() < LOAD {
        tokio::select! {
            Some(code) = under_way.next(), if !under_way.is_empty() => {
                *codes.entry(code).or_default() += 1;
            }
            _ = tick.tick() => {
                let due = (began.elapsed().as_secs_f64() * per_s) as usize;
                for number in std::mem::replace(&mut number, due)..due {
                    if under_way.len() >= UNDER_WAY {
                        *codes.entry(1).or_default() += 1;
                        continue;
                    }
                    let user = &users[number % users.len()];
                    under_way.push(async move { one(user, number).await.unwrap_or(0) });
                }
            }
        }
    }
    while let Some(code) = under_way.next().await {
        *codes.entry(code).or_default() += 1;
    }
    codes
}

/// Asks at each beat until the load is over; the times.
async fn beats(
    connections: &Connections,
    over: &Cell<bool>,
    request: impl Fn(usize) -> (Method, String, &'static str, Bytes),
) -> Result<Value> {
    let (times, failed) = (RefCell::new(Vec::new()), Cell::new(0));
    let (mut beat, mut under_way) = (tokio::time::interval(BEAT), FuturesUnordered::new());
    let mut number = 0;
    while !over.get() {
        tokio::select! {
            Some(()) = under_way.next(), if !under_way.is_empty() => {}
            _ = beat.tick() => {
                number += 1;
                let (method, path, sort, body) = request(number);
                let (times, failed) = (&times, &failed);
                under_way.push(async move {
                    let began = Instant::now();
                    let code = connections.ask(0, (method, &path, sort), body).await;
                    times.borrow_mut().push(began.elapsed().as_secs_f64() * 1e3);
                    if !code.as_ref().is_ok_and(|code| *code < 300) {
                        eprintln!("{path}: {code:?}");
                        failed.set(failed.get() + 1);
                    }
                });
            }
        }
    }
    while under_way.next().await.is_some() {}
    drop(under_way);
    let mut times = times.into_inner();
    times.sort_by(f64::total_cmp);
    Ok(json!({"count": times.len(), "failed": failed.get(), "p50_ms": percentile(&times, 0.5),
        "p99_ms": percentile(&times, 0.99), "worst_ms": times.last()}))
}

async fn lease(node: &Connections) -> Result<()> {
    let body = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "bench"}, "spec": {"holderIdentity": "bench"}});
    let code = node.ask(0, (Method::POST, LEASES, JSON), body.to_string().into()).await?;
    ensure!(code == 201, "a node makes its lease: {code}");
    Ok(())
}

fn renewal(number: usize) -> (Method, String, &'static str, Bytes) {
    let body = json!({"spec": {"leaseTransitions": number}}).to_string();
    (Method::PATCH, format!("{LEASES}/bench"), MERGE, body.into())
}

/// What its role allows: pods are listed, an event is made.
fn controlling(number: usize) -> (Method, String, &'static str, Bytes) {
    if number.is_multiple_of(2) {
        return (Method::GET, "/api/v1/namespaces/bench/pods".to_owned(), "", Bytes::new());
    }
    let body = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"generateName": "beat-"},
        "involvedObject": {"namespace": "bench"}, "reason": "Beat", "type": "Normal"});
    let path = "/api/v1/namespaces/bench/events".to_owned();
    (Method::POST, path, JSON, body.to_string().into())
}

/// How old the lease of the node that is there ever was.
async fn oldest(admin: &Connections, over: &Cell<bool>) -> Result<f64> {
    let (mut seen, mut since, mut most) = (String::new(), Instant::now(), 0.0_f64);
    while !over.get() {
        let listed = admin.read(LEASES).await?;
        let items = listed["items"].as_array().context("a list")?;
        let real = items.iter().find(|it| it["metadata"]["name"] != "bench").context("a node")?;
        let renewed = real["spec"]["renewTime"].as_str().context("a time")?;
        if renewed != seen {
            (seen, since) = (renewed.to_owned(), Instant::now());
        }
        most = most.max(since.elapsed().as_secs_f64());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(most)
}
