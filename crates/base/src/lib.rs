//! What every part of Skiff stands on, and nothing of Kubernetes: the World (time, randomness, tasks), parts, locks,
//! threads that may wait, small files, ids, back-off, ranges of addresses.
//!
//! Time, randomness and spawning enter through [`World`] alone, so that a whole cluster can run on virtual time from a
//! seed. Code outside this crate and the rims calls no `Instant::now`, no `SystemTime::now`, no thread RNG and
//! no bare spawn.

pub mod accept;
pub mod backoff;
pub mod blocking;
mod cidr;
pub mod disk;
pub mod fault;
mod fnv;
pub mod id;
pub mod lock;
pub mod part;
mod pool;
pub mod world;

pub use backoff::Backoff;
pub use blocking::Blocking;
pub use cidr::{Cidr, NoCidr};
pub use fnv::Fnv;
pub use lock::{Lock, RwLock};
pub use part::{OnEnd, Part, Parts};
pub use world::{Tasks, Time, World};
