//! Versions (Kubernetes' `semver`, version 1; Semantic Versioning 2.0.0).

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::{Function, text};
use crate::run::RunError;
use crate::value::Value;

pub struct Semver {
    numbers: [u64; 3],
    pre: Vec<String>,
    build: Vec<String>,
}

pub fn find(name: &str) -> Option<Function> {
    Some(match name {
        "semver" => {
            |args| parse(&given(args)?).map(|it| Value::Semver(Arc::new(it))).map_err(RunError::of)
        }
        "isSemver" => |args| {
            text(args, 0)?;
            Ok(Value::Bool(given(args).is_ok_and(|it| parse(&it).is_ok())))
        },
        "major" => |args| number(args, 0),
        "minor" => |args| number(args, 1),
        "patch" => |args| number(args, 2),
        _ => return None,
    })
}

fn number<'a>(args: &[Value<'a>], at: usize) -> Result<Value<'a>, RunError> {
    match args.first() {
        Some(Value::Semver(it)) => Ok(Value::Int(it.numbers[at] as i64)),
        _ => Err(RunError::no_overload()),
    }
}

/// The text, made whole if the second argument asks for it.
fn given(args: &[Value]) -> Result<String, RunError> {
    let raw = text(args, 0)?;
    match args.get(1).is_some_and(Value::is_true) {
        true => whole(raw).map_err(RunError::of),
        false => Ok(raw.to_string()),
    }
}

/// `v1.01` as `1.1.0`: no letter, no leading zeros, three numbers.
fn whole(raw: &str) -> Result<String, String> {
    let raw = raw.trim();
    let mut parts: Vec<String> =
        raw.strip_prefix('v').unwrap_or(raw).splitn(3, '.').map(str::to_string).collect();
    for it in &mut parts {
        if it.len() > 1 {
            let kept = it.trim_start_matches('0');
            let digit = kept.starts_with(|it: char| it.is_ascii_digit());
            *it = if digit { kept.to_string() } else { format!("0{kept}") };
        }
    }
    if parts.len() < 3 && parts.last().is_some_and(|it| it.contains(['+', '-'])) {
        return Err("Short version cannot contain PreRelease/Build meta data".to_string());
    }
    parts.resize(3, "0".to_string());
    Ok(parts.join("."))
}

pub fn parse(raw: &str) -> Result<Semver, String> {
    if raw.is_empty() {
        return Err("Version string empty".to_string());
    }
    let mut parts: Vec<&str> = raw.splitn(3, '.').collect();
    if parts.len() != 3 {
        return Err("No Major.Minor.Patch elements found".to_string());
    }
    let (rest, build) = match parts[2].split_once('+') {
        Some((rest, build)) => (rest, Some(build)),
        None => (parts[2], None),
    };
    let (rest, pre) = match rest.split_once('-') {
        Some((rest, pre)) => (rest, Some(pre)),
        None => (rest, None),
    };
    parts[2] = rest;
    let mut numbers = [0; 3];
    for ((number, part), name) in numbers.iter_mut().zip(&parts).zip(["major", "minor", "patch"]) {
        let capital = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
        if !part.bytes().all(|it| it.is_ascii_digit()) {
            return Err(format!("Invalid character(s) found in {name} number {part:?}"));
        }
        if part.len() > 1 && part.starts_with('0') {
            return Err(format!("{capital} number must not contain leading zeroes {part:?}"));
        }
        *number = part.parse().map_err(|_| match part.is_empty() {
            true => "strconv.ParseUint: parsing \"\": invalid syntax".to_string(),
            false => format!("strconv.ParseUint: parsing {part:?}: value out of range"),
        })?;
    }
    Ok(Semver {
        numbers,
        pre: labels(pre, "Prerelease")?,
        build: labels(build, "Build meta data")?,
    })
}

fn labels(text: Option<&str>, what: &str) -> Result<Vec<String>, String> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for it in text.split('.') {
        let digits = it.bytes().all(|it| it.is_ascii_digit());
        if it.is_empty() {
            return Err(format!("{what} is empty"));
        }
        if !it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-') {
            let what = if what == "Prerelease" { "prerelease" } else { "build meta data" };
            return Err(format!("Invalid character(s) found in {what} {it:?}"));
        }
        if what == "Prerelease" && digits && it.len() > 1 && it.starts_with('0') {
            return Err(format!(
                "Numeric PreRelease version must not contain leading zeroes {it:?}"
            ));
        }
        found.push(it.to_string());
    }
    Ok(found)
}

impl Semver {
    pub fn compare(&self, other: &Semver) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| {
            match (self.pre.is_empty(), other.pre.is_empty()) {
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                _ => {
                    let each = self.pre.iter().zip(&other.pre).map(|(a, b)| label_order(a, b));
                    let lengths = self.pre.len().cmp(&other.pre.len());
                    each.into_iter().find(|it| it.is_ne()).unwrap_or(lengths)
                }
            }
        })
    }
}

fn label_order(a: &str, b: &str) -> Ordering {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        _ => a.cmp(b),
    }
}

impl fmt::Display for Semver {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(to, "{major}.{minor}.{patch}")?;
        if !self.pre.is_empty() {
            write!(to, "-{}", self.pre.join("."))?;
        }
        if !self.build.is_empty() {
            write!(to, "+{}", self.build.join("."))?;
        }
        Ok(())
    }
}
