//! Pulling images from registries (OCI distribution spec, "Pulling").
//!
//! A reference leads to a manifest (perhaps over a list of manifests, one per platform), the
//! manifest to a config and to layers. Every step names the next by its digest, so only the first
//! trusts the registry. A layer goes from the socket through hash, decompression and hash into its
//! folder in one pass; nothing is kept twice.

pub(crate) mod auth;
pub(crate) mod client;
pub mod credentials;
mod fetch;
mod host;

use std::sync::Arc;

use crate::access::Given;
use crate::digest::Digest;
use crate::error::Error;
use crate::index::Image;
use crate::manifest::Platform;
use crate::reference::Reference;
use crate::registry::credentials::Credentials;
use crate::registry::fetch::Fetch;
use crate::store::Images;

pub use crate::registry::host::Mirror;

/// How far the pull of one layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The layer as it is transferred.
    pub blob: Digest,
    pub done: u64,
    pub total: u64,
}

/// Told of progress, from the task that pulls: it must not block.
pub type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// How to pull.
#[derive(Clone, Default)]
pub struct PullOptions {
    pub credentials: Option<Credentials>,
    /// Tried in this order, before the registry itself.
    pub mirrors: Vec<Mirror>,
    /// Default: [`Platform::local`].
    pub platform: Option<Platform>,
    pub progress: Option<OnProgress>,
    /// Whom it is for: remembered with the image.
    pub given: Given,
}

impl Images {
    /// Pulls an image. The same pull at the same time happens once: whoever asks meanwhile gets the
    /// first one's result (and the progress goes to the first). Dropping the future cancels it.
    pub async fn pull(&self, reference: &str, options: PullOptions) -> Result<Arc<Image>, Error> {
        let parsed = Reference::parse(reference)
            .map_err(|source| Error::ParseReference { reference: reference.to_owned(), source })?;
        // Credentials are part of the question: nobody gets an image by another's.
        let key = format!(
            "{parsed} {:?} {:?} {}",
            options.mirrors,
            options.platform,
            options.credentials.as_ref().map_or(String::new(), Credentials::fingerprint),
        );
        let flights = || self.inner.flights.lock();
        let flight = Arc::clone(flights().entry(key.clone()).or_default());
        let outcome =
            flight.get_or_init(|| Fetch::run(self, parsed.clone(), options)).await.clone();
        let mut flights = flights();
        if flights.get(&key).is_some_and(|known| Arc::ptr_eq(known, &flight)) {
            flights.remove(&key);
        }
        drop(flights);
        outcome.map_err(|source| Error::Pull {
            reference: parsed.to_string(),
            source: Arc::new(source),
        })
    }
}
