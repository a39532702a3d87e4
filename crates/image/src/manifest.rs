//! The documents that lead to an image: manifests and lists of them.
//!
//! OCI image spec ("Image Manifest", "Image Index") and Docker's twins of both, which differ in
//! media types only; and the `manifest.json` of docker-save. A list has one manifest per platform.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::digest::Digest;
use crate::error::Error;

/// An operating system and an architecture, in Go's words (`linux`, `amd64`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

impl Platform {
    /// Linux on this machine's architecture.
    pub fn local() -> Platform {
        let (architecture, variant) = if cfg!(target_arch = "x86_64") {
            ("amd64", None)
        } else if cfg!(target_arch = "aarch64") {
            ("arm64", Some("v8"))
        } else {
            panic!("Skiff is built for amd64 and arm64 only")
        };
        Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }
}

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const LAYER_TYPES: &[&str] = &[
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];
const CONFIG_TYPES: &[&str] = &[
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
    // What `docker build` wrote before it had a type of its own.
    "application/octet-stream",
];
/// The largest document: registries refuse larger manifests as well.
pub(crate) const DOCUMENT_MAX: u64 = 4 << 20;

/// A pointer to content.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) platform: Option<PlatformField>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PlatformField {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// A manifest or a list of manifests.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    Manifest(Manifest),
    List(Vec<Descriptor>),
}

/// Config and layers of one image.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// An image of a docker-save archive.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Saved {
    pub(crate) config: String,
    pub(crate) repo_tags: Option<Vec<String>>,
    pub(crate) layers: Vec<String>,
}

impl Document {
    /// Reads a document called `what`.
    pub(crate) fn parse(bytes: &[u8], what: &str) -> Result<Document, Error> {
        let bad = |why: String| Error::ReadDocument { what: what.to_owned(), why };
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
        if raw.schema_version == 1 {
            let why = "manifests of schema 1 are no longer supported: build the image anew";
            return Err(bad(why.to_owned()));
        }
        let known = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST, ""];
        if !known.contains(&&raw.media_type[..]) {
            return Err(wrong_type(what, &raw.media_type, "a manifest or an index"));
        }
        let (list, manifest) = match &raw.media_type[..] {
            OCI_INDEX | DOCKER_LIST => (true, false),
            OCI_MANIFEST | DOCKER_MANIFEST => (false, true),
            _ => (true, true),
        };
        match (raw.config, raw.layers, raw.manifests) {
            (None, None, Some(manifests)) if list => Ok(Document::List(manifests)),
            (Some(config), Some(layers), None) if manifest => {
                Manifest { config, layers }.check(what).map(Document::Manifest)
            }
            // One that is both, or says that it is the other, could be read differently by whoever
            // checked it before (OCI image spec, "mediaType").
            _ => Err(bad("it is neither a manifest nor an index".to_owned())),
        }
    }
}

impl Manifest {
    fn check(self, what: &str) -> Result<Manifest, Error> {
        let config = &self.config.media_type;
        if !config.is_empty() && !CONFIG_TYPES.contains(&&config[..]) {
            return Err(wrong_type(what, config, "a container image's config"));
        }
        for layer in &self.layers {
            let known = LAYER_TYPES.iter().any(|prefix| layer.media_type.starts_with(prefix));
            if !known || layer.media_type.ends_with("+encrypted") {
                return Err(wrong_type(what, &layer.media_type, "a layer as tar, gzip or zstd"));
            }
        }
        Ok(self)
    }

    /// Bytes of the config and all layers, as they are transferred.
    pub(crate) fn size(&self) -> u64 {
        let layers = self.layers.iter().map(|layer| layer.size);
        layers.fold(self.config.size, u64::saturating_add)
    }
}

fn wrong_type(what: &str, media_type: &str, wanted: &'static str) -> Error {
    Error::MediaType { what: what.to_owned(), media_type: media_type.to_owned(), wanted }
}

/// The manifest of a list that fits best: the same variant before any other.
pub(crate) fn pick<'a>(list: &'a [Descriptor], platform: &Platform) -> Option<&'a Descriptor> {
    let fits = |descriptor: &&Descriptor| match &descriptor.platform {
        Some(field) => field.os == platform.os && field.architecture == platform.architecture,
        None => false,
    };
    let exact = |descriptor: &&Descriptor| {
        let variant = descriptor.platform.as_ref().and_then(|field| field.variant.as_ref());
        variant == platform.variant.as_ref()
    };
    let mut all = list.iter().filter(fits);
    let first = all.clone().next();
    // A list of one that names no platform is for whoever asks.
    let only = || list.first().filter(|one| list.len() == 1 && one.platform.is_none());
    all.find(exact).or(first).or_else(only)
}
