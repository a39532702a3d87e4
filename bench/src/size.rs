//! Sizes: the binary, and the lines of the project.

use crate::Row;
use anyhow::{Context, Result};
use std::process::Command;

pub fn figures() -> Result<Vec<Row>> {
    let binary = skiff_tests::kit::skiff()?.metadata()?.len() as f64 / 1e6;
    let root = skiff_tests::kit::root();
    let files = Command::new("git").arg("-C").arg(root).args(["ls-files", "*.rs"]).output()?;
    let mut lengths = Vec::new();
    for file in String::from_utf8(files.stdout)?.lines() {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| file.to_owned())?;
        lengths.push(text.lines().count());
    }
    lengths.sort_unstable();
    let (all, median) = (lengths.iter().sum::<usize>(), lengths[lengths.len() / 2]);
    let longest = lengths.last().context("no files")?;
    Ok(vec![
        Row::alone("binary", format!("{binary:.1} MB"), "< 30 MB"),
        Row::alone(
            "lines of Rust; median, longest file",
            format!("{all}; {median}, {longest}"),
            "reported",
        ),
    ])
}
