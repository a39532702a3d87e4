//! Runs upstream's conformance suite against a Skiff of its own, in a machine in a namespace.
//!
//!     conformance [--focus REGEX] [--json] [--list]      what `tests/conformance/run` takes
//!
//! `tests/conformance/build` makes the suite and its images first. The images are loaded into the node, and a registry
//! inside the machine serves them to those tests that pull whatever is there. Reports go to `target/conformance`.

use anyhow::{Context, Result, ensure};
use skiff_tests::cluster::Cluster;
use skiff_tests::kit;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

const REGISTRY: &str = "127.0.0.1:5000";

fn main() -> Result<ExitCode> {
    let folder = kit::root().join("tests/conformance");
    let images = images()?;
    let cluster = Cluster::empty("conformance");
    let registry = Registry::start(&cluster, &folder)?;
    cluster.skiff(&["up", "--registry-mirror", &format!("registry.k8s.io=http://{REGISTRY}")]);
    for image in &images {
        cluster.skiff(&["image", "load", &image.display().to_string()]);
    }
    let status = cluster
        .inside(&folder.join("run"))
        .args(std::env::args_os().skip(1))
        .env("KUBECONFIG", cluster.config())
        .env("KIT", kit_folder())
        .env("OUT", kit::root().join("target/conformance"))
        .status()
        .context("run tests/conformance/run")?;
    drop(registry);
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where `tests/conformance/build` puts what it makes: inside the machine, `$HOME` is another one.
fn kit_folder() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    std::env::var_os("KIT").map_or_else(|| home().join(".cache/skiff-conformance"), PathBuf::from)
}

fn images() -> Result<Vec<PathBuf>> {
    let folder = kit_folder().join("images");
    let missing = || format!("{}: run tests/conformance/build first", folder.display());
    let entries = std::fs::read_dir(&folder).with_context(missing)?;
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(|it| it.map(|it| it.path())).collect();
    let mut images = paths.with_context(missing)?;
    images.retain(|path| path.extension().is_some_and(|it| it == "tar"));
    ensure!(!images.is_empty(), missing());
    images.sort();
    Ok(images)
}

/// The registry inside the machine; it ends with this value.
struct Registry(Child);

impl Registry {
    fn start(cluster: &Cluster, folder: &Path) -> Result<Registry> {
        let mut command: Command = cluster.inside(&folder.join("registry.py"));
        command.arg(REGISTRY).env("KIT", kit_folder()).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Registry(command.spawn().context("start the registry")?))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left of it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
