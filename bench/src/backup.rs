//! A backup of 10,000 objects while 1,000 writes a second go on: how long it takes, and what writers notice of it; then
//! how long a restore takes until the node is Ready.
//!
//! Writes come by the clock, whether those before were answered or not, so a wait shows in all that come behind it.

use crate::cluster::client;
use crate::http2::{Connections, drain};
use crate::{Row, ask, number, percentile};
use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use http::Method;
use skiff_json::{Value, json};
use skiff_tests::cluster::Cluster;
use skiff_tests::kit;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const OBJECTS: u32 = 10_000;
const PER_S: u32 = 1_000;
/// Seconds of writes alone, and then of writes beside backups.
const ALONE_S: u32 = 5;
const BACKUPS: usize = 5;
const CONNECTIONS: usize = 8;
/// What all of it may take.
const MOST: Duration = Duration::from_secs(60);
const RESTORES: usize = 3;

pub fn figures() -> Result<Vec<Row>> {
    let cluster = Cluster::start("bench-backup");
    ask(client(&cluster)?, &["load", "create"])?;
    let file = cluster.machine().data().join("backup").display().to_string();
    let measured = ask(client(&cluster)?, &["backup", &file])?;
    eprintln!("{measured}");
    let mut restored = Vec::new();
    for _ in 0..RESTORES {
        cluster.skiff(&["down"]);
        let began = Instant::now();
        cluster.skiff(&["restore", &file]);
        cluster.skiff(&["up"]);
        restored.push(began.elapsed().as_secs_f64());
    }
    restored.sort_by(f64::total_cmp);
    cluster.skiff(&["delete"]);
    let (alone, beside) = (number(&measured, "alone_p99_ms")?, number(&measured, "beside_p99_ms")?);
    Ok(vec![
        Row::alone(
            "backup of 10,000 objects at 1,000 writes/s, median of 5",
            format!("{:.2} s", number(&measured, "backup_s")?),
            "< 1 s",
        ),
        Row::alone(
            "    writers' p99 without it / with it",
            format!("{alone:.1} / {beside:.1} ms ({:.2}x)", beside / alone),
            "< 2x",
        ),
        Row::alone(
            "restore and up to node Ready",
            format!("{:.2} s", percentile(&restored, 0.5)),
            "< 3 s",
        ),
    ])
}

/// Runs in the machine.
pub async fn run(file: &str) -> Result<Value> {
    let connections = Connections::open(CONNECTIONS).await?;
    let all = async {
        let alone = writes(&connections, ALONE_S * PER_S, async {}).await?.0;
        let backups = async {
            let mut took = Vec::new();
            for _ in 0..BACKUPS {
                took.push(backup(file.to_owned()).await?);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok::<_, anyhow::Error>(took)
        };
        let (beside, took) = writes(&connections, ALONE_S * PER_S, backups).await?;
        let mut took = took?;
        took.sort_by(f64::total_cmp);
        Ok(json!({
            "backup_s": percentile(&took, 0.5), "backup_most_s": percentile(&took, 1.0),
            "alone_p50_ms": percentile(&alone, 0.5), "alone_p99_ms": percentile(&alone, 0.99),
            "beside_p50_ms": percentile(&beside, 0.5), "beside_p99_ms": percentile(&beside, 0.99),
        }))
    };
    tokio::time::timeout(MOST, all).await.context("it takes too long")?
}

/// Writes by the clock, with something beside them; the times in ms, sorted.
async fn writes<T>(
    connections: &Connections,
    count: u32,
    beside: impl Future<Output = T>,
) -> Result<(Vec<f64>, T)> {
    let sent = async {
        let mut beat = tokio::time::interval(Duration::from_secs(1) / PER_S);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        let mut answers = Vec::new();
        for number in 0..count {
            let due = beat.tick().await;
            let path = format!("/api/v1/namespaces/bench/configmaps/load-{:05}", number % OBJECTS);
            let body = json!({"data": {"patched": format!("{number}-{count}")}}).to_string();
            let how = (Method::PATCH, &*path, "application/merge-patch+json");
            let answer = connections.begin(number as usize, how, body.into()).await?;
            answers.push(tokio::spawn(async move {
                drain(answer.await?).await?;
                Ok::<_, anyhow::Error>(due.elapsed().as_secs_f64() * 1e3)
            }));
        }
        try_join_all(answers).await.context("a write")
    };
    let (times, told) = tokio::join!(sent, beside);
    let mut times = times?.into_iter().collect::<Result<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    Ok((times, told))
}

/// Takes a backup; the seconds that the command took.
async fn backup(file: String) -> Result<f64> {
    let skiff = kit::skiff()?;
    let take = move || -> Result<f64> {
        let began = Instant::now();
        let mut command = Command::new(skiff);
        let taken = command.args(["backup", &file]).stdin(Stdio::null()).output()?;
        let took = began.elapsed().as_secs_f64();
        ensure!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
        Ok(took)
    };
    tokio::task::spawn_blocking(take).await.context("the thread of the backup")?
}
