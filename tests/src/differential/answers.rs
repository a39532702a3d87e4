//! Recorded answers (`answers/<area>.json`: case name to lines) and the list of known differences.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// What a cluster answered: case name to text.
pub type Answers = BTreeMap<String, String>;

/// A sentence this long in a field of documentation is a text of upstream's, not an answer.
const LONGEST_DESCRIPTION: usize = 80;

/// The answers of one area; an area without a file has none.
pub fn read(folder: &Path, area: &str) -> Result<Answers> {
    let path = folder.join(format!("{area}.json"));
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Answers::new()),
        Err(e) => return Err(e).with_context(|| format!("read {}", path.display())),
    };
    let lines: BTreeMap<String, Vec<String>> =
        serde_json::from_slice(&text).with_context(|| format!("decode {}", path.display()))?;
    Ok(lines.into_iter().map(|(name, lines)| (name, lines.join("\n"))).collect())
}

/// Writes the answers of one area, one line of text per line of JSON.
pub fn write(folder: &Path, area: &str, answers: &Answers) -> Result<()> {
    for (name, text) in answers {
        refuse_descriptions(name, text)?;
    }
    let lines: BTreeMap<&str, Vec<&str>> =
        answers.iter().map(|(name, text)| (name.as_str(), text.lines().collect())).collect();
    let mut text = serde_json::to_string_pretty(&lines)?;
    text.push('\n');
    let path = folder.join(format!("{area}.json"));
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

fn refuse_descriptions(name: &str, text: &str) -> Result<()> {
    for line in text.lines() {
        let field = line.trim_start();
        let long = field.starts_with("\"description\":") && field.len() > LONGEST_DESCRIPTION;
        ensure!(
            !long && !field.starts_with("DESCRIPTION:"),
            "`{name}` would record upstream's documentation (`{line}`): compare its structure only"
        );
    }
    Ok(())
}

/// Known differences: `area: name | reason` per line; `#` opens a comment.
pub fn known(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let mut known = BTreeMap::new();
    for line in text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')) {
        match line.split_once(" | ") {
            Some((name, reason)) if !reason.trim().is_empty() => {
                let old = known.insert(name.trim().to_owned(), reason.trim().to_owned());
                ensure!(old.is_none(), "{}: `{name}` is there twice", path.display());
            }
            _ => bail!("{}: `{line}` should be `area: name | reason`", path.display()),
        }
    }
    Ok(known)
}

/// The lines that differ, `-` upstream's and `+` ours, at most `limit` of them.
///
/// A longest common subsequence by the plain table: answers have at most some hundred lines.
pub fn difference(theirs: &str, ours: &str, limit: usize) -> String {
    let (a, b): (Vec<_>, Vec<_>) = (theirs.lines().collect(), ours.lines().collect());
    let mut common = vec![vec![0_u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = if a[i] == b[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            i += 1;
            j += 1;
        } else if j == b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]) {
            out.push(format!("  -{}", a[i]));
            i += 1;
        } else {
            out.push(format!("  +{}", b[j]));
            j += 1;
        }
    }
    if out.len() > limit {
        let more = out.len() - limit;
        out.truncate(limit);
        out.push(format!("  ... {more} lines more"));
    }
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_both_sides() {
        assert_eq!(difference("a\nb\nc", "a\nx\nc\nd", 9), "  -b\n  +x\n  +d");
        assert_eq!(difference("a\nb\nc", "", 2), "  -a\n  -b\n  ... 1 lines more");
    }

    #[test]
    fn documentation_is_not_recorded() {
        let long = format!("    \"description\": \"{}\"", "word ".repeat(20));
        assert!(refuse_descriptions("a: b", &long).is_err());
        assert!(refuse_descriptions("a: b", "DESCRIPTION:\n  x").is_err());
        assert!(refuse_descriptions("a: b", "    \"description\": \"for tests\"").is_ok());
    }
}
