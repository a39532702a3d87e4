//! Memory of this process that nobody uses goes back to the kernel.

#![expect(unsafe_code, reason = "the allocator has no safe word for it")]

/// Gives back every free page of the heap, wherever it lies: glibc gives back only what is free at its end, and one
/// small piece there keeps all below. Takes a few ms for each 100 MB, in which no thread gets memory.
pub fn give_back() {
    // SAFETY: it takes no pointers, and locks the heap for itself.
    unsafe { libc::malloc_trim(0) };
}
