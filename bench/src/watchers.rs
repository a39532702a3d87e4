//! 1,000 watchers of one namespace at 60 writes a second: how long until each has seen each event.
//!
//! A server may end a watch that does not keep up; what it would have seen counts as lost, not as late.

use crate::http2::{Connections, Lines, drain};
use crate::percentile;
use anyhow::{Context, Result};
use futures_util::future::{join_all, try_join_all};
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::time::{Duration, Instant};

const WATCHERS: usize = 1000;
/// Enough that no server's limit of streams on a connection is met.
const CONNECTIONS: usize = 16;
const WRITES: u32 = 600;
const PER_S: u32 = 60;
/// What all of it may take.
const MOST: Duration = Duration::from_secs(60);
const FOLDER: &str = "/api/v1/namespaces/bench/configmaps";

pub async fn run() -> Result<Value> {
    let connections = Connections::open(CONNECTIONS).await?;
    crate::load::prepare(&connections).await?;
    let path = format!("{FOLDER}?limit=1");
    let list = connections.send(0, (Method::GET, &path, ""), "".into()).await?;
    let list = list.collect().await?.to_bytes();
    let list: Value = serde_json::from_slice(&list)?;
    let revision = list["metadata"]["resourceVersion"].as_str().context("a list's revision")?;
    let path = format!("{FOLDER}?watch=true&resourceVersion={revision}&timeoutSeconds=300");
    let open = |watcher| connections.send(watcher, (Method::GET, &path, ""), "".into());
    let bodies = try_join_all((0..WATCHERS).map(open)).await.context("open the watches")?;
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
    let all = async { tokio::join!(join_all(watches), write(&connections, began)) };
    let (watched, written) = tokio::time::timeout(MOST, all).await.context("events are missing")?;
    written?;
    watched.into_iter().collect::<Result<Vec<()>>>()?;
    let mut times = times.into_inner();
    let lost = WATCHERS * WRITES as usize - times.len();
    times.sort_by(f64::total_cmp);
    Ok(json!({"p50_ms": percentile(&times, 0.5), "p99_ms": percentile(&times, 0.99), "lost": lost}))
}

/// Makes an object at each beat, named after the time of its making; none waits for the one before.
async fn write(connections: &Connections, began: Instant) -> Result<()> {
    let mut beat = tokio::time::interval(Duration::from_secs(1) / PER_S);
    let mut writes = Vec::new();
    for number in 0..WRITES {
        beat.tick().await;
        let sent = began.elapsed().as_secs_f64() * 1e3;
        let name = format!("event-{number:04}");
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
                          "data": {"sent": format!("{sent:.3}")}});
        let how = (Method::POST, FOLDER, "application/json");
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
