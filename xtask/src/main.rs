//! Chores of the repository, one subcommand each: `cargo xtask tidy|gen|ci|fuzz|bench|sim|long|vm|powercut`.
//!
//! A chore never runs in a build; what `gen` makes is committed.

use anyhow::{Context, Result, bail, ensure};
use std::process::Command;

mod bench;
mod cargo;
mod ci;
mod fuzz;
mod r#gen;
mod gen_discovery;
mod gen_facts;
mod long;
#[path = "../../crates/api/build/natural.rs"]
mod natural;
mod powercut;
mod sim;
mod tidy;
mod vm;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("bench") => bench::run(&arguments[1..]),
        Some("ci") => ci::run(),
        Some("fuzz") => fuzz::run(&arguments[1..]),
        Some("gen") => r#gen::run(),
        Some("long") => long::run(&arguments[1..]),
        Some("powercut") => powercut::run(&arguments[1..]),
        Some("sim") => sim::run(&arguments[1..]),
        Some("tidy") => tidy::run(),
        Some("vm") => vm::run(&arguments[1..]),
        Some(other) => {
            bail!(
                "no chore named {other:?}; there are: bench, ci, fuzz, gen, long, powercut, sim, tidy, vm"
            )
        }
        None => bail!("name a chore: bench, ci, fuzz, gen, long, powercut, sim, tidy, vm"),
    }
}

/// Runs a command to its end.
fn finish(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "{command:?} failed ({status})");
    Ok(())
}
