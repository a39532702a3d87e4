//! The controllers: one file each (or one folder, split by decision), one line in LOOPS each.

pub mod clusterrole;
pub mod crd;
pub mod deployment;
pub mod endpointslice;
pub mod event;
pub mod garbage;
pub mod lasting;
pub mod namespace;
pub mod node;
pub mod podgc;
pub mod replicaset;
pub mod root_ca;
pub mod serviceaccount;
pub mod token;
