//! `cargo xtask long [ARGUMENT...]`: what CI is too short for: every case of the differential check, the stock machine
//! and power cuts (docs/testing.md), and the whole of upstream's conformance suite against the release build. Arguments
//! go to `tests/conformance/run` (`--focus REGEX`, `--json`), and then it is that alone; some six hours without any.

use crate::{cargo, finish, powercut, vm};
use anyhow::Result;
use std::process::Command;

/// Power cuts; each takes two minutes.
const CUTS: &str = "100";
/// The same on a torn disk; each takes four seconds.
const TEARS: &str = "1000";

pub fn run(arguments: &[String]) -> Result<()> {
    finish(&mut Command::new("tests/kit/install"))?;
    finish(&mut Command::new("tests/conformance/build"))?;
    if arguments.is_empty() {
        cargo::bins()?;
        let test = ["test", "--locked", "--package", "skiff-tests", "--test", "spine", "answers_"];
        finish(Command::new("cargo").args(test).env("SKIFF_CASES_EVERY", "1"))?;
        vm::run(&[])?;
        powercut::run(&["--times", CUTS].map(str::to_owned))?;
        powercut::run(&["--fuse", "--times", TEARS].map(str::to_owned))?;
    }
    let skiff = cargo::skiff()?;
    let conformance = cargo::release("skiff-tests", "conformance")?;
    finish(Command::new(conformance).args(arguments).env("SKIFF", skiff))
}
