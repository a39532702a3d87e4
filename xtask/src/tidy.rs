//! `cargo xtask tidy`: the rules of STYLE.md that a program can check. Exceptions stand in one list, which may only
//! shrink: an exception that is not needed any more is an error, too.

use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a file without its tests.
const FILE_MOST: usize = 800;
/// Lines of a function.
const FUNCTION_MOST: usize = 70;
/// Columns of a line.
const LINE_MOST: usize = 120;
/// Where the exceptions stand: `path rule` on each line, a reason behind a `#`.
const EXCEPTIONS: &str = "xtask/tidy-exceptions.txt";

/// What may not stand in program code, and in which crates it may all the same.
const BANNED: &[(&str, &[&str])] = &[
    (".unwrap()", &[]),
    ("todo!(", &[]),
    ("unimplemented!(", &[]),
    ("#[allow(", &[]),
    ("#![allow(", &[]),
    ("Instant::now", &["base", "runtime", "net", "machine", "cli", "main", "bench"]),
    ("SystemTime::now", &["base", "runtime", "net", "machine", "cli", "main"]),
    ("std::env::", &["runtime", "machine", "cli", "main", "xtask", "bench", "sim"]),
    ("Command::new", &["machine", "runtime", "cli", "main", "xtask", "bench", "sim"]),
    ("thread::sleep", &["runtime", "net", "machine", "bench"]),
    ("dbg!(", &[]),
];

/// Which crates a crate may name: downward use is transitive.
const ARROWS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("json", &[]),
    ("api", &["json", "base"]),
    ("store", &["base"]),
    ("cel", &["api", "json", "base"]),
    ("kinds", &["cel", "api", "json"]),
    ("client", &["api", "json", "base"]),
    ("server", &["kinds", "cel", "api", "json", "store", "base"]),
    ("loops", &["client", "kinds", "api", "json", "base"]),
    ("sched", &["client", "kinds", "api", "json", "base", "loops"]),
    ("image", &["base"]),
    ("runtime", &["base"]),
    ("net", &["base"]),
    ("machine", &["net", "base"]),
    ("node", &["client", "kinds", "api", "json", "base", "image", "runtime", "net", "loops"]),
    ("dns", &["client", "kinds", "api", "json", "base"]),
    ("cli", &["client", "kinds", "api", "json", "base"]),
    (
        "sim",
        &[
            "sched", "loops", "node", "server", "store", "client", "kinds", "api", "json",
            "runtime", "net", "base",
        ],
    ),
];

/// One breach of a rule.
struct Breach {
    file: String,
    line: usize,
    rule: String,
}

pub fn run() -> Result<()> {
    let root = crate::cargo::root();
    let mut breaches = Vec::new();
    let files = tracked(root, "*.rs")?;
    let tests = test_modules(root, &files)?;
    for file in &files {
        check_file(root, file, is_test(file) || tests.contains(file), &mut breaches)?;
    }
    check_arrows(root, &mut breaches)?;
    let mut exceptions = exceptions(root)?;
    breaches.retain(|breach| {
        match exceptions.get_mut(&(breach.file.clone(), breach.rule.clone())) {
            Some(used) => {
                *used = true;
                false
            }
            None => true,
        }
    });
    for breach in &breaches {
        println!("{}:{}: {}", breach.file, breach.line, breach.rule);
    }
    let stale: Vec<_> = exceptions.iter().filter(|(_, used)| !**used).map(|(key, _)| key).collect();
    for (file, rule) in &stale {
        println!("{EXCEPTIONS}: {file} {rule}: not needed any more, remove it");
    }
    if breaches.is_empty() && stale.is_empty() {
        return Ok(());
    }
    bail!("{} breaches of STYLE.md, {} stale exceptions", breaches.len(), stale.len())
}

fn tracked(root: &Path, pattern: &str) -> Result<Vec<String>> {
    let output = Command::new("git").arg("-C").arg(root).args(["ls-files", pattern]).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().map(str::to_owned).filter(|file| root.join(file).exists()).collect())
}

fn exceptions(root: &Path) -> Result<BTreeMap<(String, String), bool>> {
    let text = std::fs::read_to_string(root.join(EXCEPTIONS))?;
    let entry = |line: &str| -> Option<((String, String), bool)> {
        let (file, rule) = line.split('#').next()?.trim().split_once(' ')?;
        Some(((file.to_owned(), rule.trim().to_owned()), false))
    };
    Ok(text.lines().filter_map(entry).collect())
}

/// Whether a file holds tests only.
fn is_test(file: &str) -> bool {
    let path = PathBuf::from(file);
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("");
    let below = |folder: &str| path.components().any(|part| part.as_os_str() == folder);
    stem == "tests" || below("tests") || below("benches") || below("examples") || below("fuzz")
}

/// Files that another file takes in for its tests only (`#[cfg(test)] mod name;`).
fn test_modules(root: &Path, files: &[String]) -> Result<BTreeSet<String>> {
    let mut tests = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(root.join(file))?;
        let path = PathBuf::from(file);
        let own = path.file_stem().and_then(|s| s.to_str()).unwrap_or("");
        let parent = path.parent().context("a tracked file has a folder")?;
        let below =
            if ["mod", "lib", "main"].contains(&own) { parent.into() } else { parent.join(own) };
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]") {
            let name = pair[1].split("mod ").nth(1).and_then(|rest| rest.strip_suffix(';'));
            if let Some(name) = name {
                tests.insert(below.join(format!("{name}.rs")).to_string_lossy().into_owned());
            }
        }
    }
    Ok(tests)
}

fn check_file(root: &Path, file: &str, test: bool, breaches: &mut Vec<Breach>) -> Result<()> {
    let text = std::fs::read_to_string(root.join(file))?;
    let mut breach = |line: usize, rule: &str| {
        breaches.push(Breach { file: file.to_owned(), line, rule: rule.to_owned() });
    };
    if test {
        return Ok(());
    }
    if !text.lines().take(5).any(|line| line.starts_with("//!")) {
        breach(1, "no-head");
    }
    let lines: Vec<&str> = program_lines(&text);
    if lines.len() > FILE_MOST {
        breach(lines.len(), "long-file");
    }
    let own = file.trim_start_matches("crates/").split('/').next().unwrap_or("");
    for (index, line) in lines.iter().enumerate() {
        if line.chars().count() > LINE_MOST
            && !line.contains("http")
            && !line.trim_start().starts_with('"')
        {
            breach(index + 1, "long-line");
        }
        if line.trim_start().starts_with("//") || file.ends_with("xtask/src/tidy.rs") {
            continue;
        }
        for (banned, allowed) in BANNED {
            if line.contains(banned) && !allowed.contains(&own) {
                breach(index + 1, banned);
            }
        }
    }
    check_functions(&lines, &mut breach);
    Ok(())
}

/// The lines before the unit tests.
fn program_lines(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.iter().enumerate().position(|(i, line)| {
        let opens = |next: &&str| next.contains("mod ") && next.ends_with('{');
        *line == "#[cfg(test)]" && lines[i + 1..].iter().take(2).any(opens)
    });
    lines[..tests.unwrap_or(lines.len())].to_vec()
}

/// Functions end where a brace stands as far out as their `fn` (rustfmt sees to it).
fn check_functions(lines: &[&str], breach: &mut impl FnMut(usize, &str)) {
    for (start, line) in lines.iter().enumerate() {
        let words = line.trim_start();
        let indent = line.len() - words.len();
        let is_function = words.split(['(', '<']).next().is_some_and(|head| {
            head.split_whitespace().rev().nth(1) == Some("fn") && !head.starts_with("//")
        });
        // One that is only declared has no length.
        if !is_function || line.trim_end().ends_with(';') {
            continue;
        }
        let ends = |line: &&str| {
            line.len() > indent
                && line[..indent].trim().is_empty()
                && line[indent..].starts_with('}')
        };
        let length = lines[start..].iter().position(ends).unwrap_or(0) + 1;
        if length > FUNCTION_MOST {
            breach(start + 1, "long-function");
        }
    }
}

/// The manifests name only crates below.
fn check_arrows(root: &Path, breaches: &mut Vec<Breach>) -> Result<()> {
    let mut manifests = tracked(root, "crates/*/Cargo.toml")?;
    manifests.extend(tracked(root, "sim/Cargo.toml")?);
    for file in manifests {
        let own = file.trim_start_matches("crates/").split('/').next().unwrap_or("");
        let Some((_, below)) = ARROWS.iter().find(|(name, _)| *name == own) else { continue };
        let text = std::fs::read_to_string(root.join(&file))?;
        let program = text.split("[dev-dependencies]").next().unwrap_or("");
        for (index, line) in program.lines().enumerate() {
            let Some(name) = line.strip_prefix("skiff-").and_then(|l| l.split(['.', ' ']).next())
            else {
                continue;
            };
            if !below.contains(&name) {
                let rule = format!("arrow-to-{name}");
                breaches.push(Breach { file: file.clone(), line: index + 1, rule });
            }
        }
    }
    Ok(())
}
