//! skiff-net.
