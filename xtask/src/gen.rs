//! `cargo xtask gen`: read the facts of the Kubernetes API out of upstream's Go modules and write
//! the two tables that `crates/api` is built from.
//!
//! Three sources say different things about one field. The Go types know pointers, `omitempty`,
//! patch markers and protobuf numbers; OpenAPI v2 knows what is required and how lists are owned;
//! OpenAPI v3 alone knows defaults. They are joined here by definition and field name, and any
//! disagreement stops the run. Facts only: descriptions are sentences and never enter the tables.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::gen_discovery;
use crate::gen_facts;

/// The release whose facts are read; `xtask/gen/go.mod` pins the matching modules.
const KUBERNETES: &str = "k8s.io/kubernetes@v1.37.1";

pub fn run() -> Result<()> {
    let root = crate::cargo::root();
    let data = root.join("crates/api/data");
    let program = root.join("xtask/gen");
    fs::create_dir_all(&data)?;
    let upstream = module_folder(&program, KUBERNETES)?.join("api");
    let types = run_go(&program, &["run", "."])?;
    let types = serde_json::from_slice(&types).context("reading the answer of xtask/gen")?;
    let swagger = read_json(&upstream.join("openapi-spec/swagger.json"))?;
    let v3 = read_folder(&upstream.join("openapi-spec/v3"))?;
    write(&data.join("v1.37.schema"), &gen_facts::table(&types, &swagger, &v3)?)?;
    write(
        &data.join("v1.37.discovery"),
        &gen_discovery::table(&|name| read_json(&upstream.join("discovery").join(name)))?,
    )
}

/// The folder of a module in Go's cache, downloaded if it is not there yet.
fn module_folder(program: &Path, module: &str) -> Result<PathBuf> {
    let answer = run_go(program, &["mod", "download", "-json", module])?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let folder = answer["Dir"].as_str().context("`go mod download` names no folder")?;
    Ok(PathBuf::from(folder))
}

fn run_go(folder: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new("go")
        .args(arguments)
        .current_dir(folder)
        .output()
        .context("running go; `cargo xtask gen` needs Go 1.26 or newer in the PATH")?;
    if !output.status.success() {
        bail!("go {arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

fn read_json(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("parsing {}", path.display()))
}

fn read_folder(folder: &Path) -> Result<Vec<Value>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|it| it.map(|it| it.path())).collect::<Result<_, _>>()?;
    paths.sort();
    paths.iter().map(|path| read_json(path)).collect()
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    println!("{}: {} lines", path.display(), text.lines().count());
    Ok(())
}
