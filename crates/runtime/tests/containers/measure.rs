//! Figures, printed: what a container costs in time and memory. It fails only when far off.

use crate::machine::Machine;
use std::time::{Duration, Instant};

const ROUNDS: usize = 40;

pub async fn figures(m: Machine) {
    let (mut pods, mut starts, mut removes) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let pod = format!("pod-{round}");
        let at = Instant::now();
        m.sandbox(&pod).await;
        pods.push(at.elapsed());
        let mut spec = m.spec(&format!("c-{round}"), "");
        spec.args = ["sleep", "1000"].map(String::from).to_vec();
        spec.resources.memory = Some(64 << 20);
        spec.resources.cpu_shares = Some(100);
        let at = Instant::now();
        m.start(&pod, &spec).await;
        starts.push(at.elapsed());
    }
    let (supervisor, inits) = memory(&m);
    for round in 0..ROUNDS / 2 {
        let at = Instant::now();
        m.runtime.remove_sandbox(&format!("pod-{round}")).await.expect("removed");
        removes.push(at.elapsed());
    }
    let at = Instant::now();
    let rest = (ROUNDS / 2..ROUNDS).map(|round| {
        let runtime = m.runtime.clone();
        tokio::spawn(async move { runtime.remove_sandbox(&format!("pod-{round}")).await })
    });
    for removal in rest.collect::<Vec<_>>() {
        removal.await.expect("no panic").expect("removed");
    }
    println!("  {} pods removed together: {:?}", ROUNDS / 2, at.elapsed());
    show("sandbox", &mut pods);
    show("create + start", &mut starts);
    show("remove pod", &mut removes);
    println!("  PSS: supervisor {supervisor} KiB, pod init {} KiB each", inits / ROUNDS as u64);
    assert!(starts[ROUNDS / 2] < Duration::from_millis(200));
}

fn show(what: &str, times: &mut [Duration]) {
    times.sort();
    let (middle, late) = (times[times.len() / 2], times[times.len() * 9 / 10]);
    println!("  {what}: best {:?}, p50 {middle:?}, p90 {late:?}", times[0]);
}

/// PSS in KiB: the supervisor's, and the sum of all pod inits'.
fn memory(m: &Machine) -> (u64, u64) {
    let (mut supervisor, mut inits) = (0, 0);
    for process in m.processes() {
        let (path, line) = process.split_once(' ').expect("path and line");
        let rollup = std::fs::read_to_string(format!("{path}/smaps_rollup")).unwrap_or_default();
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let pss: u64 =
            pss.and_then(|pss| pss.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default();
        if line.contains("supervisor") {
            supervisor += pss;
        } else if line.contains("pod-init") {
            inits += pss;
        }
    }
    (supervisor, inits)
}
