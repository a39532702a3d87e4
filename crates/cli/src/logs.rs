//! `skiff logs`: the daemon's own log, its end first and then what comes. New lines are told by the kernel
//! (inotify(7)).

use crate::{Place, say};
use anyhow::{Context, Result, bail};
use clap::ArgMatches;
use rustix::fs::inotify;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is read of a log at once.
const CHUNK: usize = 64 << 10;

pub fn run(place: &Place, words: &ArgMatches) -> Result<()> {
    let lines = *words.get_one::<usize>("lines").context("it has a default")?;
    let path = place.log();
    if !path.exists() {
        bail!("there is no log yet at {}: `skiff up` begins one", path.display());
    }
    let watch = words.get_flag("follow").then(|| watch(&place.log_folder())).transpose()?;
    let mut file = File::open(&path)?;
    let newest = read(&mut file)?;
    let mut text = newest.clone();
    if text.iter().filter(|byte| **byte == b'\n').count() < lines {
        // The log was rotated a moment ago: the rest is in the part before.
        text = [before(&path)?, newest].concat();
    }
    print(tail(&text, lines))?;
    let Some(watch) = watch else { return Ok(()) };
    loop {
        wait(&watch)?;
        print(&read(&mut file)?)?;
        if replaced(&path, &file)? {
            file = File::open(&path)?;
            print(&read(&mut file)?)?;
        }
    }
}

fn watch(folder: &Path) -> Result<rustix::fd::OwnedFd> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    let events = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE;
    inotify::add_watch(&watch, folder, events)?;
    Ok(watch)
}

fn wait(watch: &rustix::fd::OwnedFd) -> Result<()> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(watch, &mut buffer);
    reader.next()?;
    while !reader.is_buffer_empty() {
        reader.next()?;
    }
    Ok(())
}

/// Whether another file has this name now.
fn replaced(path: &Path, file: &File) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(now) => Ok(now.ino() != file.metadata()?.ino()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn before(path: &Path) -> Result<Vec<u8>> {
    let older = PathBuf::from(format!("{}.1", path.display()));
    match File::open(&older) {
        Ok(mut file) => read(&mut file),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("reading {}", older.display())),
    }
}

/// From where the file stands to its end.
fn read(file: &mut File) -> Result<Vec<u8>> {
    let mut text = Vec::with_capacity(CHUNK);
    let at = file.stream_position()?;
    if file.metadata()?.len() < at {
        file.seek(SeekFrom::Start(0))?;
    }
    file.read_to_end(&mut text)?;
    Ok(text)
}

fn tail(text: &[u8], lines: usize) -> &[u8] {
    let end = text.strip_suffix(b"\n").unwrap_or(text);
    let mut starts = end.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    match lines.checked_sub(1) {
        None => &text[text.len()..],
        Some(n) => starts.nth(n).map_or(text, |(at, _)| &text[at + 1..]),
    }
}

fn print(text: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            say::remark(format_args!("skiff: {error}"));
            Err(error.into())
        }
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_text() {
        for (text, lines, end) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 1, "c"),
            ("a\nb\n", 5, "a\nb\n"),
            ("a\n", 0, ""),
            ("", 3, ""),
        ] {
            assert_eq!(tail(text.as_bytes(), lines), end.as_bytes(), "{text:?} {lines}");
        }
    }
}
