//! How long until the kernel's tables have a change of one endpoint, among a hundred services and among ten thousand.
//!
//! The kernel itself tells when (nf_tables' notifications), to a thread that does nothing else.

use crate::cluster::client;
use crate::fleet::each;
use crate::http2::{Connections, drain};
use crate::{Row, ask, number, percentile};
use anyhow::{Context, Result, ensure};
use http::Method;
use rustix::event::{PollFd, PollFlags, poll};
use skiff_json::{Value, json};
use skiff_net::NetNs;
use skiff_net::watch::Watch;
use skiff_tests::cluster::Cluster;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const CONNECTIONS: usize = 8;
const CHANGES: usize = 200;
/// Longer silence of the kernel is an error.
const MOST: Duration = Duration::from_secs(30);
/// The tables are as wanted when the kernel has told nothing for so long.
const QUIET: Duration = Duration::from_secs(2);
const JSON: &str = "application/json";
const SERVICES: &str = "/api/v1/namespaces/bench/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/bench/endpointslices";

pub fn figures() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (count, goal) in [(100, "reported"), (10_000, "< 3 ms after the answer")] {
        let cluster = Cluster::start("bench-services");
        cluster.k.ok("create namespace bench");
        let measured = ask(client(&cluster)?, &["services", &count.to_string()])?;
        eprintln!("{measured}");
        let figure = |name: &str| number(&measured, name);
        rows.push(Row::alone(
            format!("one endpoint of {count} services, in the kernel: p50 / p99 after the patch was sent"),
            format!("{:.1} / {:.1} ms", figure("sent_p50_ms")?, figure("sent_p99_ms")?),
            "reported",
        ));
        rows.push(Row::alone(
            "    after it was answered",
            format!("{:.1} / {:.1} ms", figure("answered_p50_ms")?, figure("answered_p99_ms")?),
            goal,
        ));
        cluster.skiff(&["delete"]);
    }
    Ok(rows)
}

/// `count` services, of which one endpoint changes at a time.
pub async fn run(count: &str) -> Result<Value> {
    let count: usize = count.parse().context("how many services")?;
    let connections = Connections::open(CONNECTIONS).await?;
    let mut told = listen()?;
    each(&connections, (Method::POST, JSON), count, |number| (SERVICES.into(), service(number)))
        .await?;
    each(&connections, (Method::POST, JSON), count, |number| (SLICES.into(), slice(number)))
        .await?;
    while tokio::time::timeout(QUIET, told.recv()).await.is_ok() {}
    let (mut sent, mut answered) = (Vec::new(), Vec::new());
    for change in 0..CHANGES {
        let path = format!("{SLICES}/s-{}", (change * 7919) % count);
        let body = json!({"endpoints": [{"addresses": [format!("10.244.1.{}", change + 2)]}]});
        ensure!(told.try_recv().is_err(), "the kernel tells of a change that nobody asked for");
        let began = Instant::now();
        let how = (Method::PATCH, &*path, "application/merge-patch+json");
        drain(connections.send(change, how, body.to_string().into()).await?).await?;
        let answer = Instant::now();
        let at =
            tokio::time::timeout(MOST, told.recv()).await.context("the kernel says nothing")?;
        let at = at.context("nobody listens to the kernel")?;
        sent.push(at.duration_since(began).as_secs_f64() * 1e3);
        answered.push(at.saturating_duration_since(answer).as_secs_f64() * 1e3);
        // One change may be told in several messages.
        while tokio::time::timeout(QUIET / 100, told.recv()).await.is_ok() {}
    }
    sent.sort_by(f64::total_cmp);
    answered.sort_by(f64::total_cmp);
    Ok(json!({"sent_p50_ms": percentile(&sent, 0.5), "sent_p99_ms": percentile(&sent, 0.99),
              "answered_p50_ms": percentile(&answered, 0.5),
              "answered_p99_ms": percentile(&answered, 0.99)}))
}

/// The moments at which the kernel tells of changes, from now on.
fn listen() -> Result<mpsc::UnboundedReceiver<Instant>> {
    let mut watch = Watch::open(&NetNs::current()?, &[])?;
    let (tell, told) = mpsc::unbounded_channel();
    // It ends with the process.
    std::thread::spawn(move || {
        loop {
            let mut fds = [PollFd::new(&watch, PollFlags::IN)];
            if poll(&mut fds, None).is_err() {
                continue;
            }
            let at = Instant::now();
            match watch.seen(&[]) {
                Ok(seen) if seen.others && tell.send(at).is_err() => return,
                Ok(_) => {}
                Err(error) => {
                    eprintln!("the kernel's notifications: {error}");
                    return;
                }
            }
        }
    });
    Ok(told)
}

fn service(number: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s-{number}")},
           "spec": {"ports": [{"port": 80}]}})
}

fn slice(number: usize) -> Value {
    let name = format!("s-{number}");
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
           "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
           "addressType": "IPv4", "ports": [{"port": 80}],
           "endpoints": [{"addresses": ["10.244.1.1"]}]})
}
