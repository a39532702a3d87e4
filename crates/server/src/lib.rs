//! skiff-server.
