//! Making an image out of files, without any tool: one layer and a config.
//!
//! The layer is written as a tar would be unpacked, and its diff ID is the hash of that tar, which
//! is computed but never stored. Times are zero, so the same content gives the same image ID, and
//! content that the store has is only read once more, not written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::assemble::{Drafts, Parts};
use crate::config::{ConfigFile, Empty, ImageConfig, RootfsField};
use crate::digest::{Digest, HashReader};
use crate::error::Error;
use crate::index::{Image, Names};
use crate::manifest::Platform;
use crate::reference::Reference;
use crate::store::Images;

/// An image to be. Nothing happens before [`ImageBuilder::load`].
#[derive(Default)]
pub struct ImageBuilder {
    config: ImageConfig,
    /// By path; folders end in `/`, so that a folder comes before what lies in it.
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    mode: u32,
    content: Content,
}

enum Content {
    Bytes(Vec<u8>),
    Source(PathBuf),
    Dir,
    Symlink(String),
}

impl ImageBuilder {
    pub fn new() -> ImageBuilder {
        ImageBuilder::default()
    }

    /// A file with these bytes, owned by root. Folders on the way are made.
    pub fn file(self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.entry(path, mode, Content::Bytes(bytes.into()))
    }

    /// A file of this machine, read when the image is loaded.
    pub fn file_from(self, path: &str, mode: u32, source: &Path) -> Self {
        self.entry(path, mode, Content::Source(source.to_owned()))
    }

    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(&format!("{}/", path.trim_end_matches('/')), mode, Content::Dir)
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, 0o777, Content::Symlink(target.to_owned()))
    }

    pub fn entrypoint<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.config.entrypoint = words.into_iter().map(Into::into).collect();
        self
    }

    pub fn cmd<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.config.cmd = words.into_iter().map(Into::into).collect();
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.config.env.push(format!("{name}={value}"));
        self
    }

    pub fn user(mut self, user: &str) -> Self {
        self.config.user = user.to_owned();
        self
    }

    pub fn working_dir(mut self, path: &str) -> Self {
        self.config.working_dir = path.to_owned();
        self
    }

    /// `8080/tcp`.
    pub fn expose(mut self, port: &str) -> Self {
        self.config.exposed_ports.insert(port.to_owned(), Empty {});
        self
    }

    pub fn stop_signal(mut self, signal: &str) -> Self {
        self.config.stop_signal = signal.to_owned();
        self
    }

    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.config.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    fn entry(mut self, path: &str, mode: u32, content: Content) -> Self {
        let path = path.trim_start_matches('/');
        let parents = path.trim_end_matches('/').match_indices('/');
        for (slash, _) in parents {
            let dir = Entry { mode: 0o755, content: Content::Dir };
            self.entries.entry(path[..=slash].to_owned()).or_insert(dir);
        }
        if !path.is_empty() {
            self.entries.insert(path.to_owned(), Entry { mode, content });
        }
        self
    }

    /// Puts the image into the store under this name, in place of an older one.
    pub fn load(self, images: &Images, reference: &str) -> Result<Arc<Image>, Error> {
        let tag = Reference::parse(reference)
            .map_err(|source| Error::ParseReference { reference: reference.to_owned(), source })?;
        let mut drafts = Drafts::default();
        let diff_id = self.layer(images, &mut drafts)?;
        let platform = Platform::local();
        let file = ConfigFile {
            created: None,
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            config: self.config,
            rootfs: RootfsField { kind: "layers".to_owned(), diff_ids: vec![diff_id] },
        };
        let config = serde_json::to_vec(&file).expect("the config has string keys only");
        let names = Names { tags: vec![tag], ..Names::default() };
        let parts = Parts { config: &config, manifest: None, size: None, names };
        images.assemble(&parts, &mut drafts)
    }

    /// The diff ID of the layer, which is in the store or among the drafts then.
    fn layer(&self, images: &Images, drafts: &mut Drafts) -> Result<Digest, Error> {
        let mut hashed = HashReader::new(Stream::new(&self.entries));
        io::copy(&mut hashed, &mut io::sink()).map_err(Error::from_io)?;
        let (diff_id, _) = hashed.finish();
        if images.index().snapshot(diff_id, diff_id).is_some() {
            return Ok(diff_id);
        }
        let draft = images.draft(&mut Stream::new(&self.entries))?;
        let diff_id = draft.diff_id();
        draft.keep(drafts);
        Ok(diff_id)
    }
}

/// The tar of the entries, made while it is read.
struct Stream<'a> {
    entries: std::collections::btree_map::Iter<'a, String, Entry>,
    current: Box<dyn Read + 'a>,
}

impl Stream<'_> {
    fn new(entries: &BTreeMap<String, Entry>) -> Stream<'_> {
        Stream { entries: entries.iter(), current: Box::new(io::empty()) }
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.current.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            let Some((path, entry)) = self.entries.next() else { return Ok(0) };
            self.current = member(path, entry)?;
        }
    }
}

fn member<'a>(path: &str, entry: &'a Entry) -> io::Result<Box<dyn Read + 'a>> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    let (size, content): (u64, Box<dyn Read + 'a>) = match &entry.content {
        Content::Bytes(bytes) => (bytes.len() as u64, Box::new(Cursor::new(&bytes[..]))),
        Content::Source(source) => {
            let file = File::open(source)?;
            let size = file.metadata()?.size();
            // What grows meanwhile is left out, what shrinks makes the tar end too early.
            (size, Box::new(file.take(size)))
        }
        Content::Dir => {
            header.set_entry_type(tar::EntryType::Directory);
            (0, Box::new(io::empty()))
        }
        Content::Symlink(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_link_name(target)?;
            (0, Box::new(io::empty()))
        }
    };
    header.set_path(path)?;
    header.set_size(size);
    header.set_cksum();
    let padding = (512 - size % 512) % 512;
    let start = Cursor::new(header.as_bytes().to_vec());
    Ok(Box::new(start.chain(content).chain(io::repeat(0).take(padding))))
}

#[cfg(test)]
mod tests;
