//! Leases: what is in use is not collected.

use crate::index::Image;
use std::sync::Arc;

/// Keeps the layers of one image from being collected until it is dropped.
#[derive(Debug)]
pub struct Lease {
    image: Arc<Image>,
}

impl Lease {
    pub fn image(&self) -> &Arc<Image> {
        &self.image
    }
}
