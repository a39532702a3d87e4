//! Limits of unpacking: what an archive from a stranger may cost.
//!
//! A kilobyte of gzip can say a gigabyte, a header can announce any size, and a name can be of any
//! length. Everything that an archive makes grow is counted here while it grows, never believed
//! beforehand, so that memory stays bounded and the disk is not filled by a bomb.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// What one layer may cost. The default admits every image that is used in earnest.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the uncompressed tar: the largest images in use (machine learning) stay below.
    pub layer_bytes: u64,
    /// Entries of the tar: a full Debian mirror of node_modules has less than a million files.
    pub entries: u64,
    /// Bytes out per byte in: text compresses by 10 to 20; a bomb by 1,000 (gzip) and more (zstd).
    pub ratio: u64,
    /// Bytes out that no ratio is asked for: files of zeros are legitimate up to here.
    pub ratio_free: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { layer_bytes: 64 << 30, entries: 2_000_000, ratio: 200, ratio_free: 1 << 30 }
    }
}

/// The longest name, as the kernel has it.
pub(crate) const PATH_MAX: usize = 4096;
/// The longest component of a name, as the kernel has it.
pub(crate) const NAME_MAX: usize = 255;
/// Directories in one path: each is an open descriptor while its files are written.
pub(crate) const DEPTH_MAX: usize = 200;
/// Symbolic links in one path, as the kernel has it.
pub(crate) const LINKS_MAX: usize = 40;
/// Bytes of one extension header (long names, attributes): the largest attribute and a long name.
pub(crate) const EXTENSION_MAX: u64 = 1 << 20;
/// Extension headers before one entry: GNU and PAX writers need at most three.
pub(crate) const EXTENSIONS_MAX: usize = 16;
/// The largest extended attribute, as the kernel has it.
pub(crate) const XATTR_MAX: usize = 64 << 10;
/// Pieces of one sparse file: 1.6 MB of memory.
pub(crate) const PIECES_MAX: usize = 100_000;
/// Bytes of names that are remembered until the layers below are known.
pub(crate) const LOOSE_BYTES_MAX: usize = 16 << 20;
/// Log 2 of the largest zstd window: what its command line tool writes at most, 128 MiB.
pub(crate) const ZSTD_WINDOW_LOG: u32 = 27;

/// Counts what goes into a decompressor.
pub(crate) struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Counted<R> {
    pub(crate) fn new(inner: R) -> (Counted<R>, Arc<AtomicU64>) {
        let count = Arc::new(AtomicU64::new(0));
        (Counted { inner, count: Arc::clone(&count) }, count)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Stops what comes out of a decompressor when it is too much, by itself or for what went in.
pub(crate) struct Budget<R> {
    inner: R,
    limits: Limits,
    taken: Arc<AtomicU64>,
    given: u64,
}

impl<R: Read> Budget<R> {
    pub(crate) fn new(inner: R, limits: Limits, taken: Arc<AtomicU64>) -> Budget<R> {
        Budget { inner, limits, taken, given: 0 }
    }
}

impl<R: Read> Read for Budget<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.given += n as u64;
        if self.given > self.limits.layer_bytes {
            let why = format!("it is larger than {} bytes unpacked", self.limits.layer_bytes);
            return Err(Error::RefuseLayer { why }.into_io());
        }
        let taken = self.taken.load(Ordering::Relaxed);
        if self.given > self.limits.ratio_free && self.given / self.limits.ratio > taken {
            let why = format!(
                "decompression bomb: {taken} bytes became {} and more (limit: {} times)",
                self.given, self.limits.ratio
            );
            return Err(Error::RefuseLayer { why }.into_io());
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_stops_by_size_and_by_ratio() {
        let tight = Limits { layer_bytes: 1000, ratio: 10, ratio_free: 100, entries: 1 };
        for (input, output, wanted) in [
            (1000, 1000, "ok"),
            (1000, 1001, "refused layer: it is larger than 1000 bytes unpacked"),
            (0, 100, "ok"),
            (10, 109, "ok"),
            (
                9,
                101,
                "refused layer: decompression bomb: 9 bytes became 101 and more (limit: 10 times)",
            ),
        ] {
            let taken = Arc::new(AtomicU64::new(input));
            let mut budget = Budget::new(io::repeat(0).take(output), tight, taken);
            let result = io::copy(&mut budget, &mut io::sink());
            let text = result.map_or_else(|e| Error::from_io(e).to_string(), |_| "ok".to_owned());
            assert_eq!(text, wanted, "{input} {output}");
        }
    }
}
