//! `skiff status`: whether the cluster runs, for people and for scripts. Exit codes as minikube's: a bit for each of
//! host (1), cluster (2) and Kubernetes (4) that is not well, and 85 for a cluster that is not there.

use crate::admin::Admin;
use crate::commands::Run;
use crate::kubeconfig::{Known, Kubeconfig};
use crate::say;
use anyhow::{Context, Result};
use clap::ArgMatches;
use http::Method;
use serde_json::{Value, json};

const STOPPED: u8 = 7;
const NOT_READY: u8 = 4;
const ABSENT: u8 = 85;

/// Whether there is anything of the cluster.
pub fn exists(run: &Run<'_>) -> bool {
    run.place.folder().exists()
}

/// The cluster's authority as a kubeconfig names it; `None` before its first start.
pub fn authority(run: &Run<'_>) -> Result<Option<String>> {
    let path = run.place.kubeconfig();
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("reading {}", path.display()))?,
    };
    let own: Value =
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
    let data = own["clusters"][0]["cluster"]["certificate-authority-data"].as_str();
    Ok(data.map(str::to_owned))
}

pub async fn run(run: &Run<'_>, words: &ArgMatches) -> Result<u8> {
    let json = words.get_one::<String>("output").is_some_and(|format| format == "json");
    let (status, code) = collect(run).await?;
    match json {
        true => say::line(format_args!("{status:#}")),
        false => print(&status),
    }
    Ok(code)
}

async fn collect(run: &Run<'_>) -> Result<(Value, u8)> {
    let mut status = json!({
        "profile": run.settings.profile,
        "context": run.settings.context(),
        "data": run.settings.data,
        "daemon": "Stopped",
        "apiserver": "Stopped",
        "kubelet": "Stopped",
        "kubeconfig": kubeconfig(run)?,
    });
    if !exists(run) {
        status["daemon"] = json!("Nonexistent");
        return Ok((status, ABSENT));
    }
    let Some(mut admin) = Admin::connect(run).await? else { return Ok((status, STOPPED)) };
    let pid = admin.pid;
    let told = admin.ask(Method::GET, "/status").await?;
    if let (Value::Object(status), Value::Object(told)) = (&mut status, told) {
        status.extend(told);
    }
    status["daemon"] = json!("Running");
    status["pid"] = json!(pid);
    let well = status["apiserver"] == "Running" && status["kubelet"] != "NotReady";
    Ok((status, if well { 0 } else { NOT_READY }))
}

fn kubeconfig(run: &Run<'_>) -> Result<&'static str> {
    let Some(authority) = authority(run)? else { return Ok("Absent") };
    Ok(match Kubeconfig::of_caller()?.knows(&run.settings.context(), &authority)? {
        Known::Current => "Current",
        Known::Yes => "Configured",
        Known::No => "Misconfigured",
    })
}

/// What stands in the way of pods, and what to type.
pub fn obstacle_text(obstacle: &Value) -> String {
    let text = |key: &str| obstacle[key].as_str().unwrap_or("?");
    format!("{}; to let them pass: {}", text("what"), text("command"))
}

fn print(status: &Value) {
    let text = |key: &str| status[key].as_str().unwrap_or("").to_owned();
    say::line(text("context"));
    let mut daemon = text("daemon");
    if let Some(pid) = status["pid"].as_i64() {
        daemon += &format!(" (process {pid}, {})", text("version"));
    }
    let mut api = text("apiserver");
    if !text("server").is_empty() {
        api += &format!(" at {}", text("server"));
    }
    let mut rows = vec![("daemon", daemon), ("apiserver", api), ("kubelet", text("kubelet"))];
    for node in status["nodes"].as_array().into_iter().flatten() {
        let (name, state) = (node["name"].as_str(), node["status"].as_str());
        rows.push(("node", format!("{} {}", name.unwrap_or("?"), state.unwrap_or("Unknown"))));
    }
    if let Some(pods) = status["pods"].as_object().filter(|pods| !pods.is_empty()) {
        let each = pods.iter().map(|(phase, n)| format!("{n} {}", phase.to_lowercase()));
        rows.push(("pods", each.collect::<Vec<_>>().join(", ")));
    }
    let unreadable = status["unreadable"].as_array().into_iter().flatten();
    rows.extend(unreadable.map(|key| ("unreadable", key.as_str().unwrap_or("?").to_owned())));
    for obstacle in status["obstacles"].as_array().into_iter().flatten() {
        rows.push(("network", obstacle_text(obstacle)));
    }
    rows.push(("kubeconfig", text("kubeconfig")));
    rows.push(("data", text("data")));
    rows.iter().for_each(|(name, value)| say::line(format_args!("{name}: {value}")));
}
