//! Identity: who somebody is, by certificate, token or as whom they may act; and the keys that this rests on.
//! Never what they may do: that is [`crate::authorize`].

pub mod authenticate;
pub(crate) mod impersonate;
mod info;
pub mod issuers;
pub mod jws;
pub mod keys;
pub mod reviewed;
pub mod token;

pub use info::UserInfo;
