//! Sources whose volumes show what the API has: files in a folder that changes all at once, and is
//! made anew whenever what it shows has changed. A source of this sort says which files: pure.

use super::{Found, Given, Mounted, Place, Shows, Source, atomic};
use crate::sources::Data;
use skiff_kinds::views::pod::KeyToPath;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The API's default of defaultMode.
const MODE: u32 = 0o644;

/// One file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub bytes: Vec<u8>,
    pub mode: u32,
    /// Who owns it, where that is not root.
    pub owner: Option<u32>,
}

/// Files by their path in the volume.
pub type Files = BTreeMap<String, File>;

/// What a volume of this sort shows.
pub trait Content: Clone + Send + Sync + 'static {
    /// The name of the source in paths.
    const PLUGIN: &'static str;
    /// The mode of the folder.
    const FOLDER_MODE: u32;

    fn shows(&self) -> Shows;

    /// `mode` is that of files for which nothing else is said.
    fn files(&self, mode: u32, given: &Given) -> Result<Files, String>;
}

/// A source of such content.
struct Payload<T>(T);

/// The source, where the volume has the field.
pub fn source<T: Content>(field: Option<&T>) -> Option<Arc<dyn Source>> {
    field.map(|content| Arc::new(Payload(content.clone())) as Arc<dyn Source>)
}

impl<T: Content> Source for Payload<T> {
    fn plugin(&self) -> &'static str {
        T::PLUGIN
    }

    fn shows(&self) -> Shows {
        self.0.shows()
    }

    fn mounted(&self, dir: &Path) -> Mounted {
        Mounted { path: dir.to_owned(), readonly: true }
    }

    fn mount(&self, place: &Place, given: &Given) -> Result<(), String> {
        let files = self.0.files(MODE, given)?;
        atomic::write(place, T::FOLDER_MODE, &files).map_err(|e| e.to_string())
    }

    /// What was written before the machine went down may be written in part.
    fn stands(&self, dir: &Path, found: &Found) -> bool {
        atomic::is_of(dir, &found.boot)
    }
}

/// Files from keys: those that are named, or all.
pub fn keys(data: &Data, items: &[KeyToPath], mode: u32, optional: bool) -> Result<Files, String> {
    let file = |bytes: &[u8], mode| File { bytes: bytes.to_vec(), mode, owner: None };
    if items.is_empty() {
        return Ok(data.iter().map(|(key, bytes)| (key.clone(), file(bytes, mode))).collect());
    }
    let mut files = Files::new();
    for item in items {
        match data.get(&item.key) {
            Some(bytes) => {
                files.insert(item.path.clone(), file(bytes, item.mode.unwrap_or(mode)));
            }
            None if optional => {}
            None => return Err(format!("references non-existent config key: {}", item.key)),
        }
    }
    Ok(files)
}
