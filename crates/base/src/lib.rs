//! skiff-base.
