//! 1,000 watchers of one namespace at 60 writes a second: how long until each has seen each event.
//!
//! A server may end a watch that does not keep up; what it would have seen counts as lost, not as late.

use crate::http2::{Connections, Lines, drain};
use crate::percentile;
use anyhow::{Context, Result, bail};
use futures_util::future::{join_all, try_join_all};
use http::Method;
use http_body_util::BodyExt;
use skiff_json::{Value, json};
use std::cell::RefCell;
use std::time::{Duration, Instant};

const WATCHERS: usize = 1000;
/// Enough that no server's limit of streams on a connection is met.
const CONNECTIONS: usize = 16;
const WRITES: u32 = 600;
const PER_S: u32 = 60;
/// What all of it may take.
const MOST: Duration = Duration::from_secs(60);
const JSON: &str = "application/json";

/// What is written, and how the watchers are shown it.
#[derive(Clone, Copy)]
struct Shown {
    folder: &'static str,
    accepted: &'static str,
    body: fn(&str, &str) -> Value,
}

const OBJECTS: Shown = Shown {
    folder: "/api/v1/namespaces/bench/configmaps",
    accepted: JSON,
    body: |name, sent| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
               "data": {"sent": sent}})
    },
};

/// As kubectl asks for them. Nobody schedules these pods, so that each has one event.
const TABLES: Shown = Shown {
    folder: "/api/v1/namespaces/bench/pods",
    accepted: "application/json;as=Table;v=v1;g=meta.k8s.io",
    body: |name, sent| {
        json!({"apiVersion": "v1", "kind": "Pod",
               "metadata": {"name": name, "annotations": {"sent": sent}},
               "spec": {"schedulerName": "nobody",
                        "containers": [{"name": "main", "image": "none"}]}})
    },
};

/// `shown` is `objects` or `tables`.
pub async fn run(shown: &str) -> Result<Value> {
    let shown = match shown {
        "objects" => OBJECTS,
        "tables" => TABLES,
        other => bail!("watchers are shown no {other}"),
    };
    let connections = Connections::open(CONNECTIONS).await?;
    crate::load::prepare(&connections).await?;
    account(&connections).await?;
    let path = format!("{}?limit=1", shown.folder);
    let list = connections.send(0, (Method::GET, &path, ""), "".into()).await?;
    let list = list.collect().await?.to_bytes();
    let list: Value = skiff_json::from_slice(&list)?;
    let revision = list["metadata"]["resourceVersion"].as_str().context("a list's revision")?;
    let folder = shown.folder;
    let path = format!("{folder}?watch=true&resourceVersion={revision}&timeoutSeconds=300");
    let how = (Method::GET, &*path, shown.accepted);
    let open = |watcher| connections.send(watcher, how.clone(), "".into());
    let bodies = try_join_all((0..WATCHERS).map(open)).await.context("open the watches")?;
    let made = made(&connections).await?;
    let began = Instant::now();
    let times = RefCell::new(Vec::new());
    let watches = bodies.into_iter().map(|body| {
        let (mut left, times) = (WRITES, &times);
        Lines::new(body).each(move |line| {
            if let Some(sent) = sent(line) {
                times.borrow_mut().push(began.elapsed().as_secs_f64() * 1e3 - sent);
                left -= 1;
            }
            left > 0
        })
    });
    let all = async { tokio::join!(join_all(watches), write(&connections, shown, began)) };
    let (watched, written) = tokio::time::timeout(MOST, all).await.context("events are missing")?;
    written?;
    watched.into_iter().collect::<Result<Vec<()>>>()?;
    let mut times = times.into_inner();
    let lost = WATCHERS * WRITES as usize - times.len();
    times.sort_by(f64::total_cmp);
    let mut figures = json!({"p50_ms": percentile(&times, 0.5), "p99_ms": percentile(&times, 0.99),
                             "lost": lost});
    if let (Some(before), Some(after)) = (made, self::made(&connections).await?)
        && shown.accepted != JSON
    {
        figures["made"] = ((after - before) / f64::from(WRITES)).into();
    }
    Ok(figures)
}

/// Pods need one; it may be there.
async fn account(connections: &Connections) -> Result<()> {
    let path = "/api/v1/namespaces/bench/serviceaccounts/default?fieldManager=bench&force=true";
    let body =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    let how = (Method::PATCH, path, "application/apply-patch+yaml");
    drain(connections.send(0, how, body.to_string().into()).await?).await?;
    Ok(())
}

/// How many renditions the server has made, if it counts them.
async fn made(connections: &Connections) -> Result<Option<f64>> {
    let metrics = connections.send(0, (Method::GET, "/metrics", "*/*"), "".into()).await?;
    let metrics = metrics.collect().await?.to_bytes();
    let mark = "skiff_renditions_total{for=\"watch\",from=\"made\"} ";
    let line = std::str::from_utf8(&metrics)?.lines().find_map(|line| line.strip_prefix(mark));
    Ok(line.map(str::parse).transpose()?)
}

/// Makes an object at each beat, marked with the time of its making; none waits for the one before.
async fn write(connections: &Connections, shown: Shown, began: Instant) -> Result<()> {
    let mut beat = tokio::time::interval(Duration::from_secs(1) / PER_S);
    let mut writes = Vec::new();
    for number in 0..WRITES {
        beat.tick().await;
        let sent = began.elapsed().as_secs_f64() * 1e3;
        let body = (shown.body)(&format!("event-{number:04}"), &format!("{sent:.3}"));
        let how = (Method::POST, shown.folder, JSON);
        writes.push(connections.begin(number as usize, how, body.to_string().into()).await?);
    }
    for body in try_join_all(writes).await? {
        drain(body).await?;
    }
    Ok(())
}

/// When the object of an event was sent, in ms since the beginning.
fn sent(line: &[u8]) -> Option<f64> {
    const MARK: &[u8] = b"\"sent\":\"";
    let at = line.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let text = line[at..].split(|byte| *byte == b'"').next()?;
    std::str::from_utf8(text).ok()?.parse().ok()
}
