//! `skiff profile list`: the clusters of this machine, running or not.
//!
//! They are found by their data folders: the host's and those beside it with a name behind, those of machines that run,
//! and those that a profile's own file of settings names.

use crate::record::Record;
use crate::run::Run;
use crate::settings::{self, HOST_PROFILE};
use crate::{Place, say};
use anyhow::{Context, Result};
use clap::ArgMatches;
use skiff_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

/// Where files of settings are, one for each profile.
const FILES: &str = "/etc/skiff";

pub async fn run(run: &Run<'_>, words: &ArgMatches) -> Result<u8> {
    let (_, words) = words.subcommand().context("clap asks for a command")?;
    let mut found = Vec::new();
    for (data, profile) in clusters(run)? {
        // Whoever answers there is the daemon: only root can make that socket.
        let runs = UnixStream::connect(Place::of(&data).admin_socket()).await.is_ok();
        let state = if runs { "Running" } else { "Stopped" };
        let context = settings::context(&profile);
        found.push(json!({"profile": profile, "status": state, "context": context, "data": data}));
    }
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("").to_owned();
    if words.get_flag("quiet") {
        found.iter().for_each(|row| say::line(text(row, "profile")));
    } else if words.get_one::<String>("output").is_some_and(|format| format == "json") {
        say::line(format_args!("{:#}", Value::Array(found)));
    } else {
        let keys = ["profile", "status", "context", "data"];
        let mut rows = vec![keys.map(str::to_uppercase).to_vec()];
        rows.extend(found.iter().map(|row| keys.map(|key| text(row, key)).to_vec()));
        say::table(&rows);
    }
    Ok(0)
}

/// Data folders that hold a cluster, with its profile.
fn clusters(run: &Run<'_>) -> Result<BTreeMap<PathBuf, String>> {
    let base = settings::data_folder(HOST_PROFILE, &run.sources);
    let mut folders = vec![base.clone(), run.settings.data.clone()];
    let beside = format!("{}-", base.display());
    let parent = base.parent().unwrap_or(Path::new("/"));
    folders.extend(
        list(parent).into_iter().filter(|path| path.display().to_string().starts_with(&beside)),
    );
    for file in list(Path::new(FILES)) {
        let profile = file.file_stem().map(|name| name.to_string_lossy().into_owned());
        // A file that cannot be read keeps its own profile from starting, not the others from being listed.
        if let (Some(profile), Ok(Some(written))) = (profile, settings::read_file(&file)) {
            let profile = if profile == "config" { HOST_PROFILE.to_owned() } else { profile };
            let sources = settings::Sources { file: written, ..Default::default() };
            folders.push(settings::data_folder(&profile, &sources));
        }
    }
    folders.extend(run.host.machines()?.into_iter().map(|(_, data)| data));
    let mut clusters = BTreeMap::new();
    for folder in folders {
        if let Some(record) = Record::read(&Place::of(&folder))? {
            clusters.insert(folder, record.profile);
        }
    }
    Ok(clusters)
}

/// What is in a folder; one that is not there holds nothing.
fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}
