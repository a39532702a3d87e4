//! The kernel's randomness, for this process: numbers that follow from the seed. The order of hash maps and the
//! numbers of tokio's runtime come from there, so they are drawn anew by each seed, and are the same in two runs of
//! one.
//!
//! The standard library asks for the symbol `getrandom`, weakly, so that a program can put its own in its place.
//! Never linked into anything but the simulator: all keys of such a process are known.

use std::ffi::{c_uint, c_void};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

static STATE: AtomicU64 = AtomicU64::new(0);

/// Sets where the numbers begin; before anything has asked for one.
pub fn seed(seed: u64) {
    STATE.store(seed, Ordering::Relaxed);
    // What nobody names the linker may leave out.
    black_box(getrandom as unsafe extern "C" fn(*mut c_void, usize, c_uint) -> isize);
}

/// getrandom(2), of which nothing fails.
///
/// # Safety
/// `buffer` has room for `length` bytes.
#[expect(unsafe_code, reason = "the standard library asks for this very symbol")]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    for at in 0..length {
        // SplitMix64 (Steele, Lea, Flood 2014), a byte of each number.
        let mut z = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // SAFETY: the caller has room for `length` bytes, and `at` is below that.
        unsafe { buffer.cast::<u8>().add(at).write(z.to_le_bytes()[7]) };
    }
    isize::try_from(length).unwrap_or(isize::MAX)
}
