//! One pull: resolve the reference, fetch manifest and config, stream the layers, assemble.

use skiff_base::Lock;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, WWW_AUTHENTICATE};
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::assemble::{Drafts, LAYERS_MAX, NewDraft, Parts};
use crate::config::ConfigFile;
use crate::digest::{Digest, HashReader};
use crate::error::Error;
use crate::index::{Image, Names, chain_id};
use crate::lease::Lease;
use crate::load::verify;
use crate::manifest::Platform;
use crate::manifest::{
    DOCKER_LIST, DOCKER_MANIFEST, DOCUMENT_MAX, Descriptor, Document, Manifest, OCI_INDEX,
    OCI_MANIFEST, pick,
};
use crate::reference::Reference;
use crate::registry::client::{Ask, Client, TRIES};
use crate::registry::host::Host;
use crate::registry::{Progress, PullOptions, auth};
use crate::store::Images;
use crate::unpack::decompress;

/// Layers that are transferred at the same time: enough to fill a line, few enough for two cores.
const LAYERS_AT_ONCE: usize = 3;
/// Pieces that wait between the socket and the disk: the socket waits for the disk.
const PIECES_AHEAD: usize = 16;
/// Lists within lists are not in use.
const NESTING_MAX: usize = 2;

/// A pull under way.
pub(crate) struct Fetch {
    images: Images,
    reference: Reference,
    options: PullOptions,
    client: Client,
    hosts: Vec<Host>,
    /// Authorization headers by host.
    tokens: Lock<BTreeMap<String, String>>,
}

/// What a reference led to.
struct Resolved {
    host: Host,
    digest: Digest,
}

impl Fetch {
    pub(crate) async fn run(
        images: &Images,
        reference: Reference,
        options: PullOptions,
    ) -> Result<Arc<Image>, Error> {
        let store = &images.inner.options;
        let fetch = Arc::new(Fetch {
            images: images.clone(),
            client: Client::new(store.world.clone(), &store.ca_bundle),
            hosts: Host::all(&reference, &options.mirrors),
            reference,
            options,
            tokens: Lock::default(),
        });
        let resolved = fetch.resolve().await.map_err(|source| Error::Resolve {
            reference: fetch.reference.to_string(),
            source: Arc::new(source),
        })?;
        match fetch.present(resolved.digest).await? {
            Some(image) => Ok(image),
            None => fetch.image(resolved).await,
        }
    }

    /// The digest that the reference stands for, and who says so. The host that failed latest on
    /// the way (no connection, not there, another answer) says why it did not work.
    async fn resolve(&self) -> Result<Resolved, Error> {
        let mut failure: Option<(u8, Error)> = None;
        for host in &self.hosts {
            let error = match self.resolve_at(host).await {
                Ok(digest) => return Ok(Resolved { host: host.clone(), digest }),
                Err(error) => error,
            };
            let rank = match &error {
                Error::NotFound { .. } => 2,
                Error::Status { .. } => 3,
                _ => 1,
            };
            tracing::debug!(host = host.base, %error, "could not resolve an image");
            if failure.as_ref().is_none_or(|(known, _)| *known < rank) {
                failure = Some((rank, error));
            }
        }
        Err(failure.expect("the registry itself is always among the hosts").1)
    }

    async fn resolve_at(&self, host: &Host) -> Result<Digest, Error> {
        let mut ask =
            Ask::new(Method::HEAD, self.url(host, "manifests", &self.reference.version()));
        ask.accept = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST, "*/*"].join(", ");
        let response = self.send(host, &ask).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                return Err(Error::NotFound { what: self.reference.to_string() });
            }
            status => return Err(ask.status(status)),
        }
        if let Some(digest) = self.reference.digest() {
            return Ok(digest);
        }
        if let Some(header) = response.headers().get("docker-content-digest") {
            return String::from_utf8_lossy(header.as_bytes()).parse();
        }
        // Without the header (it is optional), the document says what its digest is.
        ask.method = Method::GET;
        let response = self.send(host, &ask).await?;
        match response.status() {
            StatusCode::OK => {
                Ok(Digest::of(&self.client.bytes(&ask, response, DOCUMENT_MAX).await?))
            }
            status => Err(ask.status(status)),
        }
    }

    /// The image, if it is here under this digest already: it only gets the name.
    async fn present(&self, digest: Digest) -> Result<Option<Arc<Image>>, Error> {
        let by_digest = self.reference.with_digest(digest);
        let Some(image) = self.images.index().by_reference(&by_digest).cloned() else {
            return Ok(None);
        };
        if image.architecture != self.platform().architecture && self.options.platform.is_some() {
            return Ok(None);
        }
        let (images, names) = (self.images.clone(), self.names(digest));
        block(&self.images, move || {
            images.commit(|index| match index.by_id(image.id) {
                Some(_) => Ok(Some(index.insert((*image).clone(), &names))),
                None => Ok(None),
            })
        })
        .await
    }

    fn names(&self, digest: Digest) -> Names {
        let tags = self.reference.tag().map(|_| self.reference.clone()).into_iter().collect();
        let digests = vec![self.reference.with_digest(digest)];
        Names { tags, digests, given: self.options.given.clone() }
    }

    fn platform(&self) -> Platform {
        self.options.platform.clone().unwrap_or_else(Platform::local)
    }

    async fn image(self: &Arc<Self>, resolved: Resolved) -> Result<Arc<Image>, Error> {
        let host = &resolved.host;
        let (bytes, manifest) = self.manifest(host, resolved.digest).await?;
        let config = self.document(host, "blobs", manifest.config.digest, "config").await?;
        let file = ConfigFile::parse(&config)?;
        let diff_ids = file.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() || diff_ids.len() > LAYERS_MAX {
            let why = format!(
                "the manifest has {} layers, the config names {} (limit: {LAYERS_MAX})",
                manifest.layers.len(),
                diff_ids.len()
            );
            return Err(Error::ReadDocument { what: "image config".to_owned(), why });
        }
        let (_lease, missing) = self.missing(&manifest, &diff_ids);
        let mut drafts = self.layers(host, missing).await?;
        let (images, names) = (self.images.clone(), self.names(resolved.digest));
        block(&self.images, move || {
            let size = Some(manifest.size());
            images.assemble(
                &Parts { config: &config, manifest: Some(&bytes), size, names },
                &mut drafts,
            )
        })
        .await
    }

    /// The layers that are not here, and a lease on those that are.
    fn missing(
        &self,
        manifest: &Manifest,
        diff_ids: &[Digest],
    ) -> (Option<Lease>, Vec<(Descriptor, Digest)>) {
        let index = self.images.index();
        let mut held = Vec::new();
        let mut chain = None;
        let mut asked = BTreeSet::new();
        let mut missing = Vec::new();
        for (layer, diff_id) in manifest.layers.iter().zip(diff_ids) {
            let next = chain_id(chain, *diff_id);
            match index.snapshot(*diff_id, next) {
                Some(number) => held.push(number),
                None if asked.insert(*diff_id) => missing.push((layer.clone(), *diff_id)),
                None => {}
            }
            chain = Some(next);
        }
        // If one went away this moment, assembling says that it is missing and a retry gets it.
        (self.images.lease_snapshots(held), missing)
    }

    async fn layers(
        self: &Arc<Self>,
        host: &Host,
        missing: Vec<(Descriptor, Digest)>,
    ) -> Result<Drafts, Error> {
        let gate = Arc::new(Semaphore::new(LAYERS_AT_ONCE));
        let mut running = JoinSet::new();
        for (layer, diff_id) in missing {
            let (fetch, host, gate) = (Arc::clone(self), host.clone(), Arc::clone(&gate));
            running.spawn(async move {
                let _turn = gate.acquire().await.expect("the gate is never closed");
                fetch.layer(&host, &layer, diff_id).await
            });
        }
        let mut drafts = Drafts::default();
        while let Some(done) = running.join_next().await {
            done.map_err(|error| Error::Interrupted(error.to_string()))??.keep(&mut drafts);
        }
        Ok(drafts)
    }

    /// One layer, from the socket to its folder; again if the connection breaks.
    async fn layer(
        &self,
        host: &Host,
        layer: &Descriptor,
        diff_id: Digest,
    ) -> Result<NewDraft, Error> {
        for _ in 1..TRIES {
            match self.stream(host, layer, diff_id).await {
                Err(Error::Request { url, why, .. }) => {
                    tracing::debug!(url, why, "a layer's transfer broke off");
                    self.client.pause().await;
                }
                done => return done,
            }
        }
        self.stream(host, layer, diff_id).await
    }

    async fn stream(
        &self,
        host: &Host,
        layer: &Descriptor,
        diff_id: Digest,
    ) -> Result<NewDraft, Error> {
        // First the thread, then the registry: none is left waiting with an answer in its hands.
        let thread = self.images.inner.unpacking.place().await;
        let ask = Ask::new(Method::GET, self.url(host, "blobs", &layer.digest.to_string()));
        let response = self.found(host, &ask, &layer.digest.to_string()).await?;
        let announced = response.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
        if let Some(found) = announced.and_then(|text| text.parse().ok())
            && found != layer.size
        {
            let what = format!("layer {}", layer.digest);
            return Err(Error::WrongSize { what, expected: layer.size, found });
        }
        let (send, receive) = mpsc::channel(PIECES_AHEAD);
        let (images, wanted) = (self.images.clone(), layer.clone());
        let unpacking =
            thread.run(move || receive_layer(&images, Pieces::new(receive), &wanted, diff_id));
        let pumping = self.pump(&ask, response.into_body(), layer, send);
        let (pumped, unpacked) = tokio::join!(pumping, unpacking);
        let unpacked = unpacked.map_err(|cut| Error::Interrupted(cut.to_string()))?;
        pumped.and(unpacked)
    }

    /// Hands the body on. A receiver that is gone has an error of its own to tell.
    async fn pump(
        &self,
        ask: &Ask,
        mut body: Incoming,
        layer: &Descriptor,
        send: mpsc::Sender<Piece>,
    ) -> Result<(), Error> {
        let mut done = 0;
        while let Some(piece) = self.client.piece(ask, &mut body).await? {
            done += piece.len() as u64;
            if send.send(Piece::Bytes(piece)).await.is_err() {
                return Ok(());
            }
            if let Some(progress) = &self.options.progress {
                progress(Progress { blob: layer.digest, done, total: layer.size });
            }
        }
        // As above: whoever is gone says why.
        let _ = send.send(Piece::End).await;
        Ok(())
    }

    /// The manifest for this platform, over lists on the way.
    async fn manifest(&self, host: &Host, digest: Digest) -> Result<(Vec<u8>, Manifest), Error> {
        let mut digest = digest;
        for _ in 0..=NESTING_MAX {
            let bytes = self.document(host, "manifests", digest, "manifest").await?;
            match Document::parse(&bytes, &format!("manifest {digest}"))? {
                Document::Manifest(manifest) => return Ok((bytes, manifest)),
                Document::List(list) => {
                    let what = || Error::Platform { what: digest.to_string() };
                    digest = pick(&list, &self.platform()).ok_or_else(what)?.digest;
                }
            }
        }
        let why = "its indexes are nested too deeply".to_owned();
        Err(Error::ReadDocument { what: format!("manifest {digest}"), why })
    }

    async fn document(
        &self,
        host: &Host,
        kind: &str,
        digest: Digest,
        what: &str,
    ) -> Result<Vec<u8>, Error> {
        let mut ask = Ask::new(Method::GET, self.url(host, kind, &digest.to_string()));
        if kind == "manifests" {
            ask.accept = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST].join(", ");
        }
        let response = self.found(host, &ask, &digest.to_string()).await?;
        let bytes = self.client.bytes(&ask, response, DOCUMENT_MAX).await?;
        verify(what, digest, Digest::of(&bytes))?;
        Ok(bytes)
    }

    async fn found(&self, host: &Host, ask: &Ask, what: &str) -> Result<Response<Incoming>, Error> {
        let response = self.send(host, ask).await?;
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::NOT_FOUND => Err(Error::NotFound {
                what: format!("could not fetch content descriptor {what} from remote"),
            }),
            status => Err(ask.status(status)),
        }
    }

    /// Sends a request with what the host wants to be shown, which it says once.
    async fn send(&self, host: &Host, ask: &Ask) -> Result<Response<Incoming>, Error> {
        let known = self.tokens().get(&host.base).cloned();
        let response = self.client.send(&Ask { authorization: known, ..ask.clone() }).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let header = challenge(&response);
        let credentials = self.options.credentials.as_ref().filter(|_| host.trusted);
        let scope = format!("repository:{}:pull", self.reference.path());
        let answer = auth::answer(&self.client, &ask.url, &header, &scope, credentials).await?;
        self.tokens().insert(host.base.clone(), answer.clone());
        let response =
            self.client.send(&Ask { authorization: Some(answer), ..ask.clone() }).await?;
        match response.status() {
            StatusCode::UNAUTHORIZED => Err(auth::refused(&challenge(&response))),
            _ => Ok(response),
        }
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.tokens.lock()
    }

    fn url(&self, host: &Host, kind: &str, name: &str) -> String {
        format!("{}/v2/{}/{kind}/{name}", host.base, self.reference.path())
    }
}

fn challenge(response: &Response<Incoming>) -> String {
    let header = response.headers().get(WWW_AUTHENTICATE);
    header.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}

/// Runs file work on a thread that may wait.
async fn block<T: Send + 'static>(
    images: &Images,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = images.threads().run(work).await;
    done.map_err(|cut| Error::Interrupted(cut.to_string()))?
}

/// Unpacks a layer from a stream, and believes it only when size and both digests are right.
fn receive_layer(
    images: &Images,
    pieces: Pieces,
    layer: &Descriptor,
    diff_id: Digest,
) -> Result<NewDraft, Error> {
    let what = format!("layer {}", layer.digest);
    // One byte more than announced is seen, and is enough.
    let mut hashed = HashReader::new(pieces.take(layer.size.saturating_add(1)));
    let mut plain = decompress::plain(&mut hashed, images.inner.options.limits)?;
    let draft = images.draft(&mut plain);
    drop(plain);
    decompress::drain(&mut hashed)?;
    let (blob, found) = hashed.finish();
    if found != layer.size {
        return Err(Error::WrongSize { what, expected: layer.size, found });
    }
    // Damage in transfer first: it explains whatever unpacking stumbled over.
    verify(&what, layer.digest, blob)?;
    let draft = draft?;
    verify(&format!("uncompressed {what}"), diff_id, draft.diff_id())?;
    Ok(draft)
}

/// What the socket sends to the thread that unpacks. Without an end, it was cut short.
enum Piece {
    Bytes(Bytes),
    End,
}

struct Pieces {
    receive: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

impl Pieces {
    fn new(receive: mpsc::Receiver<Piece>) -> Pieces {
        Pieces { receive, current: Bytes::new(), ended: false }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.receive.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.current = bytes,
                Some(Piece::End) => self.ended = true,
                None => {
                    let why = "the transfer was cut short";
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, why));
                }
            }
        }
        let n = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}
