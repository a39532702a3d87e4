//! Case files: `## area: name`, then shell lines until the next heading.
//!
//! Lines before the first heading are a comment for the reader. The area is the name of the file,
//! so that a summary by area is a summary by file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// One question to a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// `area: what is asked`, unique over all files.
    pub name: String,
    /// Lines for bash; see [`super::run`] for the words they may use.
    pub script: String,
}

impl Case {
    pub fn area(&self) -> &str {
        self.name.split(':').next().unwrap_or(&self.name)
    }
}

/// Every case file of a folder, by name.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        let is_cases = path.extension().is_some_and(|e| e == "txt")
            && path.file_name().is_some_and(|n| n != "known.txt");
        if is_cases {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The cases of one file.
pub fn read(path: &Path) -> Result<Vec<Case>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let area = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    parse(area, &text).with_context(|| format!("in {}", path.display()))
}

fn parse(area: &str, text: &str) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    let mut names = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            let name = name.trim();
            let Some((given, _)) = name.split_once(": ") else {
                bail!("`{name}`: a case is named `{area}: what is asked`");
            };
            ensure!(given == area, "`{name}` belongs into {given}.txt");
            ensure!(names.insert(name.to_owned()), "`{name}` is there twice");
            cases.push(Case { name: name.to_owned(), script: String::new() });
        } else if let Some(case) = cases.last_mut() {
            case.script.push_str(line);
            case.script.push('\n');
        }
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_headings_and_scripts() {
        let got =
            parse("get", "about\n\n## get: one\nk get po\n\n## get: two\nk get no\n").unwrap();
        let names: Vec<_> =
            got.iter().map(|c| (c.area(), c.name.as_str(), c.script.trim())).collect();
        assert_eq!(names, [("get", "get: one", "k get po"), ("get", "get: two", "k get no")]);
    }

    #[test]
    fn wrong_headings_are_refused() {
        for (text, want) in [
            ("## nothing\n", "a case is named `get: what is asked`"),
            ("## put: one\n", "belongs into put.txt"),
            ("## get: one\n## get: one\n", "is there twice"),
        ] {
            let error = parse("get", text).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
