//! `cargo xtask long [ARGUMENT...]`: what CI is too short for: every case of the differential check, the stock machine
//! and power cuts (docs/testing.md), and the whole of upstream's conformance suite against the release build. Arguments
//! go to `tests/conformance/run` (`--focus REGEX`, `--json`), and then it is that alone; some six hours without any.

use crate::{finish, powercut, vm};
use anyhow::{Context, Result};
use std::process::Command;

/// Power cuts; each takes two minutes.
const CUTS: &str = "100";
/// The same on a torn disk; each takes four seconds.
const TEARS: &str = "1000";

pub fn run(arguments: &[String]) -> Result<()> {
    finish(&mut Command::new("tests/kit/install"))?;
    finish(&mut Command::new("tests/conformance/build"))?;
    if arguments.is_empty() {
        let bins =
            ["build", "--locked", "--package", "skiff", "--package", "skiff-tests", "--bins"];
        finish(Command::new("cargo").args(bins))?;
        let test = ["test", "--locked", "--package", "skiff-tests", "--test", "spine", "answers_"];
        finish(Command::new("cargo").args(test).env("SKIFF_CASES_EVERY", "1"))?;
        vm::run(&[])?;
        powercut::run(&["--times", CUTS].map(str::to_owned))?;
        powercut::run(&["--fuse", "--times", TEARS].map(str::to_owned))?;
    }
    for package in ["skiff", "skiff-tests"] {
        let build = ["build", "--locked", "--release", "--package", package, "--bins"];
        finish(Command::new("cargo").args(build))?;
    }
    let program = std::env::current_exe().context("find this program")?;
    let release =
        program.ancestors().nth(2).context("it lies in the target folder")?.join("release");
    let skiff = std::env::var_os("SKIFF").unwrap_or_else(|| release.join("skiff").into());
    finish(Command::new(release.join("conformance")).args(arguments).env("SKIFF", skiff))
}
