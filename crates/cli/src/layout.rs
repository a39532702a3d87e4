//! The folder of an OCI layout (OCI image layout specification), read as the archive that it is not.
//!
//! Only what the specification names is read: `oci-layout`, `index.json`, and regular files below
//! `blobs/ALGORITHM`. Links are left out, so that a folder from a stranger leads nowhere else.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Pieces of the archive that wait for whoever reads it.
const PIECES_MOST: usize = 8;
/// Bytes of one piece.
const PIECE: usize = 256 << 10;

/// A tar of the folder, in pieces. What fails on the way is the last piece.
pub fn archive(folder: &Path) -> Result<mpsc::Receiver<io::Result<Bytes>>> {
    let shown = folder.display();
    if !folder.join("oci-layout").is_file() || !folder.join("index.json").is_file() {
        bail!("the folder {shown} is no OCI layout: it has no oci-layout and index.json");
    }
    let names = names(folder).with_context(|| format!("reading {shown}"))?;
    let (send, pieces) = mpsc::channel(PIECES_MOST);
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut tar = tar::Builder::new(Pieces { send: send.clone(), piece: Vec::new() });
        let written = names.iter().try_for_each(|name| append(&mut tar, &folder, name));
        if let Err(error) = written.and_then(|()| tar.into_inner()?.flush()) {
            // Whoever read has gone: then nobody waits for the reason.
            let _ = send.blocking_send(Err(error));
        }
    });
    Ok(pieces)
}

/// The files of the layout, relative to its folder.
fn names(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = vec![PathBuf::from("oci-layout"), PathBuf::from("index.json")];
    for algorithm in fs::read_dir(folder.join("blobs"))? {
        let algorithm = algorithm?;
        if !algorithm.file_type()?.is_dir() {
            continue;
        }
        for blob in fs::read_dir(algorithm.path())? {
            let blob = blob?;
            if blob.file_type()?.is_file() {
                let below = Path::new("blobs").join(algorithm.file_name());
                names.push(below.join(blob.file_name()));
            }
        }
    }
    Ok(names)
}

fn append(tar: &mut tar::Builder<Pieces>, folder: &Path, name: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(folder.join(name), flags, Mode::empty())?);
    let size = file.metadata()?.len();
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    // Not a byte more than announced, should the file grow meanwhile.
    tar.append_data(&mut header, name, io::Read::take(file, size))
}

/// Collects what is written into pieces.
struct Pieces {
    send: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        let sent = self.send.blocking_send(Ok(piece.into()));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}
