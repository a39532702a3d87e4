//! `skiff restore`: a backup becomes the data of a new cluster, or takes the place of an old one's.
//!
//! It is built beside what is there (`restore.new`), with every piece proved and every record's sum compared. Only then
//! is it renamed to `restore.ready`, and that name is the decision: from there on it goes forward, file by file, and
//! every command of this cluster first finishes that way ([`finish`]). So an interrupted restore leaves the old data or
//! the new, and never some of both.
//!
//! Revisions jump beyond all that were ever given out: what anybody remembers of before is refused as too old, and
//! everybody lists anew.

use super::backup;
use super::entries::{self, EntryType, FILES_MOST};
use super::parcel::Unwrap;
use crate::admin::Admin;
use crate::host::MakeStore;
use crate::record::Record;
use crate::run::Run;
use crate::settings::{FIXED, SETTINGS, Written};
use crate::{Place, folder, say, settings};
use anyhow::{Context, Result, anyhow, bail};
use clap::ArgMatches;
use skiff_json::Value;
use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

/// A cluster that writes ten thousand times a second gives out fewer revisions within a day: so old may a backup be
/// whose cluster is lost. Where the old store is there, its own newest revision counts.
const JUMP: u64 = 1_000_000_000;
/// What a restore brings, in the order in which it takes its place. What else is below `node` stays: pods that go on
/// find their volumes.
const PARTS: [&str; 7] =
    ["store", "pki", "images", "node/pod-cidr", "node/seccomp", "settings.yaml", "cluster.json"];

pub async fn run(run: &Run<'_>, words: &ArgMatches) -> Result<u8> {
    let name = words.get_one::<String>("file").context("clap asks for it")?;
    let (up, down) = (run.command("up"), run.command("down"));
    if Admin::connect(run).await?.is_some() {
        let again = run.command(&format!("restore {}", say::quoted(name)));
        bail!("cluster {:?} runs: `{down}` first, then `{again}`", run.settings.context());
    }
    let from = backup::open(name)?;
    let unwrapped = Unwrap::new(from, || backup::passphrase(words));
    let unwrapped = unwrapped.with_context(|| format!("restoring {name}"))?;
    let (_lock, made) = folder::claim_bare(run)?;
    let staged = Staged::new(run.place.folder())?;
    let built = build(run, unwrapped, &staged);
    let told = match built.with_context(|| format!("restoring {name}")) {
        Ok(told) => told,
        Err(error) => {
            staged.give_up();
            if made {
                // It was not there before. If it cannot go, it is empty.
                let _ = std::fs::remove_dir(run.place.folder());
            }
            return Err(error);
        }
    };
    // What a daemon that was killed left running is the old cluster's.
    if run.place.folder().join("runtime").exists() {
        run.host.end(&run.settings)?;
    }
    if Admin::connect(run).await?.is_some() {
        staged.give_up();
        bail!(
            "cluster {:?} was started meanwhile: `{down}` first, then again",
            run.settings.context()
        );
    }
    staged.decide(&run.place)?;
    finish_locked(&run.place)?;
    say::step(format_args!(
        "Restored {} objects of revision {} as {}; `{up}` starts it",
        told.records,
        told.revision,
        run.settings.context()
    ));
    Ok(0)
}

/// Finishes a restore that was interrupted behind its decision.
pub fn finish(place: &Place) -> Result<()> {
    if !place.restore_ready().exists() {
        return Ok(());
    }
    let _lock = folder::lock(place.folder())?;
    finish_locked(place)
}

fn finish_locked(place: &Place) -> Result<()> {
    let (ready, into) = (place.restore_ready(), place.folder());
    for part in PARTS {
        let (new, old) = (ready.join(part), into.join(part));
        if new.symlink_metadata().is_err() {
            continue;
        }
        let replace = || -> std::io::Result<()> {
            remove(&old)?;
            if let Some(above) = old.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(above)?;
            }
            std::fs::rename(&new, &old)?;
            File::open(old.parent().unwrap_or(into))?.sync_all()
        };
        replace().with_context(|| format!("putting {} in its place", old.display()))?;
    }
    remove(&ready).with_context(|| format!("removing {}", ready.display()))
}

fn remove(path: &Path) -> std::io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(());
        }
        found => found?,
    };
    if found.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
}

/// What came out of the file.
struct Told {
    records: u64,
    revision: u64,
}

/// The folder in which the new data come to be.
struct Staged(PathBuf);

impl Staged {
    fn new(data: &Path) -> Result<Staged> {
        let path = data.join("restore.new");
        let made = || -> std::io::Result<()> {
            remove(&path)?;
            DirBuilder::new().mode(0o700).create(&path)
        };
        made().with_context(|| format!("making {}", path.display()))?;
        Ok(Staged(path))
    }

    fn give_up(&self) {
        if let Err(error) = remove(&self.0) {
            say::remark(format_args!("{} stays, and may be removed: {error}", self.0.display()));
        }
    }

    /// From here on there is no way back.
    fn decide(&self, place: &Place) -> Result<()> {
        let decide = || -> std::io::Result<()> {
            File::open(&self.0)?.sync_all()?;
            std::fs::rename(&self.0, place.restore_ready())?;
            File::open(place.folder())?.sync_all()
        };
        decide().context("deciding for the restored data")
    }

    /// A file of its own, below folders of its own.
    fn file(&self, path: &str) -> Result<File> {
        let inner = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        let is_known = ["pki/", "node/seccomp/"].iter().any(|folder| path.starts_with(folder))
            || PARTS[3..].contains(&path);
        if !inner || !is_known {
            bail!("it names the file {path:?}, which is not a cluster's");
        }
        let full = self.0.join(path);
        let open = || -> std::io::Result<File> {
            let above = full.parent().unwrap_or(&self.0);
            DirBuilder::new().recursive(true).mode(0o700).create(above)?;
            File::options().write(true).create_new(true).mode(0o600).open(&full)
        };
        open().with_context(|| format!("making {}", full.display()))
    }
}

/// Reads the whole file into the new folder.
fn build(run: &Run<'_>, mut from: Unwrap<Box<dyn Read + Send>>, staged: &Staged) -> Result<Told> {
    let first = entries::next(&mut from)?;
    let Some((EntryType::Meta, meta)) = first else {
        bail!("its first entry does not say what it is")
    };
    let meta: Value = skiff_json::from_slice(&meta).context("its first entry")?;
    let revision = meta["revision"].as_u64().context("it names no revision")?;
    let beyond = beyond(run, revision)?;
    let mut store = run.host.make_store(&staged.0.join("store"), beyond)?;
    let (mut records, mut files) = (0, 0);
    let mut open: Option<File> = None;
    let told = loop {
        let Some((type_, bytes)) = entries::next(&mut from)? else { bail!("it has no end") };
        match type_ {
            EntryType::Record => {
                store.add(&bytes)?;
                records += 1;
            }
            EntryType::File => {
                files += 1;
                if files > FILES_MOST {
                    bail!("it names too many files");
                }
                if let Some(done) = open.take() {
                    done.sync_all()?;
                }
                let path: Value = skiff_json::from_slice(&bytes)?;
                open = Some(staged.file(path["path"].as_str().unwrap_or(""))?);
            }
            EntryType::Data => open.as_mut().context("bytes of no file")?.write_all(&bytes)?,
            EntryType::Images => {
                let mut images = Images { from: &mut from, piece: Vec::new(), at: 0, ended: false };
                run.host.take_images(&staged.0.join("images"), &mut images)?;
                // What stands behind them up to their end.
                std::io::copy(&mut images, &mut std::io::sink())?;
            }
            EntryType::End => break skiff_json::from_slice::<Value>(&bytes)?,
            EntryType::Error | EntryType::Meta => bail!("an entry is not where it belongs"),
        }
    };
    if entries::next(&mut from)?.is_some() || told["records"] != records {
        bail!("it holds something else than it says");
    }
    if let Some(done) = open {
        done.sync_all()?;
    }
    MakeStore::finish(store)?;
    settle(run, &meta, staged)?;
    Ok(Told { records, revision })
}

/// The bytes of the images, up to an empty entry.
struct Images<'a> {
    from: &'a mut (dyn Read + Send),
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for Images<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.piece.len() && !self.ended {
            match entries::next(self.from).map_err(std::io::Error::other)? {
                Some((EntryType::Data, piece)) => {
                    self.ended = piece.is_empty();
                    (self.piece, self.at) = (piece, 0);
                }
                _ => return Err(std::io::Error::other("the images are cut short")),
            }
        }
        let n = buffer.len().min(self.piece.len() - self.at);
        buffer[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// Above every revision that anybody can have seen of this cluster.
fn beyond(run: &Run<'_>, of_backup: u64) -> Result<u64> {
    let own = run.host.newest_revision(&run.place.folder().join("store"))?;
    if own.is_none() {
        say::remark(
            "the store that is there cannot be read; its revisions are taken to be a day's at most",
        );
    }
    let newest = own.unwrap_or(0).max(of_backup);
    newest.checked_add(JUMP).context("its revision is out of range")
}

/// The record and the settings: the backup's, for this profile. What this cluster was told itself stays.
fn settle(run: &Run<'_>, meta: &Value, staged: &Staged) -> Result<()> {
    let known = |of: &Value| -> Result<Written> {
        let mut written = Written::new();
        for (name, values) in of.as_object().into_iter().flatten() {
            let setting = SETTINGS.iter().find(|setting| setting.name == name);
            let setting = setting
                .with_context(|| format!("it was told {name:?}, which is no setting here"))?;
            let values = values.as_array().into_iter().flatten();
            let values: Vec<String> =
                values.filter_map(|value| value.as_str().map(str::to_owned)).collect();
            for value in &values {
                setting.check(value).map_err(|why| anyhow!("its setting {name}: {why}"))?;
            }
            written.insert(setting.name, values);
        }
        Ok(written)
    };
    let fixed = known(&meta["fixed"])?;
    if let Some(name) = FIXED.iter().find(|name| fixed.get(*name).is_none_or(Vec::is_empty)) {
        bail!("it does not say what {name} the cluster was made with");
    }
    let before = Record::read(&run.place)?;
    let kubeconfigs = before.map(|record| record.kubeconfigs).unwrap_or_default();
    let record = Record { profile: run.settings.profile.clone(), fixed, kubeconfigs };
    let inner = Place::of(&staged.0);
    if !run.place.remembered().exists() {
        let told = known(&meta["settings"])?;
        crate::place::write(&inner.remembered(), settings::text(&told)?.as_bytes())?;
    }
    record.write(&inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("skiff-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A restore that is cut off at any step behind its decision is finished by whoever comes next.
    #[test]
    fn it_goes_forward_from_wherever_it_was_cut_off() {
        let data = folder("forward");
        let place = Place::of(&data);
        for done in 0..PARTS.len() {
            for (at, part) in PARTS.iter().enumerate() {
                let write = |path: PathBuf, text: &str| {
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, text).unwrap();
                };
                remove(&data.join(part)).unwrap();
                let is_done = at < done;
                write(data.join(part), if is_done { "new" } else { "old" });
                if !is_done {
                    write(place.restore_ready().join(part), "new");
                }
                // Removed, and not yet put in its place.
                if at == done {
                    remove(&data.join(part)).unwrap();
                }
            }
            write_ready(&place);
            finish(&place).unwrap();
            for part in PARTS {
                assert_eq!(
                    std::fs::read_to_string(data.join(part)).unwrap(),
                    "new",
                    "{done} {part}"
                );
            }
            assert!(!place.restore_ready().exists());
            finish(&place).unwrap();
        }
        std::fs::remove_dir_all(data).unwrap();
    }

    fn write_ready(place: &Place) {
        std::fs::create_dir_all(place.restore_ready()).unwrap();
    }

    #[test]
    fn files_stay_where_they_belong() {
        let data = folder("staged");
        let staged = Staged::new(&data).unwrap();
        for good in ["pki/ca.key", "node/pod-cidr", "node/seccomp/mine/a.json"] {
            staged.file(good).unwrap();
        }
        for bad in ["/etc/passwd", "pki/../../x", "store/store.db", "", "node/pods/x", "pki/ca.key"]
        {
            assert!(staged.file(bad).is_err(), "{bad}");
        }
        staged.give_up();
        assert!(!staged.0.exists());
        std::fs::remove_dir_all(data).unwrap();
    }
}
