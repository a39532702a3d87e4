//! skiff-client.
