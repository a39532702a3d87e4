//! `up`, `down`, `delete`: a cluster's life.
//!
//! `up` ends when the node is Ready and leaves a daemon behind; every step of it finds out whether it is done already,
//! so that it may be typed at any time. `down` ends daemon and containers and keeps the data. `delete` leaves nothing.

use crate::admin::{self, Admin};
use crate::commands::Run;
use crate::daemon::{self, Ended};
use crate::kubeconfig::Kubeconfig;
use crate::settings::{self, Written};
use crate::{say, status};
use anyhow::{Context, Result, bail};
use clap::ArgMatches;
use http::Method;
use serde_json::{Value, json};
use skiff_base::World;
use std::time::Duration;

pub async fn up(run: &Run<'_>, words: &ArgMatches) -> Result<u8> {
    let world = World::real();
    let limit_s = words.get_one::<u64>("timeout").copied().context("it has a default")?;
    let lock = daemon::lock(run)?;
    remember(run)?;
    let mut admin = match Admin::connect_living(run).await? {
        Some(admin) => {
            told_too_late(run);
            admin
        }
        None => start(run, limit_s).await?,
    };
    let wait = words.get_one::<String>("wait").map_or("node", |v| v);
    let limit = Duration::from_secs(limit_s);
    let own = own_kubeconfig(run)?;
    let file = Kubeconfig::of_caller()?;
    file.merge(&own).await?;
    if wait != "none" {
        let path = format!("/ready?for={wait}");
        let Some(ready) = world.within(limit, admin.ask(Method::GET, &path)).await else {
            bail!("the cluster is not ready after {limit_s} s: see `skiff logs`");
        };
        let ready = ready?;
        say::step(format_args!("The API answers at {}", text(&ready, "server")));
        if let Some(node) = ready["node"].as_str() {
            say::step(format_args!("Node {node} is Ready"));
        }
        for obstacle in ready["obstacles"].as_array().into_iter().flatten() {
            say::remark(status::obstacle_text(obstacle));
        }
    }
    drop(lock);
    let context = run.settings.context();
    say::step(format_args!("kubectl's context is {context:?} ({})", file.path.display()));
    let took = world.uptime().as_secs_f64();
    if words.get_flag("demo") {
        demo(&mut admin, world, limit).await?;
    } else {
        say::step(format_args!("Ready after {took:.1} s"));
        say::next(&[
            ("kubectl get pods -A".into(), "what runs"),
            (command(run, "status"), "how the cluster is"),
            (command(run, "up --demo"), "deploy something and fetch its page"),
        ]);
    }
    Ok(0)
}

/// A command with the profile that it needs.
fn command(run: &Run<'_>, rest: &str) -> String {
    match run.settings.is_host() {
        true => format!("skiff {rest}"),
        false => format!("skiff {rest} -p {}", run.settings.profile),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

async fn start(run: &Run<'_>, limit_s: u64) -> Result<Admin> {
    say::step(format_args!(
        "Starting {} (data in {})",
        run.settings.context(),
        run.settings.data.display()
    ));
    run.host.raise(&run.settings)?;
    daemon::start(run, limit_s)?;
    Admin::open(run).await
}

/// A daemon that runs keeps the settings that it began with.
fn told_too_late(run: &Run<'_>) {
    if run.flags.keys().any(|name| *name != "data") {
        say::remark("the cluster runs already; settings count from the next `up` after a `down`");
    } else {
        say::step(format_args!("{} runs already", run.settings.context()));
    }
}

/// Keeps what the flags said, so that the next `up` need not be told again.
fn remember(run: &Run<'_>) -> Result<()> {
    let path = run.place.remembered();
    let mut known: Written = settings::read_file(&path)?.unwrap_or_default();
    known.extend(run.flags.clone().into_iter().filter(|(name, _)| *name != "data"));
    std::fs::write(&path, settings::text(&known)?)
        .with_context(|| format!("writing {}", path.display()))
}

fn own_kubeconfig(run: &Run<'_>) -> Result<Value> {
    let path = run.place.kubeconfig();
    let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
}

async fn demo(admin: &mut Admin, world: World, limit: Duration) -> Result<()> {
    let say = |line: &Value| {
        if let Some(text) = line["say"].as_str() {
            say::step(text);
        }
    };
    let body = json!({"timeoutSeconds": limit.as_secs()});
    let last = admin.lines("/demo", &body, say).await.context("the demo")?;
    let page = text(&last, "page");
    say::step(format_args!("Served after {:.1} s: {page}", world.uptime().as_secs_f64()));
    say::next(&[
        ("kubectl get pods -o wide".into(), "the demo's pods"),
        (format!("curl http://{}", text(&last, "address")), "its page, from one of them"),
        ("kubectl scale deployment demo --replicas=5".into(), "more of them"),
        ("kubectl logs deployment/demo".into(), "what one of them said"),
        ("kubectl delete deployment,service demo".into(), "take it away"),
    ]);
    Ok(())
}

pub async fn down(run: &Run<'_>) -> Result<u8> {
    if !status::exists(run) {
        say::step(format_args!("There is no cluster {:?}", run.settings.context()));
        return Ok(0);
    }
    let _lock = daemon::lock(run)?;
    let ended = daemon::stop(run).await?;
    run.host.end(&run.settings)?;
    let name = run.settings.context();
    match ended {
        Ended::Now => {
            say::step(format_args!("Stopped {name}; `{}` starts it again", command(run, "up")));
        }
        Ended::Before => say::step(format_args!("{name} does not run")),
    }
    Ok(0)
}

pub async fn delete(run: &Run<'_>) -> Result<u8> {
    let folder = run.place.folder();
    let name = run.settings.context();
    if !status::exists(run) {
        say::step(format_args!("There is no cluster {name:?}"));
        return Ok(0);
    }
    let foreign = !run.place.remembered().exists() && !run.place.authority().exists();
    if foreign && folder.read_dir()?.next().is_some() {
        bail!("{} holds no cluster: nothing is removed", folder.display());
    }
    let _lock = daemon::lock(run)?;
    daemon::stop(run).await?;
    run.host.end(&run.settings)?;
    run.host.remove_traces(&run.settings)?;
    if let Some(authority) = status::authority(run)? {
        Kubeconfig::of_caller()?.remove(&name, &authority).await?;
    }
    std::fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    say::step(format_args!("Removed every trace of {name}"));
    Ok(0)
}

/// Used by commands that need a cluster that runs.
pub async fn running(run: &Run<'_>) -> Result<Admin> {
    match status::exists(run) {
        true => Admin::open(run).await,
        false => Err(admin::none(run)),
    }
}
