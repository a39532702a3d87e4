//! Loops: everything that reacts. One shape for all of them: `observe -> plan -> act`, where only `plan` has logic.
//!
//! A loop is woken with a key, never with an event; it looks at the caches, decides purely, and the runner alone acts,
//! through the client, hence through the server's whole pipeline. A loop never touches the store.

pub mod changes;
pub mod controllers;
mod health;
mod on;
mod parts;
mod queue;
mod runner;
#[cfg(test)]
mod testkit;
mod writer;

pub use changes::{Change, Changes, Tell};
pub use controllers::LOOPS;
pub use controllers::lasting::Wanted;
pub use health::{Health, Healths};
pub use on::On;
pub use queue::Depth;
pub use runner::{ClusterFacts, Context, Loop, Next, Runner};
