//! nftables: the kernel's packet rules, written as one batch that happens whole or not at all.
//!
//! A table holds chains, sets and maps. A chain is a list of rules; a base chain hangs on a hook
//! that packets pass. A rule is a list of expressions that load fields into registers, compare
//! them, look them up, and end in a verdict. Maps are data that rules look at, so a change of data
//! needs no change of rules: adding an element costs microseconds, however many there are.
//!
//! Never here: what tables are for. Only IPv4 tables are written; the family is one constant.

pub mod batch;
pub(crate) mod encode;
pub mod expression;
pub mod read;
mod text;
pub mod value;
