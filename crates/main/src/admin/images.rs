//! The node's images through the admin socket: list, load, remove, pull.
//!
//! Archives are streamed: the request's bytes go through a short queue to the thread that unpacks them. After a
//! refusal the rest of an archive is read and thrown away, so that the caller hears why instead of a broken pipe.

use super::{Door, Lines};
use anyhow::{Context, Result, bail};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use skiff_api::view::View;
use skiff_base::Lock;
use skiff_image::{Error, Image, Images, Progress, PullOptions, Reference, Removed, Used};
use skiff_json::{Value, json};
use skiff_kinds::views::Pod;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Pieces of an archive between the socket and the thread that unpacks.
const PIECES_MOST: usize = 8;
/// A blob on its way is told of as often as a person can read it.
const BETWEEN_LINES: Duration = Duration::from_millis(200);

/// `{"images": [...]}`, names as Docker prints them.
pub fn list(images: &Images) -> Value {
    json!({"images": images.list().iter().map(|image| row(image)).collect::<Vec<_>>()})
}

fn row(image: &Image) -> Value {
    json!({
        "id": image.id.to_string(),
        "tags": familiar(&image.repo_tags),
        "digests": familiar(&image.repo_digests),
        "repoTags": image.repo_tags,
        "repoDigests": image.repo_digests,
        "size": image.size,
        "created": image.created,
        "architecture": image.architecture,
    })
}

fn familiar(names: &[String]) -> Vec<String> {
    let short = |name: &String| Reference::parse(name).map_or(name.clone(), |name| name.familiar());
    names.iter().map(short).collect()
}

/// Loads an archive; the names, or IDs, of what was in it.
pub async fn load(images: &Images, mut body: Incoming) -> Result<Value> {
    let (send, pieces) = mpsc::channel(PIECES_MOST);
    let images = images.clone();
    let unpack =
        tokio::task::spawn_blocking(move || images.load(Pieces { pieces, current: Bytes::new() }));
    while let Some(frame) = body.frame().await {
        let (piece, broken) = match frame {
            Ok(frame) => (frame.into_data().map_err(|_| io::ErrorKind::InvalidData.into()), false),
            Err(error) => (Err(io::Error::other(error)), true),
        };
        // It has refused the archive already: the rest is thrown away.
        let _ = send.send(piece).await;
        if broken {
            break;
        }
    }
    drop(send);
    let loaded = unpack.await.context("unpacking the archive")??;
    tracing::info!(images = ?loaded, "loaded");
    Ok(json!({"loaded": familiar(&loaded)}))
}

/// The pieces as a reader for a thread that may wait.
struct Pieces {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.current = piece?,
            }
        }
        let n = buffer.len().min(self.current.len());
        buffer[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}

/// Takes a name off an image, and the image away with its last name, unless pods use it.
pub async fn remove(door: &Door, document: &Value) -> Result<Value> {
    let name = name(document)?;
    let used = if document["force"] == true { Used::Remove } else { Used::Keep };
    let removed = match take_away(door, &name, used).await? {
        Err(Error::Used { name, containers }) => {
            let pods = users(door, &containers).await?;
            if !pods.is_empty() {
                let pods = pods.join(", ");
                bail!("image {name} is in use by {pods}: delete what uses it, or say --force");
            }
            take_away(door, &name, Used::Remove).await??
        }
        other => other?,
    };
    Ok(json!({
        "untagged": familiar(&removed.untagged),
        "deleted": removed.deleted.map(|id| id.to_string()),
    }))
}

async fn take_away(door: &Door, name: &str, used: Used) -> Result<Result<Removed, Error>> {
    let (images, name) = (door.images.clone(), name.to_owned());
    Ok(tokio::task::spawn_blocking(move || images.remove(&name, used)).await?)
}

/// The pods of these containers, by name. What no pod's status names is about to be taken away.
async fn users(door: &Door, containers: &[String]) -> Result<Vec<String>> {
    // An agent may see the pods of its own node, which are the ones that use its images.
    let own = match door.api {
        Some(_) => String::new(),
        None => format!("fieldSelector=spec.nodeName%3D{}", door.settings.node),
    };
    let pods = door.client.list(Pod::RESOURCE, "", &own).await?;
    let pods: Result<Vec<Pod>, _> =
        pods.into_iter().map(|pod| skiff_json::from_value(pod.into_value())).collect();
    let pods = pods.context("reading the pods of this node")?;
    let uses = |pod: &&Pod| {
        let status = &pod.status;
        let mut all = status
            .container_statuses
            .iter()
            .chain(&status.init_container_statuses)
            .chain(&status.ephemeral_container_statuses);
        all.any(|one| containers.iter().any(|id| one.container_id.rsplit('/').next() == Some(id)))
    };
    let name = |pod: &Pod| format!("pod {}/{}", pod.metadata.namespace, pod.metadata.name);
    Ok(pods.iter().filter(uses).map(name).collect())
}

/// Pulls an image; lines tell how far each blob is, the last of each that it is complete.
pub async fn pull(door: &Door, document: &Value, out: &Lines) -> Result<Value> {
    let name = name(document)?;
    let (seen, out) = (Lock::new(BTreeMap::new()), out.clone());
    let world = door.world.clone();
    let progress = move |progress: Progress| {
        let Progress { blob, done, total } = progress;
        let mut seen = seen.lock();
        let (told, at) = seen.get(&blob).copied().unwrap_or((None, world.uptime()));
        let due = world.uptime().saturating_sub(at) >= BETWEEN_LINES || told.is_none();
        if (due && told != Some(done)) || (done == total && told != Some(total)) {
            seen.insert(blob, (Some(done), world.uptime()));
            // A reader that is slow misses a line; the result comes for sure.
            let _ = out.try_send(json!({"blob": blob.to_string(), "done": done, "total": total}));
        }
    };
    let options = PullOptions {
        mirrors: crate::agent::mirrors(&door.settings),
        progress: Some(Arc::new(progress)),
        ..PullOptions::default()
    };
    let image = door.images.pull(&name, options).await?;
    let mut row = row(&image);
    row["name"] = json!(Reference::parse(&name)?.familiar());
    Ok(row)
}

fn name(document: &Value) -> Result<String> {
    Ok(document["name"].as_str().context("the request names no image")?.to_owned())
}
