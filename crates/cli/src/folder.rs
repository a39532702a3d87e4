//! The data folder: claimed by `up`, emptied by `delete`. Never here: a file of anybody else's touched.

use crate::place::MADE;
use crate::record::Record;
use crate::run::Run;
use crate::say;
use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, Mode, flock};
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// What every new file system begins with.
const LOST_AND_FOUND: &str = "lost+found";
/// All that an `up` leaves that was killed while it wrote the record.
/// The second one is a restore's.
const UNFINISHED: [&str; 2] = ["cluster.new", "restore.new"];
/// A socket's path is at most this long (unix(7)), and the longest that is made in the folder is this.
const SOCKET_MOST: usize = 107;
const LONGEST_SOCKET: &str = "/runtime/supervisor.sock";
/// Names of foreign files that an error lists.
const NAMED_MOST: usize = 3;

/// One `up`, `down` or `delete` at a time: the second waits for the first.
pub fn lock(folder: &Path) -> Result<File> {
    let file = File::open(folder).with_context(|| format!("opening {}", folder.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        say::remark("waiting for another skiff that works on this cluster");
        flock(&file, FlockOperation::LockExclusive)?;
    }
    Ok(file)
}

/// Makes the folder ours, if it is not; refuses one that holds anything else.
pub fn claim(run: &Run<'_>) -> Result<File> {
    let (lock, _) = claim_bare(run)?;
    if !run.place.record().exists() {
        let record = Record {
            profile: run.settings.profile.clone(),
            fixed: run.settings.fixed(),
            kubeconfigs: Vec::new(),
        };
        record.write(&run.place)?;
    }
    Ok(lock)
}

/// The same without a record of what it is; whether the folder was made.
pub fn claim_bare(run: &Run<'_>) -> Result<(File, bool)> {
    let folder = run.place.folder();
    check_path(run)?;
    check_machine(run)?;
    let new = !folder.exists();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| {
        format!("making the data folder {}: name another with --data", folder.display())
    })?;
    let lock = lock(folder)?;
    match Record::read(&run.place)? {
        Some(record) => record.belongs_to(&run.settings.profile, &run.place)?,
        None => refuse_foreign(run)?,
    }
    keep_to_root(&lock, folder)?;
    Ok((lock, new))
}

fn check_path(run: &Run<'_>) -> Result<()> {
    let folder = run.place.folder().display().to_string();
    if folder.len() + LONGEST_SOCKET.len() > SOCKET_MOST {
        let most = SOCKET_MOST - LONGEST_SOCKET.len();
        bail!("{folder}: the name is too long for the sockets in it: --data takes {most} letters");
    }
    Ok(())
}

/// A machine in namespaces has a `/run` and a `/proc` of its own: nothing of ours is seen in there.
fn check_machine(run: &Run<'_>) -> Result<()> {
    let folder = run.place.folder();
    let real = folder.ancestors().find_map(|part| part.canonicalize().ok());
    let real = real.with_context(|| format!("finding {}", folder.display()))?;
    let hidden = ["/run", "/proc"].iter().find(|hidden| real.starts_with(hidden));
    match hidden.filter(|_| !run.settings.is_host()) {
        None => Ok(()),
        Some(hidden) => bail!(
            "{}: the machine of profile {} has a {hidden} of its own: name a folder elsewhere with --data",
            folder.display(),
            run.settings.profile
        ),
    }
}

fn refuse_foreign(run: &Run<'_>) -> Result<()> {
    let mut foreign = entries(run.place.folder())?;
    foreign.retain(|name| !UNFINISHED.contains(&name.as_str()));
    if foreign.is_empty() || run.place.is_of_older_skiff() {
        return Ok(());
    }
    let more = if foreign.len() > NAMED_MOST { ", ..." } else { "" };
    let names = foreign.iter().take(NAMED_MOST).cloned().collect::<Vec<_>>().join(", ");
    bail!(
        "{} holds files that are not Skiff's ({names}{more}): name an empty or a new folder with --data",
        run.place.folder().display()
    )
}

/// What is in the folder, sorted.
fn entries(folder: &Path) -> Result<Vec<String>> {
    let listed = || -> std::io::Result<Vec<String>> {
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            Ok(entry?.file_name().to_string_lossy().into_owned())
        };
        folder.read_dir()?.map(name).collect()
    };
    let mut names = listed().with_context(|| format!("listing {}", folder.display()))?;
    names.retain(|name| name != LOST_AND_FOUND);
    names.sort();
    Ok(names)
}

/// Keys, images and volumes are for nobody else. By descriptor: what it means cannot change meanwhile.
fn keep_to_root(file: &File, folder: &Path) -> Result<()> {
    let found = file.metadata().with_context(|| format!("looking at {}", folder.display()))?;
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    if owner == 0 && mode & 0o077 == 0 {
        return Ok(());
    }
    let closing = || format!("closing {} to others: name another with --data", folder.display());
    std::os::unix::fs::fchown(file, Some(0), Some(0)).with_context(closing)?;
    rustix::fs::fchmod(file, Mode::RWXU).with_context(closing)?;
    say::step(format_args!(
        "{} is open to root alone from now on (it was user {owner}'s with mode {mode:o})",
        folder.display()
    ));
    Ok(())
}

/// Whether there is a cluster of this profile; an error if it is another profile's.
pub fn exists(run: &Run<'_>) -> Result<bool> {
    match Record::read(&run.place)? {
        Some(record) => record.belongs_to(&run.settings.profile, &run.place).map(|()| true),
        None => Ok(run.place.is_of_older_skiff()),
    }
}

/// Takes away what the cluster made, and only that; what is left, as a person reads it.
pub fn clear(run: &Run<'_>) -> Result<Option<String>> {
    let folder = run.place.folder();
    let real = folder.canonicalize().with_context(|| format!("finding {}", folder.display()))?;
    let mounts = run.host.mounts(&real)?;
    for path in MADE.map(|name| real.join(name)) {
        let kind = match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.with_context(|| format!("looking at {}", path.display()))?.file_type(),
        };
        // Somebody else put a link or a mount there: what lies behind it is not known to be ours.
        if kind.is_symlink() || mounts.iter().any(|mount| mount.starts_with(&path)) {
            continue;
        }
        let removed = match kind.is_dir() {
            true => std::fs::remove_dir_all(&path),
            false => std::fs::remove_file(&path),
        };
        removed.with_context(|| {
            format!("removing {}: `{}` tries again", path.display(), run.command("delete"))
        })?;
    }
    let mut left = entries(&real)?;
    if !left.is_empty() {
        left.truncate(NAMED_MOST);
        return Ok(Some(format!("{} in {}", left.join(", "), real.display())));
    }
    let empty = format!("the empty folder {}", real.display());
    if std::fs::symlink_metadata(folder).is_ok_and(|found| found.is_symlink()) {
        return Ok(Some(empty));
    }
    match std::fs::remove_dir(&real) {
        Ok(()) => Ok(None),
        // It is a mount point, or holds what only a new file system has.
        Err(error)
            if matches!(error.kind(), ErrorKind::ResourceBusy | ErrorKind::DirectoryNotEmpty) =>
        {
            Ok(Some(empty))
        }
        Err(error) => Err(error).with_context(|| format!("removing {}", real.display())),
    }
}
