//! Load on the API: so many requests of one sort, 64 at once on 8 connections; how many a second.

use crate::http2::{Connections, drain};
use crate::percentile;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::Method;
use skiff_json::{Value, json};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Objects, so that a list has 10,000.
const OBJECTS: usize = 10_000;
const LISTS: usize = 128;
const CONNECTIONS: usize = 8;
const AT_ONCE: usize = 64;
/// A run that takes longer is broken off, with an error.
const MOST: Duration = Duration::from_secs(120);
const FOLDER: &str = "/api/v1/namespaces/bench/configmaps";
const JSON: &str = "application/json";
const PROTOBUF: &str = skiff_api::protobuf::MEDIA_TYPE;

const METADATA: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;\
                        g=meta.k8s.io;v=v1";

/// One sort of request: how many, and what the one with a number is.
struct Load {
    count: usize,
    method: Method,
    type_: &'static str,
    path: fn(usize) -> String,
    body: fn(usize) -> Bytes,
}

/// The sorts, in the order in which they must run: each needs what the ones before it made.
pub const SORTS: &[&str] = &["create", "get", "list", "merge patch", "apply", "delete"];
/// Those in protobuf, in their order; answers are in what bodies are in.
pub const IN_PROTOBUF: &[&str] =
    &["create in protobuf", "get in protobuf", "list in protobuf", "list of metadata in protobuf"];

fn load(name: &str) -> Result<Load> {
    let (count, method, type_, path, body): (_, _, _, fn(usize) -> String, fn(usize) -> Bytes) =
        match name {
            "create" => (OBJECTS, Method::POST, JSON, |_| FOLDER.to_owned(), config_map),
            "get" => (2 * OBJECTS, Method::GET, "", one, |_| Bytes::new()),
            "list" => (LISTS, Method::GET, "", |_| FOLDER.to_owned(), |_| Bytes::new()),
            "merge patch" => {
                (OBJECTS, Method::PATCH, "application/merge-patch+json", one, |number| {
                    json!({"data": {"patched": number.to_string()}}).to_string().into()
                })
            }
            "apply" => {
                (OBJECTS, Method::PATCH, "application/apply-patch+yaml", applied, |number| {
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name_of(number)},
                       "data": {"applied": number.to_string()}})
                .to_string()
                .into()
                })
            }
            "delete" => (OBJECTS, Method::DELETE, JSON, one, |_| Bytes::new()),
            "create in protobuf" => (
                OBJECTS,
                Method::POST,
                PROTOBUF,
                |_| FOLDER.to_owned(),
                |number| {
                    let document = skiff_api::protobuf::document(&config_map(number));
                    document.expect("a ConfigMap has a message").into()
                },
            ),
            "get in protobuf" => (2 * OBJECTS, Method::GET, PROTOBUF, one, |_| Bytes::new()),
            "list in protobuf" => {
                (LISTS, Method::GET, PROTOBUF, |_| FOLDER.to_owned(), |_| Bytes::new())
            }
            "list of metadata in protobuf" => {
                (LISTS, Method::GET, METADATA, |_| FOLDER.to_owned(), |_| Bytes::new())
            }
            other => bail!("no load named {other:?}"),
        };
    Ok(Load { count, method, type_, path, body })
}

fn name_of(number: usize) -> String {
    format!("load-{:05}", number % OBJECTS)
}

fn one(number: usize) -> String {
    format!("{FOLDER}/{}", name_of(number))
}

fn applied(number: usize) -> String {
    format!("{}?fieldManager=bench&force=true", one(number))
}

/// 1 KiB of data.
fn config_map(number: usize) -> Bytes {
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(23);
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name_of(number)},
           "data": {"text": &text[..1024]}})
    .to_string()
    .into()
}

/// Makes the namespace that load goes to; it may be there.
pub async fn prepare(connections: &Connections) -> Result<()> {
    let path = "/api/v1/namespaces/bench?fieldManager=bench&force=true";
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}});
    let how = (Method::PATCH, path, "application/apply-patch+yaml");
    drain(connections.send(0, how, body.to_string().into()).await?).await?;
    Ok(())
}

/// Runs one sort to its end.
pub async fn run(name: &str) -> Result<Value> {
    let load = load(name)?;
    let connections = Connections::open(CONNECTIONS).await?;
    prepare(&connections).await?;
    let next = Cell::new(0);
    let began = Instant::now();
    let workers = (0..AT_ONCE).map(|worker| work(worker, &connections, &load, &next));
    let answers = tokio::time::timeout(MOST, try_join_all(workers)).await;
    let answers = answers.with_context(|| format!("{name} takes more than {MOST:?}"))??;
    let took = began.elapsed().as_secs_f64();
    let (mut times, mut bytes) = (Vec::new(), 0);
    for (worker_times, worker_bytes) in answers {
        times.extend(worker_times);
        bytes += worker_bytes;
    }
    ensure!(times.len() == load.count, "{} of {} were answered", times.len(), load.count);
    times.sort_by(f64::total_cmp);
    Ok(json!({"per_s": load.count as f64 / took, "bytes": bytes / load.count,
              "p50_ms": percentile(&times, 0.5), "p99_ms": percentile(&times, 0.99)}))
}

/// Sends one request after another while there are some; their times in ms, and the bytes of all answers.
async fn work(
    worker: usize,
    connections: &Connections,
    load: &Load,
    next: &Cell<usize>,
) -> Result<(Vec<f64>, usize)> {
    let (mut times, mut bytes) = (Vec::new(), 0);
    loop {
        let number = next.get();
        if number == load.count {
            return Ok((times, bytes));
        }
        next.set(number + 1);
        let (path, body) = ((load.path)(number), (load.body)(number));
        let began = Instant::now();
        let how = (load.method.clone(), &*path, load.type_);
        bytes += drain(connections.send(worker, how, body).await?).await?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
}
