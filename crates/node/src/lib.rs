//! skiff-node.

pub mod api;
pub mod services;
