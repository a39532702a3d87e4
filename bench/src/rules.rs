//! The rules of a custom resource, judged over one object again and again, here and by upstream's own judge (cel-go in
//! apiextensions-apiserver), one thread each, in turns.

use crate::{Row, percentile};
use anyhow::{Context, Result, ensure};
use skiff_api::kind::Rules as _;
use skiff_cel::decl::Place;
use skiff_cel::rules::Rules;
use skiff_json::Value;
use skiff_tests::kit;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const TURNS: usize = 5;
const TURN: Duration = Duration::from_secs(1);

fn file(name: &str) -> PathBuf {
    kit::root().join("bench/cel").join(name)
}

fn read(name: &str) -> Result<Value> {
    let text = std::fs::read(file(name)).with_context(|| format!("read bench/cel/{name}"))?;
    skiff_json::from_slice(&text).with_context(|| format!("bench/cel/{name}"))
}

pub fn figures() -> Result<Vec<Row>> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        ours.push(turn()?);
        theirs.push(upstream()?);
    }
    ours.sort_by(f64::total_cmp);
    theirs.sort_by(f64::total_cmp);
    let (ours, theirs) = (percentile(&ours, 0.5), percentile(&theirs, 0.5));
    let shown = |ns: f64| format!("{:.1} us", ns / 1e3);
    Ok(vec![Row {
        figure: "eight rules of a custom resource over one change".into(),
        ours: shown(ours),
        peer: Some((shown(theirs), theirs / ours)),
        goal: "faster",
    }])
}

/// Nanoseconds for each time, in one turn.
fn turn() -> Result<f64> {
    let (new, old) = (read("new.json")?, read("old.json")?);
    let rules = Rules::of(&read("schema.json")?, Place::Root).context("there are rules")?;
    let (began, mut times) = (Instant::now(), 0_u32);
    while began.elapsed() < TURN {
        let judged = rules.judge(black_box(&new), Some(black_box(&old)));
        ensure!(judged.faults.is_empty(), "the object breaks a rule: {:?}", judged.faults);
        times += 1;
    }
    Ok(began.elapsed().as_nanos() as f64 / f64::from(times))
}

fn upstream() -> Result<f64> {
    let program = kit::cel_rules()?;
    let mut command = Command::new(program);
    command.args([file("schema.json"), file("new.json"), file("old.json")]);
    let output = command.arg(TURN.as_secs().to_string()).output().context("start cel-rules")?;
    ensure!(output.status.success(), "cel-rules: {}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = skiff_json::from_slice(&output.stdout).context("read its answer")?;
    crate::number(&answer, "ns")
}
