//! The scheduler: it finds a node for each pod that has none, and binds the pod to it.
//!
//! [`plan`] is the logic and pure: a pod and the nodes go in, a node or the reasons against each
//! come out. A filter ([`filters`]) says whether a pod may run on a node, a score ([`scores`]) how
//! gladly; one file each. [`state`] keeps what filters look at, [`run`] is the loop that acts.
//!
//! What must never happen here: a decision outside of the pure files; a bind that waits for the one
//! before it.

pub mod filters;
pub mod plan;
mod queue;
mod run;
pub mod scores;
pub mod state;

pub use run::{NAME, Scheduler};
