//! `cargo xtask fuzz [TARGET] [SECONDS]`: mutated input at one decoder, or at all of them (fuzz/README.md).
//!
//! Each target runs in a process of its own, so that its memory and its time are bounded and its end is seen.

use anyhow::{Context, Result, bail};
use std::process::Command;

/// What one target gets when nobody says otherwise; all of them together stay below a minute.
const SECONDS: &str = "3";

pub fn run(arguments: &[String]) -> Result<()> {
    let (seconds, names): (Vec<&String>, Vec<&String>) =
        arguments.iter().partition(|word| word.parse::<u64>().is_ok());
    let seconds = seconds.first().map_or(SECONDS, |it| it.as_str());
    let targets = match names[..] {
        [] => list()?,
        [one] => vec![one.clone()],
        _ => bail!("cargo xtask fuzz [TARGET] [SECONDS]"),
    };
    let mut failed = Vec::new();
    for target in targets {
        let status = driver().args([&*target, seconds]).status().context("start the driver")?;
        if !status.success() {
            failed.push(target);
        }
    }
    if !failed.is_empty() {
        bail!("their inputs lie in target/fuzz: {}", failed.join(", "));
    }
    Ok(())
}

fn driver() -> Command {
    let mut command = Command::new("cargo");
    command.args(["run", "--quiet", "--locked", "--package", "skiff-fuzz", "--"]);
    command
}

fn list() -> Result<Vec<String>> {
    let output = driver().arg("list").output().context("start the driver")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout).context("names are text")?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}
