//! The controllers: one file each (or one folder, split by decision), one line in LOOPS each.

pub mod crd;
pub mod deployment;
pub mod garbage;
pub mod namespace;
pub mod replicaset;
pub mod root_ca;
pub mod serviceaccount;
