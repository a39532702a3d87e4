//! A backup through the admin socket: entries as [`skiff_cli::keep::entries`] has them, at one revision.
//!
//! The records of that revision are held while they are sent, each in the form in which the disk has it; what is
//! changed meanwhile is another record. So nobody who writes waits for a backup, and none is torn.

use super::{Body, Door};
use anyhow::{Context, Result};
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use skiff_base::Tasks;
use skiff_cli::Place;
use skiff_cli::keep::entries::{EntryType, PIECE, put};
use skiff_cli::settings;
use skiff_json::{Value, json};
use skiff_store::{Currency, ListRequest, Seal};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Pieces that wait for a slow reader: all of the stream that memory holds.
const PIECES_MOST: usize = 4;
/// Folders in a profile folder, of seccomp; deeper ones are nobody's.
const DEPTH_MOST: usize = 8;

type Out = mpsc::Sender<Bytes>;

/// Answers with the stream; one that cannot go on says so in its last entry.
pub fn answer(door: &Arc<Door>, document: &Value, tasks: &Tasks) -> Response<Body> {
    let (out, pieces) = mpsc::channel(PIECES_MOST);
    let (door, images) = (door.clone(), document["images"] == true);
    tasks.spawn(async move {
        if let Err(error) = write(&door, images, &out).await {
            tracing::error!("a backup failed: {error:#}");
            let mut last = Vec::new();
            let told = put(&mut last, EntryType::Error, skiff_cli::explain(&error).as_bytes());
            if told.is_ok() {
                // Whoever asked may have gone; then nobody wants to know.
                let _ = out.send(last.into()).await;
            }
        }
    });
    let frames = futures_util::stream::unfold(pieces, async |mut pieces| {
        let piece = pieces.recv().await?;
        Some((Ok(Frame::data(piece)), pieces))
    });
    Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)))
}

async fn write(door: &Door, images: bool, out: &Out) -> Result<()> {
    let plane = door.api.as_ref().context("a node has nothing to be saved: ask its server")?;
    let asked = ListRequest { currency: Currency::Current, ..ListRequest::default() };
    let listed = plane.store.list(asked).await.context("reading the store")?;
    let (revision, mut records) = (listed.revision.0, listed.records);
    records.sort_unstable_by_key(|record| record.revision);
    let mut entries = Entries { out, piece: Vec::with_capacity(PIECE * 2) };
    entries.put(EntryType::Meta, meta(door, revision)?.to_string().as_bytes()).await?;
    let (files, seal) = keys(door).await?;
    for (path, bytes) in files {
        entries.put(EntryType::File, json!({"path": path}).to_string().as_bytes()).await?;
        for piece in bytes.chunks(PIECE) {
            entries.put(EntryType::Data, piece).await?;
        }
    }
    let count = records.len();
    for record in records {
        let row = skiff_store::saved::row(&record, &seal).map_err(anyhow::Error::msg)?;
        entries.put(EntryType::Record, &row).await?;
    }
    let mut taken = 0;
    if images {
        entries.put(EntryType::Images, b"{}").await?;
        entries.flush().await?;
        taken = send_images(door, out).await?;
        entries.put(EntryType::Data, b"").await?;
    }
    let told = json!({"records": count, "revision": revision, "images": taken});
    entries.put(EntryType::End, told.to_string().as_bytes()).await?;
    entries.flush().await?;
    tracing::info!(revision, records = count, images = taken, "a backup was taken");
    Ok(())
}

/// The files, and what seals with a key that is in one of them: both of one moment, though keys may change meanwhile.
async fn keys(door: &Door) -> Result<(Vec<(String, Vec<u8>)>, Option<Arc<dyn Seal>>)> {
    loop {
        let sealer = door.encryption.as_ref().map(|encryption| &encryption.sealer);
        let still = sealer.map(|sealer| sealer.still());
        let mut read = Vec::new();
        for (path, full) in files(&door.settings.data)? {
            let bytes = tokio::fs::read(&full).await;
            read.push((path, bytes.with_context(|| format!("reading {}", full.display()))?));
        }
        if still.iter().zip(sealer).all(|(still, now)| still.is_like(now)) {
            return Ok((read, still.map(|still| Arc::new(still) as Arc<dyn Seal>)));
        }
    }
}

/// The images go through a thread of their own, for they are files.
async fn send_images(door: &Door, out: &Out) -> Result<usize> {
    let (images, out) = (door.images.clone(), out.clone());
    let work = move || images.save(&mut Pieces { out, piece: Vec::with_capacity(PIECE) });
    Ok(tokio::task::spawn_blocking(work).await.context("saving the images")??)
}

/// Bytes of the images as entries.
struct Pieces {
    out: Out,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend(&bytes[..n]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let mut entry = Vec::with_capacity(PIECE + 8);
        put(&mut entry, EntryType::Data, &self.piece).map_err(std::io::Error::other)?;
        self.piece.clear();
        let sent = self.out.blocking_send(entry.into());
        sent.map_err(|_| ErrorKind::BrokenPipe.into())
    }
}

/// Entries on their way out, several in a piece.
struct Entries<'a> {
    out: &'a Out,
    piece: Vec<u8>,
}

impl Entries<'_> {
    async fn put(&mut self, type_: EntryType, bytes: &[u8]) -> Result<()> {
        put(&mut self.piece, type_, bytes)?;
        if self.piece.len() >= PIECE { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<()> {
        let piece = Bytes::from(std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE * 2)));
        self.out.send(piece).await.map_err(|_| anyhow::anyhow!("whoever asked has gone"))
    }
}

/// What the cluster is: what it stands on, and what `up` was told.
fn meta(door: &Door, revision: u64) -> Result<Value> {
    let remembered = settings::read_file(&Place::of(&door.settings.data).remembered())?;
    Ok(json!({
        "revision": revision, "taken": door.world.now().to_string(),
        "kubernetes": skiff_server::paths::VERSION, "storeFormat": skiff_store::saved::FORMAT,
        "fixed": door.settings.fixed(), "settings": remembered.unwrap_or_default(),
    }))
}

/// The files that a cluster is not itself without: its keys, the node's range of pods, profiles that users put there.
fn files(data: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for folder in ["pki", "node/seccomp"] {
        walk(data, folder, DEPTH_MOST, &mut found)
            .with_context(|| format!("listing {}", data.join(folder).display()))?;
    }
    let range = crate::range::file(data);
    if range.exists() {
        found.push(("node/pod-cidr".to_owned(), range));
    }
    found.sort();
    Ok(found)
}

fn walk(
    data: &Path,
    folder: &str,
    deeper: usize,
    found: &mut Vec<(String, PathBuf)>,
) -> std::io::Result<()> {
    let entries = match data.join(folder).read_dir() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        // A link leads to what is somebody else's.
        let kind = entry.file_type()?;
        if kind.is_file() && !name.ends_with(".new") {
            found.push((name, entry.path()));
        } else if kind.is_dir() && deeper > 0 {
            walk(data, &name, deeper - 1, found)?;
        }
    }
    Ok(())
}
