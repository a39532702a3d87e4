//! The rim: where bytes from outside become calls and answers become bytes, how much of that runs at once, and what of
//! it is counted.

pub mod http;
pub mod limit;
pub mod requests;
