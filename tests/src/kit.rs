//! The programs that tests need: the real kubectl, the client program of `tests/clients/`, the
//! `skiff` under test.
//!
//! `tests/kit/install` makes them; here they are only found, with a sentence that says what to run
//! when one is missing. Nothing is taken from PATH by accident: a test that runs against another
//! kubectl than it names proves nothing.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

/// Upstream's kubectl 1.37.1, from `$SKIFF_KUBECTL` or the kit.
pub fn kubectl() -> Result<PathBuf> {
    find("SKIFF_KUBECTL", &[bin("kubectl")], "run `tests/kit/install kubectl`")
}

/// The client program that is not ours, see `tests/clients/go`.
pub fn client() -> Result<PathBuf> {
    find("SKIFF_CLIENT", &[bin("client")], "run `tests/kit/install client`")
}

/// Upstream's judge of a custom resource's rules, for the benchmark, see `tests/kit/go/cel`.
pub fn cel_rules() -> Result<PathBuf> {
    find("SKIFF_CEL_RULES", &[bin("cel-rules")], "run `tests/kit/install oracle`")
}

/// A program of the tours of `tests/clients`: a Helm, an operator, or what starts a script with its libraries.
pub fn tour(name: &str) -> Result<PathBuf> {
    let path = bin(name);
    ensure!(path.is_file(), "{} is not there: run `tests/kit/install tours`", path.display());
    Ok(path)
}

/// The `skiff` under test: `$SKIFF`, or what cargo built last into the workspace's target folder.
pub fn skiff() -> Result<PathBuf> {
    let triple = "x86_64-unknown-linux-gnu";
    let mut built = Vec::new();
    for profile in ["debug", "release"] {
        built.push(root().join("target").join(triple).join(profile).join("skiff"));
        built.push(root().join("target").join(profile).join("skiff"));
    }
    let modified = |p: &PathBuf| p.metadata().and_then(|m| m.modified()).ok();
    built.sort_by_key(|p| std::cmp::Reverse(modified(p)));
    find("SKIFF", &built, "run `cargo build` first")
}

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the checkout")
}

/// A program of the kit: `$SKIFF_KIT/bin/NAME`, by default below `~/.cache/skiff-kit`.
pub fn bin(name: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    let kit = std::env::var_os("SKIFF_KIT")
        .map_or_else(|| PathBuf::from(home()).join(".cache/skiff-kit"), PathBuf::from);
    kit.join("bin").join(name)
}

fn find(variable: &str, places: &[PathBuf], remedy: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    for path in places {
        if path.is_file() {
            return Ok(path.clone());
        }
    }
    bail!("{} is not there: {remedy}, or name one in ${variable}", places[0].display())
}
