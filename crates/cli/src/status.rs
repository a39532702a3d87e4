//! `skiff status`: whether the cluster runs, for people and for scripts, and what helps. Exit codes as minikube's: a
//! bit for each of host (1), cluster (2) and kubeconfig (4) that is not well, and 85 for a cluster that is not there.

use crate::admin::Admin;
use crate::kubeconfig::{Known, Kubeconfig};
use crate::record::Record;
use crate::run::Run;
use crate::{folder, say};
use anyhow::{Context, Result};
use clap::ArgMatches;
use http::Method;
use skiff_json::{Value, json};

const STOPPED: u8 = 7;
const NOT_READY: u8 = 2;
const MISCONFIGURED: u8 = 4;
const ABSENT: u8 = 85;

/// The cluster's authority as a kubeconfig names it; `None` before its first start.
pub fn authority(run: &Run<'_>) -> Result<Option<String>> {
    let path = run.place.kubeconfig();
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("reading {}", path.display()))?,
    };
    let own: Value =
        skiff_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
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
        "kubeconfig": "Absent",
    });
    let mut next: Vec<String> = Vec::new();
    let up = run.command("up");
    let code = collect_into(run, &mut status, &mut next, &up).await?;
    status["next"] = json!(next);
    Ok((status, code))
}

async fn collect_into(
    run: &Run<'_>,
    status: &mut Value,
    next: &mut Vec<String>,
    up: &str,
) -> Result<u8> {
    if !folder::exists(run)? {
        status["daemon"] = json!("Nonexistent");
        next.push(format!("`{up}` makes it"));
        return Ok(ABSENT);
    }
    let configured = kubeconfig(run, status, next, up)?;
    let Some(mut admin) = Admin::connect(run).await? else {
        next.insert(0, format!("`{up}` starts it"));
        return Ok(STOPPED);
    };
    let pid = admin.pid;
    let told = admin.ask(Method::GET, "/status").await?;
    if let (Value::Object(status), Value::Object(told)) = (&mut *status, told) {
        status.extend(told);
    }
    status["daemon"] = json!("Running");
    status["pid"] = json!(pid);
    if let Some(gone) = status["addressGone"].as_str() {
        let (down, logs) = (run.command("down"), format!("{up} --{gone} ..."));
        next.push(format!(
            "no link has the address of --{gone}: `{down}`, then `{logs}` with one that is there"
        ));
    }
    let served = status["apiserver"] == "Running" || status["apiserver"] == "Elsewhere";
    let well = served && status["kubelet"] != "NotReady";
    if !well {
        next.push(format!("`{}` says why it is not ready", run.command("logs")));
    }
    Ok(if well { 0 } else { NOT_READY } | if configured { 0 } else { MISCONFIGURED })
}

/// The caller's kubeconfigs, and those that `up` wrote to.
pub fn kubeconfigs(run: &Run<'_>) -> Vec<Result<Kubeconfig>> {
    let recorded = Record::read(&run.place).ok().flatten().map(|record| record.kubeconfigs);
    let recorded = recorded.unwrap_or_default().into_iter().map(|path| Ok(Kubeconfig::at(&path)));
    std::iter::once(Kubeconfig::of_caller()).chain(recorded).collect()
}

/// Says in `status` whether kubectl finds the cluster.
fn kubeconfig(run: &Run<'_>, status: &mut Value, next: &mut Vec<String>, up: &str) -> Result<bool> {
    let authority = match authority(run) {
        Ok(Some(authority)) => authority,
        Ok(None) => return Ok(true),
        Err(error) => {
            status["kubeconfig"] = json!(format!("Unreadable ({})", say::explain(&error)));
            next.push(format!("`{up}` writes it anew"));
            return Ok(false);
        }
    };
    let mut state = ("Misconfigured".to_owned(), format!("`{up}` writes the context anew"));
    for file in kubeconfigs(run) {
        match file.and_then(|file| file.knows(&authority)) {
            Ok(Known::No) => {}
            Ok(Known::Current(name)) => {
                status["kubeconfig"] = json!("Current");
                status["context"] = json!(name);
                return Ok(true);
            }
            Ok(Known::Yes(name)) => {
                status["kubeconfig"] = json!("Configured");
                status["context"] = json!(name);
                next.push(format!("`kubectl config use-context {name}` makes it kubectl's"));
                return Ok(true);
            }
            Err(error) => {
                let print = run.command("kubeconfig");
                state = (
                    format!("Unreadable ({})", say::explain(&error)),
                    format!("mend the kubeconfig; `{print}` prints what belongs in it"),
                );
            }
        }
    }
    status["kubeconfig"] = json!(state.0);
    next.push(state.1);
    Ok(false)
}

/// What stands in the way of pods, and what to type.
pub fn obstacle_text(obstacle: &Value) -> String {
    let text = |key: &str| obstacle[key].as_str().unwrap_or("?");
    format!("{}; to let them pass: {}", text("what"), text("command"))
}

/// How a part is that failed once or more.
fn part_text(part: &Value) -> String {
    let text = |key: &str| part[key].as_str().unwrap_or("?");
    let count = |key: &str| part[key].as_u64().unwrap_or(0);
    let state = if part["state"] == "Running" { "runs again" } else { "waits to start again" };
    let (restarts, panics) = (count("restarts"), count("panics"));
    format!(
        "{} {state}: {restarts} restarts, {panics} lost tasks, the last for: {}",
        text("name"),
        text("lastError")
    )
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
    let parts = status["parts"].as_array().into_iter().flatten();
    rows.extend(parts.filter(|part| part["lastError"] != "").map(|part| ("part", part_text(part))));
    for obstacle in status["obstacles"].as_array().into_iter().flatten() {
        rows.push(("network", obstacle_text(obstacle)));
    }
    rows.push(("kubeconfig", text("kubeconfig")));
    rows.push(("data", text("data")));
    rows.iter().for_each(|(name, value)| say::line(format_args!("{name}: {value}")));
    for next in status["next"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        say::line(format_args!("next: {next}"));
    }
}
