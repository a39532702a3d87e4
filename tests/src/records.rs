//! What docs/security.md promises names its tests: each of them is there.
//!
//! A name is `place::test`, where the place is the file or folder (or a module in it) that holds the function; or
//! `area: case`, a differential case.

use std::fs;
use std::path::Path;

#[test]
fn every_promise_names_a_test_that_is_there() {
    let root = crate::kit::root();
    let text = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let (mut sources, mut cases) = (Vec::new(), String::new());
    for folder in ["crates", "tests"] {
        collect(&root.join(folder), &mut sources);
    }
    for entry in fs::read_dir(root.join("tests/differential")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "txt") {
            cases += &fs::read_to_string(path).unwrap();
        }
    }
    let names: Vec<&str> =
        text.lines().filter(|line| line.starts_with('|')).flat_map(quoted).collect();
    assert!(names.len() > 100, "the tables are read: {}", names.len());
    let lost: Vec<_> = names.into_iter().filter(|name| !is_there(name, &sources, &cases)).collect();
    assert!(lost.is_empty(), "docs/security.md names tests that are not there: {lost:#?}");
}

/// The words of a row that name tests: the code in its last column.
fn quoted(row: &str) -> impl Iterator<Item = &str> {
    let last = row.trim_end_matches('|').rsplit('|').next().unwrap_or("");
    last.split('`').skip(1).step_by(2)
}

fn is_there(name: &str, sources: &[(String, String)], cases: &str) -> bool {
    if name.contains(": ") {
        return cases.lines().any(|line| line.starts_with(&format!("## {name}")));
    }
    let Some((place, test)) = name.rsplit_once("::") else { return false };
    let function = format!("fn {test}(");
    let holds = |path: &str| path.split(['/', '.']).any(|part| part == place);
    sources.iter().any(|(path, text)| holds(path) && text.contains(&function))
}

fn collect(folder: &Path, sources: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            sources.push((path.display().to_string(), text));
        }
    }
}
