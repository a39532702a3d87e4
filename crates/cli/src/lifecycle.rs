//! `up`, `down`, `delete`: a cluster's life.
//!
//! `up` ends when the node is Ready and leaves a daemon behind; every step of it finds out whether it is done already,
//! so that it may be typed at any time. `down` ends daemon and containers and keeps the data. `delete` leaves nothing.

use crate::admin::{self, Admin};
use crate::daemon::{self, Ended};
use crate::kubeconfig::Kubeconfig;
use crate::record::Record;
use crate::run::Run;
use crate::settings;
use crate::{folder, place, say, status};
use anyhow::{Context, Result, bail};
use clap::ArgMatches;
use http::Method;
use skiff_base::World;
use skiff_json::{Value, json};
use std::time::Duration;

pub async fn up(run: &Run<'_>, words: &ArgMatches) -> Result<u8> {
    let world = World::real();
    let limit_s = words.get_one::<u64>("timeout").copied().context("it has a default")?;
    let file = before(run)?;
    let lock = folder::claim(run)?;
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
    let context = tell_kubectl(run, &file)?;
    if wait != "none" {
        let path = format!("/ready?for={wait}");
        let Some(ready) = world.within(limit, admin.ask(Method::GET, &path)).await else {
            bail!("the cluster is not ready after {limit_s} s: see `{}`", run.command("logs"));
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
    say::step(format_args!("kubectl's context is {context:?} ({})", file.path().display()));
    let took = world.uptime().as_secs_f64();
    if words.get_flag("demo") {
        demo(run, &context, &mut admin, world, limit).await?;
    } else {
        say::step(format_args!("Ready after {took:.1} s"));
        say::next(&[
            (kubectl(run, &context, "get pods -A"), "what runs"),
            (run.command("status"), "how the cluster is"),
            (run.command("up --demo"), "deploy something and fetch its page"),
        ]);
    }
    Ok(0)
}

/// What can be found wrong before anything is touched.
fn before(run: &Run<'_>) -> Result<Kubeconfig> {
    run.sources.keep_what_is_made(&run.command("delete"))?;
    run.sources.beaten().iter().for_each(|line| {
        say::remark(format_args!("{line}: `{}` lists them", run.command("config")));
    });
    let file = Kubeconfig::of_caller()?;
    if let Err(error) = file.check() {
        bail!(
            "{}; nothing was started: mend the file or name another in $KUBECONFIG, `{}` prints what belongs in it",
            say::explain(&error),
            run.command("kubeconfig")
        );
    }
    Ok(file)
}

/// Writes the context into the caller's kubeconfig, and notes where, for `delete`; the context's name.
fn tell_kubectl(run: &Run<'_>, file: &Kubeconfig) -> Result<String> {
    let own = own_kubeconfig(run)?;
    let path = file.path().to_owned();
    let context = file.merge(&own, run.place.folder())?;
    let usual = run.settings.context();
    if context != usual {
        say::remark(format_args!(
            "{} has another cluster's {usual:?}, which stays: this one is {context:?} there",
            path.display()
        ));
    }
    if let Some(mut record) = Record::read(&run.place)?
        && !record.kubeconfigs.contains(&path)
    {
        record.kubeconfigs.push(path);
        record.write(&run.place)?;
    }
    Ok(context)
}

/// A kubectl command that means this cluster, whatever is current.
fn kubectl(run: &Run<'_>, context: &str, rest: &str) -> String {
    match run.settings.is_host() {
        true => format!("kubectl {rest}"),
        false => format!("kubectl --context {context} {rest}"),
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
    if run.sources.flags.keys().any(|name| *name != "data") {
        say::remark("the cluster runs already; settings count from the next `up` after a `down`");
    } else {
        say::step(format_args!("{} runs already", run.settings.context()));
    }
}

/// Keeps what the flags said, so that the next `up` need not be told again.
fn remember(run: &Run<'_>) -> Result<()> {
    let path = run.place.remembered();
    // Under the lock: another `up` may have been told something since this one began.
    let before = settings::read_file(&path)?.unwrap_or_default();
    let mut known = before.clone();
    known.extend(run.sources.flags.clone().into_iter().filter(|(name, _)| *name != "data"));
    if known == before { Ok(()) } else { place::write(&path, settings::text(&known)?.as_bytes()) }
}

fn own_kubeconfig(run: &Run<'_>) -> Result<Value> {
    let path = run.place.kubeconfig();
    let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    skiff_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
}

async fn demo(
    run: &Run<'_>,
    context: &str,
    admin: &mut Admin,
    world: World,
    limit: Duration,
) -> Result<()> {
    let say = |line: &Value| {
        if let Some(text) = line["say"].as_str() {
            say::step(text);
        }
    };
    let body = json!({"timeoutSeconds": limit.as_secs()});
    let last = admin.lines("/demo", &body, say).await.context("the demo")?;
    let page = text(&last, "page");
    say::step(format_args!("Served after {:.1} s: {page}", world.uptime().as_secs_f64()));
    let kubectl = |rest: &str| kubectl(run, context, rest);
    // A further profile's addresses are in a machine of its own: from here they are reached through its API.
    let fetch = match run.settings.is_host() {
        true => format!("curl http://{}", text(&last, "address")),
        false => kubectl("get --raw /api/v1/namespaces/default/services/demo/proxy/"),
    };
    say::next(&[
        (kubectl("get pods -o wide"), "the demo's pods"),
        (fetch, "its page, from one of them"),
        (kubectl("scale deployment demo --replicas=5"), "more of them"),
        (kubectl("logs deployment/demo"), "what one of them said"),
        (kubectl("delete deployment,service demo"), "take it away"),
    ]);
    Ok(())
}

pub async fn down(run: &Run<'_>) -> Result<u8> {
    if !folder::exists(run)? {
        say::step(format_args!("There is no cluster {:?}", run.settings.context()));
        return Ok(0);
    }
    let _lock = folder::lock(run.place.folder())?;
    let ended = daemon::stop(run).await?;
    run.host.end(&run.settings)?;
    let name = run.settings.context();
    match ended {
        Ended::Now => {
            say::step(format_args!("Stopped {name}; `{}` starts it again", run.command("up")));
        }
        Ended::Before => say::step(format_args!("{name} does not run")),
    }
    Ok(0)
}

pub async fn delete(run: &Run<'_>) -> Result<u8> {
    let folder = run.place.folder();
    let name = run.settings.context();
    if !folder::exists(run)? {
        if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            bail!("{} holds no cluster of Skiff's: nothing is removed", folder.display());
        }
        say::step(format_args!("There is no cluster {name:?}"));
        return Ok(0);
    }
    let _lock = folder::lock(folder)?;
    daemon::stop(run).await?;
    run.host.end(&run.settings)?;
    run.host.remove_traces(&run.settings)?;
    forget(run);
    match folder::clear(run)? {
        None => say::step(format_args!("Removed every trace of {name}")),
        Some(left) => say::step(format_args!("Removed {name}; left, as it is not Skiff's: {left}")),
    }
    Ok(0)
}

/// Takes the contexts out again, of the caller's files and of those that `up` wrote to. What cannot be read is not
/// changed, and keeps nothing of the cluster alive.
fn forget(run: &Run<'_>) {
    let authority = match status::authority(run) {
        Ok(Some(authority)) => authority,
        Ok(None) => return,
        Err(error) => return say::remark(format_args!("skiff: {}", say::explain(&error))),
    };
    for file in status::kubeconfigs(run) {
        if let Err(error) = file.and_then(|file| file.remove(&authority)) {
            say::remark(format_args!("skiff: the context stays: {}", say::explain(&error)));
        }
    }
}

/// Used by commands that need a cluster that runs.
pub async fn running(run: &Run<'_>) -> Result<Admin> {
    match folder::exists(run)? {
        true => Admin::open(run).await,
        false => Err(admin::none(run)),
    }
}
