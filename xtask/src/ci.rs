//! `cargo xtask ci`: what CI runs, the same everywhere. Each step prints its command, and the first failure ends it.

use crate::finish;
use anyhow::Result;
use std::process::Command;

/// The steps, fast ones first.
const STEPS: &[&[&str]] = &[
    &["cargo", "fmt", "--all", "--check"],
    &["cargo", "xtask", "tidy"],
    &["cargo", "clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"],
    &["cargo", "build", "--locked", "--package", "skiff", "--package", "skiff-tests", "--bins"],
    &["cargo", "test", "--workspace", "--locked", "--exclude", "skiff-tests"],
    &["cargo", "xtask", "fuzz"],
    &["cargo", "test", "--locked", "--package", "skiff-tests"],
];

pub fn run() -> Result<()> {
    for step in STEPS {
        println!("\n=== {}", step.join(" "));
        finish(Command::new(step[0]).args(&step[1..]))?;
    }
    Ok(())
}
