//! Chores of the repository, one subcommand each: `cargo xtask tidy|gen|ci|fuzz`.
//!
//! A chore never runs in a build; what `gen` makes is committed.

use anyhow::{Result, bail};

mod ci;
mod fuzz;
mod r#gen;
mod gen_discovery;
mod gen_facts;
mod tidy;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("ci") => ci::run(),
        Some("fuzz") => fuzz::run(&arguments[1..]),
        Some("gen") => r#gen::run(),
        Some("tidy") => tidy::run(),
        Some(other) => bail!("no chore named {other:?}; there are: ci, fuzz, gen, tidy"),
        None => bail!("name a chore: ci, fuzz, gen, tidy"),
    }
}
