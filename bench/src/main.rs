//! skiff-bench: the figures that Skiff is judged by, measured on this machine and printed as one table.
//!
//! `skiff-bench [NAME...]` makes machines in namespaces and starts itself inside them (`skiff-bench inside PART`), so
//! that the client stands where the server stands and no packet leaves. Nothing here may measure Skiff and its peer
//! differently: both are asked by the same code with the same bytes.

mod api;
mod backup;
mod cluster;
mod fleet;
mod http2;
mod load;
mod overload;
mod pods;
mod processes;
mod rules;
mod schedule;
mod services;
mod size;
mod watchers;

use anyhow::{Context, Result, bail, ensure};
use skiff_json::Value;
use std::process::Command;

/// One line of the table.
pub struct Row {
    pub figure: String,
    pub ours: String,
    /// What upstream did in the same run, and ours divided by it (more than 1 is better, whatever the unit).
    pub peer: Option<(String, f64)>,
    pub goal: &'static str,
}

impl Row {
    pub fn alone(figure: impl Into<String>, ours: String, goal: &'static str) -> Row {
        Row { figure: figure.into(), ours, peer: None, goal }
    }
}

/// A group of figures that share their set-up.
type Part = fn() -> Result<Vec<Row>>;

const PARTS: &[(&str, Part)] = &[
    ("size", size::figures),
    ("up", cluster::start),
    ("idle", cluster::idle),
    ("pods", cluster::pods),
    ("api", api::throughput),
    ("protobuf", api::protobuf),
    ("watchers", api::watchers),
    ("memory", cluster::memory),
    ("overload", overload::figures),
    ("services", services::figures),
    ("backup", backup::figures),
    ("schedule", fleet::figures),
    ("rules", rules::figures),
];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let ["inside", part, rest @ ..] = &words[..] {
        println!("{}", inside(part, rest)?);
        return Ok(());
    }
    if let Some(other) = words.iter().find(|word| PARTS.iter().all(|(name, _)| name != *word)) {
        let names: Vec<_> = PARTS.iter().map(|(name, _)| *name).collect();
        bail!("no figures named {other:?}; there are: {}", names.join(", "));
    }
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for (name, part) in PARTS.iter().filter(|(n, _)| words.is_empty() || words.contains(n)) {
        eprintln!("measuring: {name}");
        match part().with_context(|| format!("measuring {name}")) {
            Ok(more) => rows.extend(more),
            Err(error) => failed.push(error),
        }
    }
    print(&rows);
    failed.iter().for_each(|error| eprintln!("{error:#}"));
    ensure!(failed.is_empty(), "{} groups of figures are missing", failed.len());
    Ok(())
}

/// The parts that run in a machine, beside the server.
fn inside(part: &str, words: &[&str]) -> Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match (part, words) {
        ("load", [name]) => runtime.block_on(load::run(name)),
        ("watchers", [shown]) => runtime.block_on(watchers::run(shown)),
        ("pods", [work, image]) => runtime.block_on(pods::run(work, image)),
        ("processes", []) => processes::now(),
        ("backup", [file]) => runtime.block_on(backup::run(file)),
        ("overload", []) => runtime.block_on(overload::run()),
        ("services", [count]) => runtime.block_on(services::run(count)),
        ("fleet", [manner]) => runtime.block_on(fleet::run(manner)),
        // The server and the scheduler are in it, so all of it runs on the threads that they would have.
        ("schedule", [name]) => {
            let runtime = tokio::runtime::Runtime::new()?;
            let name = name.to_string();
            runtime.block_on(runtime.spawn(async move { schedule::run(&name).await }))?
        }
        _ => bail!("no part {part:?} with {} arguments", words.len()),
    }
}

/// Runs a part inside a machine; `command` starts this program there.
pub fn ask(mut command: Command, words: &[&str]) -> Result<Value> {
    let output = command.arg("inside").args(words).output().context("start inside the machine")?;
    if !output.status.success() {
        bail!("{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    skiff_json::from_slice(&output.stdout).context("read what was measured")
}

fn print(rows: &[Row]) {
    let mut lines = vec![["figure", "Skiff", "upstream", "ratio", "goal"].map(str::to_owned)];
    for row in rows {
        let (peer, ratio) = match &row.peer {
            Some((peer, ratio)) => (peer.clone(), format!("{ratio:.2}")),
            None => Default::default(),
        };
        lines.push([row.figure.clone(), row.ours.clone(), peer, ratio, row.goal.to_owned()]);
    }
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// The value that a share of all stays at or below; `values` are sorted.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let last = values.len().saturating_sub(1) as f64;
    values.get((last * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// A number out of an answer of [`ask`].
pub fn number(value: &Value, key: &str) -> Result<f64> {
    value[key].as_f64().with_context(|| format!("no {key} in {value}"))
}
