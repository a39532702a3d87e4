//! `cargo xtask bench [NAME...]`: builds for release what `bench/` measures and what it measures with, then measures.

use crate::{cargo, finish};
use anyhow::Result;
use std::process::Command;

pub fn run(names: &[String]) -> Result<()> {
    // One after the other: what is measured is what `cargo build --release` gives a user.
    let skiff = cargo::skiff()?;
    let bench = cargo::release("skiff-bench", "skiff-bench")?;
    finish(Command::new(bench).args(names).env("SKIFF", skiff))
}
