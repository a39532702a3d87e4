//! The scheduler: it finds a node for each pod that has none, and binds the pod to it.
//!
//! [`plan`] is the logic and pure: a pod and a [`snapshot`] of the nodes go in, a node or the reasons against each come
//! out. What may be said for and against a node stands in [`plugins`], one file each. `mind` follows the cluster and
//! keeps the pods that wait (`queue`), without any IO; `run` is the loop around it that acts.
//!
//! What must never happen here: a decision outside of the pure files; a bind that waits for the one before it; a lock
//! held while something is planned.

mod figures;
mod mind;
pub mod plan;
pub mod plugins;
pub mod pod;
pub mod preempt;
mod queue;
mod run;
pub mod snapshot;
pub mod storage;
mod tally;

pub use figures::Figures;
pub use run::{NAME, Scheduler};
