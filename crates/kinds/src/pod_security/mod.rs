//! Pod Security: how much a pod may ask for, by the labels of its namespace (Kubernetes documentation: Pod Security
//! Standards; KEP-2579).
//!
//! A policy is a level and a version for each of three modes. The checks themselves are a table (`checks`). What a
//! namespace's labels cannot say is read as the strictest where it enforces, and as nothing where it only tells.

mod checks;
mod volumes;

use skiff_api::errors::{Errors, Path};
use skiff_api::object::Object;
use skiff_json::Value;
use std::fmt;

/// What the labels of a namespace begin with.
pub const LABELS: &str = "pod-security.kubernetes.io/";
/// The modes, as labels and settings name them.
pub const MODES: [&str; 3] = ["enforce", "audit", "warn"];

/// How much a pod may ask for, the most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// The version whose checks count; `Latest` comes after all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Of major version 1.
    Minor(u64),
    Latest,
}

/// One mode of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standard {
    pub level: Level,
    pub version: Version,
}

impl Standard {
    const NONE: Standard = Standard { level: Level::Privileged, version: Version::Latest };
}

/// What counts in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub enforce: Standard,
    pub audit: Standard,
    pub warn: Standard,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { enforce: Standard::NONE, audit: Standard::NONE, warn: Standard::NONE }
    }
}

impl Level {
    const NAMES: [(&'static str, Level); 3] = [
        ("privileged", Level::Privileged),
        ("baseline", Level::Baseline),
        ("restricted", Level::Restricted),
    ];

    fn parse(text: &str) -> Result<Level, &'static str> {
        let found = Level::NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, level)| *level).ok_or("must be one of privileged, baseline, restricted")
    }
}

impl Version {
    fn parse(text: &str) -> Result<Version, &'static str> {
        let minor = |text: &str| {
            let plain = text.bytes().all(|b| b.is_ascii_digit());
            let padded = text.len() > 1 && text.starts_with('0');
            // Of the numbers that upstream can hold.
            text.parse::<i64>().ok().filter(|_| plain && !padded)?.try_into().ok()
        };
        match text.strip_prefix("v1.").and_then(minor) {
            Some(minor) => Ok(Version::Minor(minor)),
            None if text == "latest" => Ok(Version::Latest),
            None => Err("must be \"latest\" or \"v1.x\""),
        }
    }

    fn minor(self) -> u64 {
        match self {
            Version::Minor(minor) => minor,
            Version::Latest => u64::MAX,
        }
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Level::NAMES.iter().find(|(_, level)| *level == self.level);
        f.write_str(name.map_or("", |(name, _)| name))?;
        match self.version {
            Version::Minor(minor) => write!(f, ":v1.{minor}"),
            Version::Latest => f.write_str(":latest"),
        }
    }
}

impl Policy {
    /// The policy of a namespace with these labels, and what is wrong with them.
    pub fn of_labels<'a>(
        label: impl Fn(&str) -> Option<&'a str>,
        defaults: Policy,
    ) -> (Policy, Errors) {
        let (mut policy, mut errors) = (defaults, Errors::new());
        let (mut enforced, mut warns, mut warn_version) = (false, false, false);
        for mode in MODES {
            let (level_key, version_key) =
                (format!("{LABELS}{mode}"), format!("{LABELS}{mode}-version"));
            let mut wrong = |key: &str, value: &str, why| {
                errors.invalid(&Path::new("metadata.labels").key(key), value, why);
            };
            let (level, version) = (label(&level_key), label(&version_key));
            let standard = policy.mode(mode);
            if let Some(text) = level {
                let parsed = Level::parse(text);
                // What enforces fails closed, what only tells fails open.
                let other = if mode == "enforce" { Level::Restricted } else { Level::Privileged };
                standard.level = parsed.unwrap_or(other);
                enforced |= mode == "enforce" && parsed.is_ok();
                parsed.err().into_iter().for_each(|why| wrong(&level_key, text, why));
            }
            if let Some(text) = version {
                let parsed = Version::parse(text);
                standard.version = parsed.unwrap_or(Version::Latest);
                parsed.err().into_iter().for_each(|why| wrong(&version_key, text, why));
            }
            if mode == "warn" {
                (warns, warn_version) = (level.is_some(), version.is_some());
            }
        }
        // Who enforces without a word about warnings is warned of as much.
        if enforced && !warns && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if !warn_version {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, errors)
    }

    /// Takes what a setting says: `enforce=baseline` or `warn=restricted:v1.30`.
    pub fn set(&mut self, text: &str) -> Result<(), String> {
        let (mode, standard) = text.split_once('=').unwrap_or(("", text));
        if !MODES.contains(&mode) {
            return Err(format!("it has to begin with one of {}=", MODES.join("=, ")));
        }
        let (level, version) = standard.split_once(':').unwrap_or((standard, "latest"));
        let said = |what: &'static str| move |why: &str| format!("its {what} {why}");
        *self.mode(mode) = Standard {
            level: Level::parse(level).map_err(said("level"))?,
            version: Version::parse(version).map_err(said("version"))?,
        };
        Ok(())
    }

    fn mode(&mut self, mode: &str) -> &mut Standard {
        match mode {
            "enforce" => &mut self.enforce,
            "audit" => &mut self.audit,
            _ => &mut self.warn,
        }
    }

    /// Whether nothing is asked of any pod.
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|it| it.level == Level::Privileged)
    }
}

/// Who and what no policy counts for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exemptions {
    pub namespaces: Vec<String>,
    pub runtime_classes: Vec<String>,
    pub users: Vec<String>,
}

impl Exemptions {
    /// Takes what a setting says: `namespace=NAME`, `runtime-class=NAME` or `user=NAME`.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let (type_, name) = text.split_once('=').unwrap_or((text, ""));
        let (list, wrong) = match type_ {
            "namespace" => (&mut self.namespaces, skiff_api::names::label(name)),
            "runtime-class" => (&mut self.runtime_classes, skiff_api::names::subdomain(name)),
            "user" if name.is_empty() => return Err("it names nobody".to_owned()),
            "user" => (&mut self.users, Vec::new()),
            _ => {
                return Err(
                    "it has to begin with one of namespace=, runtime-class=, user=".to_owned()
                );
            }
        };
        if let Some(why) = wrong.first() {
            return Err(why.to_string());
        }
        list.push(name.to_owned());
        Ok(())
    }
}

/// A pod, or the template of one, as the checks read it.
#[derive(Clone, Copy)]
pub struct Pod<'a> {
    /// What holds `metadata` and `spec`.
    pub value: &'a Value,
}

/// What a pod asks for beyond its standard: each a reason, and where it asks.
#[derive(Debug, PartialEq, Eq)]
pub struct Violations(Vec<(String, String)>);

impl Violations {
    /// What `standard` has against this pod; `None` when nothing.
    pub fn of(pod: Pod, standard: Standard) -> Option<Violations> {
        let found = checks::run(pod, standard.level, standard.version.minor());
        if found.is_empty() { None } else { Some(Violations(found)) }
    }

    /// In short: what a list of pods is told.
    pub fn reasons(&self) -> String {
        self.0.iter().map(|(reason, _)| reason.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// In full, each reason with its places.
impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (reason, detail)) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{reason}")?;
            if !detail.is_empty() {
                write!(f, " ({detail})")?;
            }
        }
        Ok(())
    }
}

/// Whether an update of a pod changes what the checks look at: containers come, or another image runs in one.
pub fn changes(new: &Object, old: &Object) -> bool {
    let pairs = |path| (new.list(path), old.list(path));
    let runs = |one: &Value, other: &Value| one.get("image") != other.get("image");
    let fixed = ["spec.containers", "spec.initContainers"].into_iter().map(pairs);
    fixed.into_iter().any(|(new, old)| {
        new.len() != old.len() || new.iter().zip(old).any(|(one, other)| runs(one, other))
    }) || new.list("spec.ephemeralContainers").iter().any(|one| {
        let (_, before) = pairs("spec.ephemeralContainers");
        let other = before.iter().find(|other| other.get("name") == one.get("name"));
        other.is_none_or(|other| runs(one, other))
    })
}

#[cfg(test)]
mod tests;
