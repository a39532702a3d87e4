//! Limits.

/// What an image may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that one layer may write.
    pub layer_bytes: u64,
    /// Entries of one layer.
    pub entries: u64,
    /// Bytes out per byte in, beyond `ratio_free`.
    pub ratio: u64,
    pub ratio_free: u64,
}
impl Default for Limits { fn default() -> Self { Limits { layer_bytes: 64 << 30, entries: 2_000_000, ratio: 200, ratio_free: 1 << 30 } } }
