//! From parsed words to the command that does it.

use crate::credential::Credential;
use crate::host::{Host, Mode};
use crate::record::Record;
use crate::run::{Run, block};
use crate::settings::{self, SETTINGS, Settings, Sources, Written};
use crate::{
    Place, admin, completion, config, daemon, demo_server, encryption, folder, images, keep,
    lifecycle, logs, profiles, say, status, upgrade,
};
use anyhow::{Context, Result, bail};
use clap::ArgMatches;
use clap_complete::Shell;
use skiff_json::json;
use std::path::{Path, PathBuf};

/// Runs it; the exit code.
pub fn run(matches: &ArgMatches, host: &dyn Host) -> Result<u8> {
    let (word, words) = matches.subcommand().context("clap asks for a command")?;
    match word {
        "version" => version(words, host),
        "completion" => {
            let shell = words.get_one::<Shell>("shell").context("clap asks for a shell")?;
            completion::print(*shell, host.kubernetes());
            Ok(0)
        }
        "demo-server" => demo_server::run().map(|()| 0),
        _ => as_root(word, words, host),
    }
}

fn as_root(word: &str, words: &ArgMatches, host: &dyn Host) -> Result<u8> {
    if !rustix::process::geteuid().is_root() {
        let args = std::env::args_os().skip(1);
        let args = args.map(|arg| format!(" {}", say::quoted(&arg.to_string_lossy())));
        bail!("`skiff {word}` needs root: run it as `sudo skiff{}`", args.collect::<String>());
    }
    let deepest = words.subcommand().map_or(words, |(_, below)| below);
    let (settings, sources) = settings(deepest)?;
    let place = Place::of(&settings.data);
    let config = deepest.get_one::<String>("config").cloned();
    let run = Run { host, settings, place, sources, config };
    match word {
        "server" => serve(words, run),
        "agent" => join(words, run),
        "up" => block(lifecycle::up(&run, words)),
        "down" => block(lifecycle::down(&run)),
        "delete" => block(lifecycle::delete(&run)),
        "status" => block(status::run(&run, words)),
        "logs" => logs::run(&run.place, words).map(|()| 0),
        "image" => block(images::run(&run, words)),
        "config" => config::run(&run, words),
        "profile" => block(profiles::run(&run, words)),
        "kubeconfig" => kubeconfig(&run),
        "backup" => block(keep::backup::run(&run, words)),
        "restore" => block(keep::restore::run(&run, words)),
        "upgrade" => block(upgrade::run(&run, words)),
        "secrets-encrypt" => block(encryption::run(&run, words)),
        other => bail!("there is no command {other}"),
    }
}

fn serve(words: &ArgMatches, run: Run<'_>) -> Result<u8> {
    let mode = if words.get_flag("background") { Mode::Background } else { Mode::Foreground };
    if mode == Mode::Foreground && !daemon::has_begun() {
        claim(&run)?;
    }
    run.host.serve(run.settings, mode).map(|()| 0)
}

fn join(words: &ArgMatches, run: Run<'_>) -> Result<u8> {
    let path = words.get_one::<String>("kubeconfig").context("clap asks for it")?;
    let mut credential = Credential::read(Path::new(path))?;
    if let Some(server) = words.get_one::<String>("server") {
        credential.server.clone_from(server);
    }
    if !daemon::has_begun() {
        claim(&run)?;
    }
    run.host.join(run.settings, credential).map(|()| 0)
}

/// What `up` does before it starts a daemon; here nobody else did.
fn claim(run: &Run<'_>) -> Result<()> {
    run.sources.keep_what_is_made(&run.command("delete"))?;
    folder::claim(run)?;
    if run.settings.is_host() {
        run.host.raise(&run.settings)?;
    }
    Ok(())
}

fn version(words: &ArgMatches, host: &dyn Host) -> Result<u8> {
    let (skiff, kubernetes) = (env!("CARGO_PKG_VERSION"), host.kubernetes());
    match words.get_one::<String>("output").map(String::as_str) {
        Some("json") => {
            let format = host.store_format();
            say::line(json!({"skiffVersion": format!("v{skiff}"), "kubernetesVersion": kubernetes,
                "storeFormat": format}))
        }
        _ => say::line(format_args!("skiff version: v{skiff}\nkubernetes version: {kubernetes}")),
    }
    Ok(0)
}

fn kubeconfig(run: &Run<'_>) -> Result<u8> {
    let path = run.place.kubeconfig();
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(admin::none(run)),
        other => other.with_context(|| format!("reading {}", path.display()))?,
    };
    let value: skiff_json::Value = skiff_json::from_str(&text)
        .with_context(|| format!("{} is damaged: `skiff up` writes it anew", path.display()))?;
    say::line(crate::yaml::text(&value)?.trim_end());
    Ok(0)
}

/// The settings of the cluster that is meant, and where they come from.
fn settings(words: &ArgMatches) -> Result<(Settings, Sources)> {
    let profile: &String = words.get_one("profile").context("it has a default")?;
    check_profile(profile)?;
    let (file_path, file) = config_file(words, profile)?;
    let mut sources = Sources {
        file,
        file_path,
        environment: environment()?,
        flags: flags(words),
        ..Sources::default()
    };
    let place = Place::of(&settings::data_folder(profile, &sources));
    // What was decided counts, before anything of it is read.
    keep::restore::finish(&place)?;
    sources.remembered = settings::read_file(&place.remembered())?.unwrap_or_default();
    sources.made = Record::read(&place)?.map(|record| record.fixed).unwrap_or_default();
    let host_name = rustix::system::uname();
    let host_name = host_name.nodename().to_string_lossy();
    Ok((Settings::resolve(profile, &host_name, &sources)?, sources))
}

/// The profile becomes a host name, a cgroup and a part of file names.
fn check_profile(profile: &str) -> Result<()> {
    /// `skiff-machine` takes no longer names.
    const NAME_MOST: usize = 32;
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let first = profile.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if first && profile.len() <= NAME_MOST && profile.bytes().all(letter) {
        return Ok(());
    }
    bail!("profile {profile:?}: use 1 to {NAME_MOST} of a-z 0-9 -, a letter first")
}

fn flags(words: &ArgMatches) -> Written {
    let mut flags = Written::new();
    for setting in SETTINGS {
        let given = words.try_get_many::<String>(setting.name).ok().flatten();
        if let Some(values) = given {
            flags.insert(setting.name, values.cloned().collect());
        }
    }
    flags
}

fn environment() -> Result<Written> {
    let mut written = Written::new();
    for setting in SETTINGS {
        let variable = setting.variable();
        match std::env::var(&variable) {
            Ok(value) if setting.repeats() => {
                let values = value.split(',').map(str::to_owned).collect();
                written.insert(setting.name, values);
            }
            Ok(value) => {
                written.insert(setting.name, vec![value]);
            }
            Err(std::env::VarError::NotPresent) => {}
            Err(error) => bail!("${variable}: {error}"),
        }
    }
    Ok(written)
}

/// The file that was named has to be there; the usual one need not.
fn config_file(words: &ArgMatches, profile: &str) -> Result<(PathBuf, Written)> {
    // `up` has told all settings by flags; the file may be half edited when the daemon begins anew.
    if matches!(words.try_get_one::<bool>("background"), Ok(Some(true))) {
        return Ok(Default::default());
    }
    let named = words.get_one::<String>("config").map(PathBuf::from);
    let named = named.or_else(|| std::env::var_os("SKIFF_CONFIG").map(PathBuf::from));
    if let Some(path) = named {
        let found = settings::read_file(&path)?;
        let found = found.with_context(|| format!("there is no file {}", path.display()))?;
        return Ok((path, found));
    }
    let name = if profile == settings::HOST_PROFILE { "config" } else { profile };
    let usual = Path::new("/etc/skiff").join(format!("{name}.yaml"));
    let found = settings::read_file(&usual)?.unwrap_or_default();
    Ok((usual, found))
}
