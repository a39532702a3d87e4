//! What cargo makes for chores, and where the checkout is.

use crate::finish;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout")
}

/// Builds what the black-box tests start: `skiff`, and their own programs.
pub fn bins() -> Result<()> {
    let bins = ["build", "--locked", "--package", "skiff", "--package", "skiff-tests", "--bins"];
    finish(Command::new("cargo").args(bins))
}

/// The `skiff` that `$SKIFF` names, or one that is built for release.
pub fn skiff() -> Result<PathBuf> {
    std::env::var_os("SKIFF").map_or_else(|| release("skiff", "skiff"), |path| Ok(path.into()))
}

/// A program of a package, built for release.
pub fn release(package: &str, program: &str) -> Result<PathBuf> {
    let built = artifacts(&["build", "--locked", "--release", "--package", package, "--bins"])?;
    let mut found = built.into_iter().filter(|(name, _)| name == program);
    Ok(found.next().with_context(|| format!("{package} has no program {program}"))?.1)
}

/// Runs cargo; the programs that it made, by the names of their targets.
pub fn artifacts(arguments: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let mut cargo = Command::new("cargo");
    cargo.args(arguments).arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = cargo.output().context("start cargo")?;
    ensure!(output.status.success(), "{cargo:?} failed ({})", output.status);
    let mut found = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let message: serde_json::Value = serde_json::from_str(line).context("cargo tells JSON")?;
        if let (Some(path), Some(name)) =
            (message["executable"].as_str(), message["target"]["name"].as_str())
        {
            found.push((name.to_owned(), path.into()));
        }
    }
    Ok(found)
}
