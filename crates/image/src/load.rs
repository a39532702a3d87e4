//! Loading archives: docker-save (both flavours) and OCI layouts, read once from start to end.
//!
//! An archive is a tar of documents and layers, in any order, and the document that says which
//! member is a layer often comes last. So documents (small, JSON) are kept in memory, and whatever
//! looks like a layer is unpacked at once as a draft; in the end the documents say which drafts
//! become images. Nothing is written twice, and a stream from a pipe is as good as a file.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};

use crate::assemble::{Drafts, LAYERS_MAX, Parts};
use crate::config::ConfigFile;
use crate::digest::{Digest, HashReader};
use crate::error::Error;
use crate::index::{Names, Snapshot};
use crate::manifest::Platform;
use crate::manifest::{DOCUMENT_MAX, Descriptor, Document, Saved, pick};
use crate::reference::Reference;
use crate::store::Images;
use crate::unpack::decompress;
use crate::unpack::limits::Limits;
use crate::unpack::tar::{self, BLOCK, Kind, Tar};

/// All documents of an archive together: manifests of a few hundred images.
const DOCUMENTS_MAX: u64 = 64 << 20;
/// Members of an archive: a classic one has three per layer.
const MEMBERS_MAX: usize = 20_000;
/// An archive of many images may be larger than a layer.
const ARCHIVE_BYTES_MAX: u64 = 1 << 40;
/// Lists within lists: one level is in use (an archive's index of multi-platform images).
const NESTING_MAX: usize = 3;
const FULL_NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

impl Images {
    /// Loads every image of an archive: docker-save or OCI layout; plain, gzip or zstd. The stream
    /// is read once, from start to end. Returns the references, or the ID of an image without any.
    pub fn load(&self, reader: impl Read + Send) -> Result<Vec<String>, Error> {
        let limits = Limits { layer_bytes: ARCHIVE_BYTES_MAX, ..self.inner.options.limits };
        let plain = decompress::plain(reader, limits)?;
        let (members, drafts) = (BTreeMap::new(), Drafts::default());
        let mut archive = Archive { images: self, members, drafts, whole: false };
        archive.read(plain)?;
        archive.finish()
    }
}

/// What is kept of a member.
enum Stored {
    Document(Vec<u8>),
    /// A layer: the digests of the bytes as stored and of the uncompressed tar.
    Layer {
        blob: Digest,
        diff_id: Digest,
    },
    /// It looked like a layer and was refused. That matters only if it is one.
    Refused(Error),
    /// Another name of a member.
    Alias(String),
}

struct Archive<'a> {
    images: &'a Images,
    members: BTreeMap<String, Stored>,
    drafts: Drafts,
    /// Whether it ended as archives end.
    whole: bool,
}

impl Archive<'_> {
    fn read(&mut self, plain: impl Read + Send) -> Result<(), Error> {
        let mut tar = Tar::new(plain);
        let mut documents = 0;
        while let Some(member) = tar.next().map_err(not_an_archive)? {
            if self.members.len() >= MEMBERS_MAX {
                return Err(bad(format!("it has more than {MEMBERS_MAX} members")));
            }
            let name = normal(&String::from_utf8_lossy(&member.path), "");
            let stored = match member.kind {
                Kind::File => self.file(&name, member.size, &mut tar).map_err(not_an_archive)?,
                // Old docker-save links layers that images share.
                Kind::Symlink | Kind::HardLink => {
                    let folder = match member.kind {
                        Kind::Symlink => name.rsplit_once('/').map_or("", |(folder, _)| folder),
                        _ => "",
                    };
                    Some(Stored::Alias(normal(&String::from_utf8_lossy(&member.link), folder)))
                }
                _ => None,
            };
            if let Some(Stored::Document(bytes)) = &stored {
                documents += bytes.len() as u64;
                if documents > DOCUMENTS_MAX {
                    return Err(bad(format!(
                        "its documents are larger than {DOCUMENTS_MAX} bytes"
                    )));
                }
            }
            self.members.extend(stored.map(|stored| (name, stored)));
        }
        self.whole = tar.is_whole();
        Ok(())
    }

    fn file(
        &mut self,
        name: &str,
        size: u64,
        data: &mut (impl Read + Send),
    ) -> Result<Option<Stored>, Error> {
        let mut start = Vec::new();
        data.take(BLOCK as u64).read_to_end(&mut start).map_err(Error::from_io)?;
        let whole = Cursor::new(start.clone()).chain(data);
        if start.starts_with(b"{") || start.starts_with(b"[") {
            if size > DOCUMENT_MAX {
                return Err(bad(format!("document {name} is larger than {DOCUMENT_MAX} bytes")));
            }
            let mut bytes = Vec::new();
            { whole }.read_to_end(&mut bytes).map_err(Error::from_io)?;
            return Ok(Some(Stored::Document(bytes)));
        }
        if !decompress::is_compressed(&start) && !tar::is_header(&start) {
            return Ok(None);
        }
        if self.drafts.len() >= 2 * LAYERS_MAX {
            return Err(bad(format!("it has more than {} layers", 2 * LAYERS_MAX)));
        }
        if let Some(digest) = self.known(name) {
            return skim(whole, digest).map(Some);
        }
        Ok(Some(self.layer(whole).unwrap_or_else(Stored::Refused)))
    }

    /// An uncompressed layer of an OCI layout that the store has already, whatever it stands on.
    fn known(&self, name: &str) -> Option<Digest> {
        let digest = Digest::from_hex(name.strip_prefix("blobs/sha256/")?)?;
        let index = self.images.index();
        let fits = |one: &Snapshot| one.diff_id == digest && one.chain_id.is_none();
        let known = index.snapshots.values().any(fits);
        (known || self.drafts.contains(digest)).then_some(digest)
    }

    fn layer(&mut self, data: impl Read + Send) -> Result<Stored, Error> {
        let mut hashed = HashReader::new(data);
        let mut plain = decompress::plain(&mut hashed, self.images.inner.options.limits)?;
        let draft = self.images.draft(&mut plain)?;
        drop(plain);
        decompress::drain(&mut hashed)?;
        let (blob, _) = hashed.finish();
        let diff_id = draft.diff_id();
        if !self.drafts.contains(diff_id) {
            draft.keep(&mut self.drafts);
        }
        Ok(Stored::Layer { blob, diff_id })
    }

    fn finish(mut self) -> Result<Vec<String>, Error> {
        let saved = self.saved()?;
        let mut loaded = Vec::new();
        if self.members.contains_key("index.json") {
            let mut found = Vec::new();
            self.list("index.json", None, 0, &mut found)?;
            for (descriptor, names) in found {
                loaded.push(self.oci(&descriptor, names, &saved)?);
            }
        } else {
            for one in &saved {
                loaded.push(self.docker(one)?);
            }
        }
        match loaded.is_empty() {
            true if self.whole => Err(bad(
                "it has neither manifest.json nor index.json, or they name no image".into(),
            )),
            true => Err(bad("it is cut short, before manifest.json or index.json".into())),
            false => Ok(loaded.concat()),
        }
    }

    fn saved(&self) -> Result<Vec<Saved>, Error> {
        match self.members.contains_key("manifest.json") {
            false => Ok(Vec::new()),
            true => serde_json::from_slice(self.document("manifest.json")?).map_err(|error| {
                Error::ReadDocument { what: "manifest.json".to_owned(), why: error.to_string() }
            }),
        }
    }

    /// The images of an index, and of indexes in it, with their names.
    fn list(
        &self,
        name: &str,
        inherited: Option<&Names>,
        depth: usize,
        found: &mut Vec<(Descriptor, Names)>,
    ) -> Result<(), Error> {
        let Document::List(list) = Document::parse(self.document(name)?, name)? else {
            return Err(bad(format!("{name} is no index")));
        };
        // Below the archive's own index, a list names the platforms of one image.
        let platform = Platform::local();
        let list: Vec<&Descriptor> = match inherited {
            None => list.iter().collect(),
            Some(_) => {
                let there: Vec<Descriptor> =
                    list.iter().filter(|one| self.has(one)).cloned().collect();
                let what = || Error::Platform { what: name.to_owned() };
                let picked = pick(&there, &platform).ok_or_else(what)?.digest;
                list.iter().filter(|one| one.digest == picked).take(1).collect()
            }
        };
        for descriptor in list {
            let mut names = inherited.cloned().unwrap_or_default();
            names.tags.extend(name_of(descriptor)?);
            let blob = blob_name(descriptor.digest);
            match Document::parse(self.verified(descriptor)?, &blob)? {
                Document::Manifest(_) => found.push((descriptor.clone(), names)),
                Document::List(_) if depth < NESTING_MAX => {
                    // The name leads to the list, and so does its digest.
                    let digests = names.tags.iter().map(|tag| tag.with_digest(descriptor.digest));
                    names.digests = digests.collect();
                    self.list(&blob, Some(&names), depth + 1, found)?;
                }
                Document::List(_) => return Err(bad("its indexes are nested too deeply".into())),
            }
        }
        Ok(())
    }

    fn has(&self, descriptor: &Descriptor) -> bool {
        self.members.contains_key(&blob_name(descriptor.digest))
    }

    fn oci(
        &mut self,
        descriptor: &Descriptor,
        mut names: Names,
        saved: &[Saved],
    ) -> Result<Vec<String>, Error> {
        let bytes = self.verified(descriptor)?.to_vec();
        let what = blob_name(descriptor.digest);
        let Document::Manifest(manifest) = Document::parse(&bytes, &what)? else {
            return Err(bad(format!("{what} is no manifest")));
        };
        let config = self.verified(&manifest.config)?.to_vec();
        let config_name = blob_name(manifest.config.digest);
        for one in saved.iter().filter(|one| normal(&one.config, "") == config_name) {
            names.tags.extend(tags(one)?);
        }
        if names.digests.is_empty() {
            names.digests =
                names.tags.iter().map(|tag| tag.with_digest(descriptor.digest)).collect();
        }
        let layers: Vec<(String, Option<Digest>)> = manifest
            .layers
            .iter()
            .map(|layer| (blob_name(layer.digest), Some(layer.digest)))
            .collect();
        let size = Some(manifest.size());
        self.image(Parts { config: &config, manifest: Some(&bytes), size, names }, &layers)
    }

    fn docker(&mut self, saved: &Saved) -> Result<Vec<String>, Error> {
        let config = self.document(&normal(&saved.config, ""))?.to_vec();
        let stem = saved.config.rsplit('/').next().unwrap_or_default();
        if let Some(expected) = Digest::from_hex(stem.strip_suffix(".json").unwrap_or(stem)) {
            verify(&saved.config, expected, Digest::of(&config))?;
        }
        let names = Names { tags: tags(saved)?, ..Names::default() };
        let layers: Vec<_> = saved.layers.iter().map(|name| (normal(name, ""), None)).collect();
        self.image(Parts { config: &config, manifest: None, size: None, names }, &layers)
    }

    /// Checks that the layers are those that the config wants, and makes the image.
    fn image(
        &mut self,
        parts: Parts,
        layers: &[(String, Option<Digest>)],
    ) -> Result<Vec<String>, Error> {
        let file = ConfigFile::parse(parts.config)?;
        let wanted = &file.rootfs.diff_ids;
        if wanted.len() != layers.len() {
            let why = format!("it has {} layers, its config names {}", layers.len(), wanted.len());
            return Err(bad(why));
        }
        for (wanted, (name, digest)) in wanted.iter().zip(layers) {
            let (blob, diff_id) = self.layer_of(name)?;
            if let Some(digest) = digest {
                verify(name, *digest, blob)?;
            }
            verify(&format!("uncompressed layer {name}"), *wanted, diff_id)?;
        }
        let image = self.images.assemble(&parts, &mut self.drafts)?;
        let names: Vec<String> = parts.names.tags.iter().map(Reference::to_string).collect();
        Ok(if names.is_empty() { vec![image.id.to_string()] } else { names })
    }

    fn member(&self, name: &str) -> Result<&Stored, Error> {
        let missing = || self.missing(name);
        match self.members.get(name).ok_or_else(missing)? {
            Stored::Alias(other) => match self.members.get(other).ok_or_else(missing)? {
                Stored::Alias(_) => Err(bad(format!("{name} links to a link"))),
                stored => Ok(stored),
            },
            stored => Ok(stored),
        }
    }

    fn missing(&self, name: &str) -> Error {
        match self.whole {
            true => bad(format!("{name} is missing")),
            false => bad(format!("it is cut short: {name} is missing")),
        }
    }

    fn document(&self, name: &str) -> Result<&[u8], Error> {
        match self.member(name)? {
            Stored::Document(bytes) => Ok(bytes),
            _ => Err(bad(format!("{name} is no JSON document"))),
        }
    }

    fn layer_of(&self, name: &str) -> Result<(Digest, Digest), Error> {
        match self.member(name)? {
            Stored::Layer { blob, diff_id } => Ok((*blob, *diff_id)),
            Stored::Refused(error) => Err(error.clone()),
            _ => Err(bad(format!("{name} is no layer"))),
        }
    }

    /// The document of a descriptor, if its bytes are what the digest says.
    fn verified(&self, descriptor: &Descriptor) -> Result<&[u8], Error> {
        let name = blob_name(descriptor.digest);
        let bytes = self.document(&name)?;
        verify(&name, descriptor.digest, Digest::of(bytes))?;
        Ok(bytes)
    }
}

/// Reads a layer that is here already, to be sure that it is the one that its name says.
fn skim(data: impl Read, digest: Digest) -> Result<Stored, Error> {
    let mut hashed = HashReader::new(data);
    io::copy(&mut hashed, &mut io::sink()).map_err(Error::from_io)?;
    let (found, _) = hashed.finish();
    // Under a wrong digest it is no layer of any image.
    Ok(Stored::Layer { blob: found, diff_id: digest })
}

pub(crate) fn verify(what: &str, expected: Digest, found: Digest) -> Result<(), Error> {
    match expected == found {
        true => Ok(()),
        false => Err(Error::WrongDigest { what: what.to_owned(), expected, found }),
    }
}

fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The name that an index gives an image. A reference name without `/` and `:` is only a tag
/// (BuildKit writes it so beside the full name) and names nothing.
fn name_of(descriptor: &Descriptor) -> Result<Option<Reference>, Error> {
    let full = descriptor.annotations.get(FULL_NAME);
    let name = full
        .or_else(|| descriptor.annotations.get(REF_NAME).filter(|name| name.contains(['/', ':'])));
    name.map(|name| parse(name)).transpose()
}

fn tags(saved: &Saved) -> Result<Vec<Reference>, Error> {
    saved.repo_tags.iter().flatten().map(|tag| parse(tag)).collect()
}

fn parse(name: &str) -> Result<Reference, Error> {
    Reference::parse(name)
        .map_err(|source| Error::ParseReference { reference: name.to_owned(), source })
}

/// A member's name without `.` and `..`, relative to a folder of the archive.
fn normal(name: &str, folder: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn bad(why: String) -> Error {
    Error::ReadArchive { why }
}

/// A damaged archive is not a damaged layer.
fn not_an_archive(error: Error) -> Error {
    match error {
        Error::RefuseLayer { why } => bad(why),
        Error::ReadLayer(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            bad(format!("it is cut short: {error}"))
        }
        other => other,
    }
}

#[cfg(test)]
pub(crate) mod tests;
