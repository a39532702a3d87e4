//! Keeping a cluster: its backup in one file, and the way back.
//!
//! ```text
//! daemon: objects at one revision, keys      entries ([`entries`])
//! command line: summed or locked, in pieces  parcel ([`parcel`])
//! FILE
//! ```
//!
//! The daemon knows no passphrase, and the command line no object: it carries rows to a store in the making
//! ([`crate::host::MakeStore`]). A restore stands beside the old data until it is whole and checked to its last byte;
//! then it takes their place, and whoever comes next finishes what was interrupted ([`restore::finish`]).

pub mod backup;
pub mod entries;
pub mod parcel;
pub mod restore;
