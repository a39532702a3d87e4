//! skiff-loops.
