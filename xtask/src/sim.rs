//! `cargo xtask sim --seed N [--seeds K] [--seconds S]`: runs of the simulator (docs/testing.md). One seed is told
//! line by line by the ordinary build; many are for the release build, which is as fast as they need.

use crate::finish;
use anyhow::Result;
use std::process::Command;

pub fn run(arguments: &[String]) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(["run", "--quiet", "--locked", "--package", "skiff-sim"]);
    if arguments.iter().any(|word| word == "--seeds") {
        command.arg("--release");
    }
    finish(command.arg("--").args(arguments))
}
