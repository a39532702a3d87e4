//! Making an image out of files.
use std::path::Path;
use std::sync::Arc;
use crate::config::ImageConfig;
use crate::error::Error;
use crate::index::Image;
use crate::store::Images;

/// An image to be: one layer and a config.
#[derive(Default)]
pub struct ImageBuilder { config: ImageConfig }

impl ImageBuilder {
    pub fn new() -> ImageBuilder { ImageBuilder::default() }
    /// A file with these bytes. Folders on the way are made.
    pub fn file(self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Self { todo!() }
    /// A file of this machine, cloned or copied when the image is loaded.
    pub fn file_from(self, path: &str, mode: u32, source: &Path) -> Self { todo!() }
    pub fn dir(self, path: &str, mode: u32) -> Self { todo!() }
    pub fn symlink(self, path: &str, target: &str) -> Self { todo!() }
    pub fn entrypoint<S: Into<String>>(self, words: impl IntoIterator<Item = S>) -> Self { todo!() }
    pub fn cmd<S: Into<String>>(self, words: impl IntoIterator<Item = S>) -> Self { todo!() }
    pub fn env(self, name: &str, value: &str) -> Self { todo!() }
    pub fn user(self, user: &str) -> Self { todo!() }
    pub fn working_dir(self, path: &str) -> Self { todo!() }
    pub fn expose(self, port: &str) -> Self { todo!() }
    pub fn label(self, name: &str, value: &str) -> Self { todo!() }
    /// Puts the image into the store under this name. The same content gives the same ID.
    pub fn load(self, images: &Images, reference: &str) -> Result<Arc<Image>, Error> { todo!() }
}
