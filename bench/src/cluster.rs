//! Figures of a whole cluster: its start, its idle cost, its pods.

use crate::{Row, ask, number, percentile};
use anyhow::{Context, Result, ensure};
use skiff_json::Value;
use skiff_tests::cluster::{BUSYBOX, Cluster};
use std::process::Command;
use std::time::{Duration, Instant};

/// Starts, of which the median counts.
const STARTS: usize = 7;
/// Before memory and processor time are looked at, what the start left to do ends.
const SETTLE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);
/// Ticks of /proc's times; fixed on Linux.
pub const TICKS_PER_S: f64 = 100.0;

pub fn start() -> Result<Vec<Row>> {
    let cluster = Cluster::empty("bench-up");
    let median = |words: &[&str]| {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let began = Instant::now();
            cluster.skiff(words);
            times.push(began.elapsed().as_secs_f64());
            cluster.skiff(&["delete"]);
        }
        times.sort_by(f64::total_cmp);
        percentile(&times, 0.5)
    };
    Ok(vec![
        Row::alone("skiff up to node Ready", format!("{:.2} s", median(&["up"])), "< 1 s"),
        Row::alone(
            "skiff up --demo to demo served",
            format!("{:.2} s", median(&["up", "--demo"])),
            "< 2 s",
        ),
    ])
}

pub fn idle() -> Result<Vec<Row>> {
    let cluster = Cluster::start("bench-idle");
    std::thread::sleep(SETTLE);
    let before = processes(&cluster)?;
    std::thread::sleep(IDLE);
    let after = processes(&cluster)?;
    let cpu = (number(&after, "ticks")? - number(&before, "ticks")?) / TICKS_PER_S;
    let percent = cpu / IDLE.as_secs_f64() * 100.0;
    eprintln!("{}", after["largest"]);
    cluster.skiff(&["delete"]);
    Ok(vec![
        Row::alone(
            format!("idle memory of {} processes, PSS", after["count"]),
            format!("{:.1} MB", number(&after, "pss_kb")? / 1e3),
            "< 64 MB",
        ),
        Row::alone("idle processor time over 60 s", format!("{percent:.2} %"), "< 0.5 %"),
    ])
}

pub fn pods() -> Result<Vec<Row>> {
    let cluster = Cluster::start("bench-pods");
    cluster.load_busybox();
    cluster.k.ok("wait --for=create serviceaccount/default --timeout=30s");
    std::thread::sleep(SETTLE);
    let work = |name: &str| ask(client(&cluster)?, &["pods", name, BUSYBOX]);
    let before = processes(&cluster)?;
    let single = work("one-by-one")?;
    std::thread::sleep(SETTLE);
    let after = processes(&cluster)?;
    eprintln!("{}", after["largest"]);
    work("delete")?;
    let many = work("at-once")?;
    work("delete")?;
    cluster.skiff(&["delete"]);
    let grown = number(&after, "pss_kb")? - number(&before, "pss_kb")?;
    Ok(vec![
        Row::alone(
            "pod create to Running, one by one: p50 / p99 of 100",
            format!("{:.0} / {:.0} ms", number(&single, "p50_ms")?, number(&single, "p99_ms")?),
            "< 100 / < 250 ms",
        ),
        Row::alone("50 pods at once", format!("{:.2} s", number(&many, "took_s")?), "< 5 s"),
        Row::alone(
            "PSS per pod, with 100 pods",
            format!("{:.2} MB", grown / 100.0 / 1e3),
            "< 1 MB",
        ),
    ])
}

/// What a burst of objects and watchers leaves behind, and what is left when the objects are gone.
pub fn memory() -> Result<Vec<Row>> {
    let cluster = Cluster::start("bench-memory");
    let work = |words: &[&str]| ask(client(&cluster)?, words);
    let pss = || -> Result<f64> {
        std::thread::sleep(SETTLE);
        let processes = processes(&cluster)?;
        eprintln!("{}", processes["largest"]);
        Ok(number(&processes, "pss_kb")? / 1024.0)
    };
    work(&["load", "create"])?;
    work(&["watchers", "objects"])?;
    let full = pss()?;
    work(&["load", "delete"])?;
    cluster.k.ok("delete --raw /api/v1/namespaces/bench/configmaps");
    let empty = pss()?;
    cluster.skiff(&["delete"]);
    let row = |figure: &str, mib, goal| Row::alone(figure, format!("{mib:.1} MiB"), goal);
    Ok(vec![
        row("PSS after 10,000 ConfigMaps and 1,000 watchers", full, "< 90 MiB"),
        row("the same when all are deleted", empty, "< 60 MiB"),
    ])
}

/// This program, to be started inside.
pub fn client(cluster: &Cluster) -> Result<Command> {
    let program = std::env::current_exe().context("find this program")?;
    let mut command = cluster.inside(&program);
    command.env("KUBECONFIG", cluster.config());
    Ok(command)
}

pub fn processes(cluster: &Cluster) -> Result<Value> {
    let processes = ask(client(cluster)?, &["processes"])?;
    ensure!(number(&processes, "count")? >= 2.0, "daemon and supervisor run: {processes}");
    Ok(processes)
}
