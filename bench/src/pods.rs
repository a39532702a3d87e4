//! Pods from create to Running, as a client's watch sees it: 100 one after another, which stay; or 50 at once.

use crate::http2::{Connections, How, Lines, drain};
use crate::percentile;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use skiff_json::{Value, json};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const ONE_BY_ONE: usize = 100;
const AT_ONCE: usize = 50;
/// A change that takes longer is given up, with an error.
const MOST: Duration = Duration::from_secs(60);
const FOLDER: &str = "/api/v1/namespaces/default/pods";
const JSON: &str = "application/json";

/// What the watch said of a pod, and when.
struct Seen {
    name: String,
    state: &'static str,
    at: Instant,
}

/// `work` is `one-by-one` (the pods stay), `at-once` (so do they) or `delete` (all pods).
pub async fn run(work: &str, image: &str) -> Result<Value> {
    let connections = Connections::open(2).await?;
    let path = format!("{FOLDER}?watch=true&timeoutSeconds=600");
    let watch = connections.send(1, (Method::GET, &path, ""), Bytes::new()).await?;
    let (saw, mut seen) = mpsc::unbounded_channel();
    let watching = tokio::spawn(Lines::new(watch).each(move |line| match read(line) {
        Some(event) => saw.send(event).is_ok(),
        None => true,
    }));
    let answer = match work {
        "one-by-one" => {
            let mut times = Vec::new();
            for number in 0..ONE_BY_ONE {
                let took = start(&connections, &mut seen, image, &[format!("one-{number}")]).await;
                times.push(took.with_context(|| format!("pod {number}"))? * 1e3);
            }
            times.sort_by(f64::total_cmp);
            json!({"p50_ms": percentile(&times, 0.5), "p99_ms": percentile(&times, 0.99)})
        }
        "at-once" => {
            let names: Vec<String> = (0..AT_ONCE).map(|number| format!("all-{number}")).collect();
            json!({"took_s": start(&connections, &mut seen, image, &names).await?})
        }
        "delete" => {
            let list = connections.send(0, (Method::GET, FOLDER, ""), Bytes::new()).await?;
            let list: Value = skiff_json::from_slice(&list.collect().await?.to_bytes())?;
            let items = list["items"].as_array().into_iter().flatten();
            let names = items.filter_map(|pod| pod["metadata"]["name"].as_str());
            let names: HashSet<String> = names.map(str::to_owned).collect();
            let how = (Method::DELETE, &*format!("{FOLDER}?gracePeriodSeconds=1"), JSON);
            let began = Instant::now();
            drain(connections.send(0, how, Bytes::new()).await?).await?;
            json!({"took_s": until(&mut seen, names, "deleted", began).await?})
        }
        other => bail!("no such work: {other}"),
    };
    watching.abort();
    Ok(answer)
}

/// Creates pods at once; seconds until the last is Running.
async fn start(
    connections: &Connections,
    seen: &mut mpsc::UnboundedReceiver<Seen>,
    image: &str,
    names: &[String],
) -> Result<f64> {
    let began = Instant::now();
    let creates = names.iter().map(|name| async move {
        let how: How = (Method::POST, FOLDER, JSON);
        drain(connections.send(0, how, pod(name, image)).await?).await
    });
    futures_util::future::try_join_all(creates).await?;
    until(seen, names.iter().cloned().collect(), "running", began).await
}

/// Seconds until the watch has shown all of them in this state.
async fn until(
    seen: &mut mpsc::UnboundedReceiver<Seen>,
    mut names: HashSet<String>,
    state: &str,
    began: Instant,
) -> Result<f64> {
    let mut last = began;
    while !names.is_empty() {
        let event = tokio::time::timeout(MOST, seen.recv()).await;
        let event = event.with_context(|| format!("not {state} yet: {names:?}"))?;
        let event = event.context("the watch ended")?;
        if event.state == state && names.remove(&event.name) {
            last = event.at;
        }
    }
    Ok((last - began).as_secs_f64())
}

fn read(line: &[u8]) -> Option<Seen> {
    let at = Instant::now();
    let event: Value = skiff_json::from_slice(line).ok()?;
    let state = match (event["type"].as_str()?, event["object"]["status"]["phase"].as_str()) {
        ("DELETED", _) => "deleted",
        (_, Some("Running")) => "running",
        _ => "other",
    };
    Some(Seen { name: event["object"]["metadata"]["name"].as_str()?.to_owned(), state, at })
}

fn pod(name: &str, image: &str) -> Bytes {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
           "spec": {"containers": [{"name": "main", "image": image, "imagePullPolicy": "Never",
                                    "command": ["sleep", "3600"]}]}})
    .to_string()
    .into()
}
