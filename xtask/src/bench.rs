//! `cargo xtask bench [NAME...]`: builds for release what `bench/` measures and what it measures with, then measures.

use crate::finish;
use anyhow::{Context, Result};
use std::process::Command;

pub fn run(names: &[String]) -> Result<()> {
    // One after the other: what is measured is what `cargo build --release` gives a user.
    for package in ["skiff", "skiff-bench"] {
        let build = ["build", "--locked", "--release", "--package", package];
        finish(Command::new("cargo").args(build))?;
    }
    let program = std::env::current_exe().context("find this program")?;
    let target = program.ancestors().nth(2).context("it lies in the target folder")?;
    let skiff = std::env::var_os("SKIFF").unwrap_or_else(|| target.join("release/skiff").into());
    finish(Command::new(target.join("release/skiff-bench")).args(names).env("SKIFF", skiff))
}
