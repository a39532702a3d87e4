//! `skiff backup`: the daemon's stream of entries into one file, which is there as a whole or not at all.

use super::entries::EntryType;
use super::parcel::Wrap;
use crate::admin::Admin;
use crate::run::Run;
use crate::{lifecycle, say};
use anyhow::{Context, Result, bail};
use clap::ArgMatches;
use skiff_base::World;
use skiff_json::{Value, json};
use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file of words, not of images that somebody named by mistake.
const PASSPHRASE_MOST: u64 = 4 << 10;

pub async fn run(run: &Run<'_>, words: &ArgMatches) -> Result<u8> {
    let name = words.get_one::<String>("file").context("clap asks for it")?;
    let passphrase = passphrase(words)?;
    let mut admin = lifecycle::running(run).await?;
    let asked = json!({"images": words.get_flag("images")});
    let world = World::real();
    if name == "-" {
        if std::io::stdout().is_terminal() {
            bail!("the standard output is a terminal: name a file, or lead it to one");
        }
        let wrap = Wrap::new(std::io::stdout().lock(), passphrase.as_deref(), &world)?;
        let told = take(&mut admin, &asked, wrap).await?.1;
        say::remark(format_args!("{}", text(&told)));
        return Ok(0);
    }
    let path = std::path::absolute(name).with_context(|| format!("finding {name}"))?;
    let fresh = beside(&path);
    let taken = to_file(&mut admin, &asked, &fresh, passphrase.as_deref(), &world).await;
    let placed = taken.and_then(|told| {
        std::fs::rename(&fresh, &path).with_context(|| format!("naming it {}", path.display()))?;
        Ok(told)
    });
    let told = match placed {
        Ok(told) => told,
        Err(error) => {
            // Part of a backup is none. That it could not be made is what counts.
            let _ = std::fs::remove_file(&fresh);
            return Err(error);
        }
    };
    let locked = if passphrase.is_some() {
        "locked by the passphrase"
    } else {
        "it holds the cluster's keys"
    };
    say::step(format_args!("{}: {} ({locked})", path.display(), text(&told)));
    Ok(0)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

async fn to_file(
    admin: &mut Admin,
    asked: &Value,
    fresh: &Path,
    passphrase: Option<&[u8]>,
    world: &World,
) -> Result<Value> {
    let mut options = std::fs::OpenOptions::new();
    // A link that somebody put there is not followed.
    let file = options.write(true).create_new(true).mode(0o600).open(fresh);
    let file = file.with_context(|| format!("making {}", fresh.display()))?;
    let wrap = Wrap::new(file, passphrase, world)?;
    let (file, told) = take(admin, asked, wrap).await?;
    file.sync_all().with_context(|| format!("writing {}", fresh.display()))?;
    Ok(told)
}

/// Wraps what the daemon sends; what its last entry says.
async fn take<W: Write>(admin: &mut Admin, asked: &Value, mut wrap: Wrap<W>) -> Result<(W, Value)> {
    let mut body = admin.stream("/backup", asked).await?;
    let mut last = Last::default();
    while let Some(piece) = body.next().await? {
        last.see(&piece);
        wrap.put(&piece).context("writing the backup")?;
    }
    let told = last.end()?;
    Ok((wrap.finish().context("writing the backup")?, told))
}

/// Follows the entries as far as it takes to know that the stream came to its end.
#[derive(Default)]
struct Last {
    head: Vec<u8>,
    left: usize,
    body: Vec<u8>,
    type_: Option<EntryType>,
}

impl Last {
    fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left == 0 {
                let n = bytes.len().min(5 - self.head.len());
                self.head.extend(&bytes[..n]);
                bytes = &bytes[n..];
                if let [letter, a, b, c, d] = self.head[..] {
                    self.type_ = EntryType::of(letter);
                    self.left = u32::from_le_bytes([a, b, c, d]) as usize;
                    self.head.clear();
                    self.body.clear();
                }
                continue;
            }
            let n = bytes.len().min(self.left);
            if matches!(self.type_, Some(EntryType::End | EntryType::Error)) {
                self.body.extend(&bytes[..n]);
            }
            self.left -= n;
            bytes = &bytes[n..];
        }
    }

    fn end(&self) -> Result<Value> {
        match self.type_ {
            Some(EntryType::End) if self.left == 0 => Ok(skiff_json::from_slice(&self.body)?),
            Some(EntryType::Error) => bail!("{}", String::from_utf8_lossy(&self.body)),
            _ => bail!("the daemon ended in the middle of it: see `skiff logs`"),
        }
    }
}

fn text(told: &Value) -> String {
    let number = |name: &str| told[name].as_u64().unwrap_or(0);
    let images = match number("images") {
        0 => String::new(),
        n => format!(" and {n} images"),
    };
    format!("{} objects as of revision {}{images}", number("records"), number("revision"))
}

/// The words of `--passphrase-file`; a line's end behind them is not theirs.
pub fn passphrase(words: &ArgMatches) -> Result<Option<Vec<u8>>> {
    let Some(path) = words.get_one::<String>("passphrase-file") else { return Ok(None) };
    let opened = File::open(path).with_context(|| format!("opening {path}"))?;
    let mut text = Vec::new();
    opened
        .take(PASSPHRASE_MOST + 1)
        .read_to_end(&mut text)
        .with_context(|| format!("reading {path}"))?;
    while text.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        text.pop();
    }
    match text.len() as u64 {
        0 => bail!("{path} holds no passphrase"),
        1..=PASSPHRASE_MOST => Ok(Some(text)),
        _ => bail!("{path} is too large for a passphrase"),
    }
}

/// Opens a backup; `-` is the standard input.
pub fn open(name: &str) -> Result<Box<dyn Read + Send>> {
    if name == "-" {
        if std::io::stdin().is_terminal() {
            bail!("the standard input is a terminal: name a file, or lead one to it");
        }
        return Ok(Box::new(std::io::stdin()));
    }
    match File::open(name) {
        Ok(file) => Ok(Box::new(std::io::BufReader::with_capacity(256 << 10, file))),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("there is no file {name}"),
        Err(error) => Err(error).with_context(|| format!("opening {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::entries::put;
    use super::*;

    #[test]
    fn the_end_is_seen_however_the_stream_is_cut() {
        let mut all = Vec::new();
        put(&mut all, EntryType::Record, &[b'E'; 300]).unwrap();
        put(&mut all, EntryType::End, br#"{"records":1}"#).unwrap();
        for size in [1, 2, 7, 100, all.len()] {
            let mut last = Last::default();
            all.chunks(size).for_each(|piece| last.see(piece));
            assert_eq!(last.end().unwrap()["records"], 1);
        }
        let mut last = Last::default();
        last.see(&all[..all.len() - 1]);
        assert!(last.end().unwrap_err().to_string().contains("in the middle"));
        let mut last = Last::default();
        let mut refused = Vec::new();
        put(&mut refused, EntryType::Error, b"the disk burns").unwrap();
        last.see(&refused);
        assert_eq!(last.end().unwrap_err().to_string(), "the disk burns");
    }
}
