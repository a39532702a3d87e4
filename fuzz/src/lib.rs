//! What is fuzzed. Decoders that are private to their crates are taken in by path, so that they can stay private.

pub use skiff_store::Facets;

#[path = "../../crates/server/src/write/admission/webhook/answer.rs"]
#[expect(dead_code, reason = "the server names the two sorts in places of its own")]
mod answer;
#[path = "../../crates/server/src/read/converted.rs"]
mod converted;
#[path = "../../crates/server/src/aggregate/found.rs"]
#[expect(dead_code, reason = "the server bounds what is read before it is")]
mod found;
#[path = "../../crates/node/src/api/spdy.rs"]
#[expect(dead_code, reason = "the node uses more of it than its decoder")]
mod spdy;
#[path = "../../crates/node/src/api/spdy_headers.rs"]
mod spdy_headers;
#[path = "../../crates/store/src/codec.rs"]
#[cfg_attr(not(test), expect(dead_code, reason = "only facets are decoded here"))]
mod store;

pub mod targets;

/// What the store's codec finds under this name in its own crate.
mod facets {
    pub use skiff_store::facets;
}
