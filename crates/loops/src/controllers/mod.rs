//! The controllers: one file each (or one folder, split by decision), one line in LOOPS each.

pub mod serviceaccount;
