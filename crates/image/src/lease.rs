//! Leases: what is in use is not collected.

use std::sync::Arc;

use crate::error::Error;
use crate::index::Image;
use crate::store::{Images, Live};

/// Keeps layers from being collected until it is dropped.
pub struct Lease {
    images: Images,
    snapshots: Vec<u64>,
}

impl Images {
    /// Keeps the layers of an image until the lease is dropped, even if the image is removed.
    pub fn lease(&self, image: &Image) -> Result<Lease, Error> {
        let snapshots = image.layers.iter().map(|layer| layer.snapshot).collect();
        self.lease_snapshots(snapshots).ok_or_else(|| Error::NoSuchImage(image.id.to_string()))
    }

    /// `None` if one of them is gone.
    pub(crate) fn lease_snapshots(&self, snapshots: Vec<u64>) -> Option<Lease> {
        self.live().hold(&snapshots).then(|| Lease { images: self.clone(), snapshots })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.images.live().release(&self.snapshots);
    }
}

impl Live {
    /// Counts a use of each, unless one of them is gone.
    pub(crate) fn hold(&mut self, snapshots: &[u64]) -> bool {
        let index = Arc::clone(&self.index);
        if !snapshots.iter().all(|number| index.snapshots.contains_key(number)) {
            return false;
        }
        for number in snapshots {
            *self.uses.entry(*number).or_default() += 1;
        }
        true
    }

    pub(crate) fn release(&mut self, snapshots: &[u64]) {
        for number in snapshots {
            if let Some(count) = self.uses.get_mut(number) {
                *count -= 1;
                if *count == 0 {
                    self.uses.remove(number);
                }
            }
        }
    }
}
