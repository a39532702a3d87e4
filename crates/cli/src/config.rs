//! `skiff config`: what counts for this cluster and where it comes from; `config reset` forgets what flags left.

use crate::run::Run;
use crate::settings::{self, SETTINGS, Written};
use crate::{folder, place, say};
use anyhow::{Context, Result, bail};
use clap::ArgMatches;

pub fn run(run: &Run<'_>, words: &ArgMatches) -> Result<u8> {
    match words.subcommand() {
        Some(("reset", words)) => reset(run, words),
        _ => list(run),
    }
}

fn list(run: &Run<'_>) -> Result<u8> {
    let mut rows = vec![["SETTING", "VALUE", "FROM"].map(str::to_owned).to_vec()];
    let (flags, file) = (run.settings.flags(), run.sources.file_path.display().to_string());
    for setting in SETTINGS {
        let flag = format!("--{}", setting.name);
        let values = flags.chunks(2).filter(|pair| pair[0] == flag).map(|pair| pair[1].clone());
        let value = values.collect::<Vec<_>>().join(",");
        let layers = run.sources.layers();
        let from = match layers.iter().find(|(_, layer)| layer.contains_key(setting.name)) {
            Some(("file", _)) => file.clone(),
            Some(("environment", _)) => setting.variable(),
            Some((source, _)) => (*source).to_owned(),
            None => "default".to_owned(),
        };
        rows.push(vec![setting.name.to_owned(), value, from]);
    }
    say::table(&rows);
    run.sources.beaten().iter().for_each(|line| {
        say::remark(format_args!("{line}: `{}` forgets it", run.command("config reset NAME")));
    });
    Ok(0)
}

/// Forgets flags of earlier `up`s; what the cluster was made with stays.
fn reset(run: &Run<'_>, words: &ArgMatches) -> Result<u8> {
    if !folder::exists(run)? {
        bail!("there is no cluster {:?}: nothing is remembered", run.settings.context());
    }
    let _lock = folder::lock(run.place.folder())?;
    let path = run.place.remembered();
    let mut known: Written = settings::read_file(&path)?.unwrap_or_default();
    for name in words.get_many::<String>("names").context("clap asks for names")? {
        if run.sources.made.contains_key(name.as_str()) {
            bail!(
                "the cluster was made with its {name}, which cannot change: `{}` first",
                run.command("delete")
            );
        }
        match known.remove(name.as_str()) {
            Some(values) => say::step(format_args!("Forgot --{name} {}", values.join(","))),
            None => say::step(format_args!("No flag of an earlier `up` named {name}")),
        }
    }
    place::write(&path, settings::text(&known)?.as_bytes())?;
    say::step(format_args!("It counts from the next `{}` on, after a `down`", run.command("up")));
    Ok(0)
}
