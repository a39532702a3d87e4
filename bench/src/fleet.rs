//! A thousand nodes that nobody runs and five thousand pods, against a whole Skiff, by clients on the same processors:
//! how many pods a second get a node, from the first create, or release, to the last bind.

use crate::cluster::client;
use crate::http2::{Connections, Lines, drain};
use crate::{Row, ask, number, schedule};
use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use http::Method;
use skiff_json::{Value, json};
use skiff_tests::cluster::Cluster;
use std::cell::Cell;
use std::time::{Duration, Instant};

const NODES: usize = 1000;
const PODS: usize = 5000;
const CONNECTIONS: usize = 8;
const AT_ONCE: usize = 64;
/// A run that takes longer is broken off, with an error.
const MOST: Duration = Duration::from_secs(120);
const JSON: &str = "application/json";
const FOLDER: &str = "/api/v1/namespaces/bench/pods";

/// All of it: the scheduler alone, then a whole cluster.
pub fn figures() -> Result<Vec<Row>> {
    let program = std::env::current_exe().context("find this program")?;
    let mut rows = Vec::new();
    for name in schedule::names() {
        let measured = ask(std::process::Command::new(&program), &["schedule", name])?;
        rows.push(schedule::row(name, number(&measured, "per_s")?));
    }
    for (manner, figure, goal) in [
        ("free", "1,000 nodes, 5,000 pods made by clients: bound", "> 1,500 /s"),
        ("gated", "1,000 nodes, 5,000 gated pods released by clients: bound", "reported"),
    ] {
        let cluster = Cluster::start("bench-fleet");
        // Its only real node takes none of them.
        cluster.k.ok("cordon --selector=node-role.kubernetes.io/control-plane");
        cluster.k.ok("create namespace bench");
        cluster.k.ok("-n bench wait --for=create serviceaccount/default --timeout=30s");
        let measured = ask(client(&cluster)?, &["fleet", manner])?;
        eprintln!("{manner}: {measured}");
        rows.push(Row::alone(figure, format!("{:.0} /s", number(&measured, "per_s")?), goal));
        cluster.skiff(&["delete"]);
    }
    Ok(rows)
}

pub async fn run(manner: &str) -> Result<Value> {
    let connections = Connections::open(CONNECTIONS).await?;
    let node = |number| ("/api/v1/nodes".to_owned(), schedule::node(number));
    each(&connections, (Method::POST, JSON), NODES, node).await?;
    let gated = manner == "gated";
    let pod = |number| {
        let mut pod = schedule::pod("fleet", number);
        if gated {
            pod["spec"]["schedulingGates"] = json!([{"name": "bench/later"}]);
        }
        (FOLDER.to_owned(), pod)
    };
    if gated {
        each(&connections, (Method::POST, JSON), PODS, pod).await?;
    }
    let path = format!("{FOLDER}?watch=true&fieldSelector=spec.nodeName%21%3D");
    let watch = connections.send(0, (Method::GET, &path, ""), "".into()).await?;
    let began = Instant::now();
    let load = async {
        match gated {
            false => each(&connections, (Method::POST, JSON), PODS, pod).await?,
            true => {
                let how = (Method::PATCH, "application/merge-patch+json");
                let open = |number| {
                    let path = format!("{FOLDER}/fleet-{number:05}");
                    (path, json!({"spec": {"schedulingGates": null}}))
                };
                each(&connections, how, PODS, open).await?;
            }
        }
        anyhow::Ok(began.elapsed().as_secs_f64())
    };
    let all = async { tokio::join!(bound(watch), load) };
    let (bound, loaded) =
        tokio::time::timeout(MOST, all).await.context("pods stay without a node")?;
    bound?;
    let took = began.elapsed().as_secs_f64();
    Ok(json!({"per_s": PODS as f64 / took, "load_s": loaded?, "took_s": took}))
}

/// Until every pod has a node.
async fn bound(watch: hyper::body::Incoming) -> Result<()> {
    let mut left = PODS;
    let added = |line: &[u8]| line.windows(14).take(2).any(|start| start == b"\"type\":\"ADDED\"");
    Lines::new(watch)
        .each(|line| {
            left -= usize::from(added(line));
            left > 0
        })
        .await?;
    ensure!(left == 0, "the watch ended, {left} pods had no node");
    Ok(())
}

/// Sends one request for each number, many at once.
pub async fn each(
    connections: &Connections,
    (method, type_): (Method, &str),
    count: usize,
    request: impl Fn(usize) -> (String, Value),
) -> Result<()> {
    let next = Cell::new(0);
    let work = async |worker: usize| {
        while next.get() < count {
            let number = next.replace(next.get() + 1);
            let (path, body) = request(number);
            let how = (method.clone(), &*path, type_);
            drain(connections.send(worker, how, body.to_string().into()).await?).await?;
        }
        anyhow::Ok(())
    };
    try_join_all((0..AT_ONCE).map(work)).await.map(|_| ())
}
