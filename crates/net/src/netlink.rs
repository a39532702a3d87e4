//! Netlink: how a program asks the kernel's network stack, in messages of attributes.
//!
//! A message is a header of sixteen bytes, a small fixed structure, and attributes: length, type,
//! value, padded to four bytes; an attribute may hold attributes. Links and routes (rtnetlink),
//! packet rules (nftables) and connection tracking speak the same form, so one codec serves all.
//! The kernel works on a request while it is being sent: when `send` returns, it is done.
//!
//! Never here: what a message means. Formats: man pages netlink(7), rtnetlink(7), RFC 3549.

pub mod conntrack;
pub mod listeners;
pub mod message;
pub mod parse;
pub mod route;
pub mod socket;
