//! A simulator: the whole control plane and several nodes in one thread on virtual time, with all that chance decides
//! drawn from one seed (docs/testing.md). Two runs of a seed are the same, to the last revision.
//!
//! ```text
//! users, observers --> network --> server -- store -- disk      faults: network, disk, crashes
//!                        ^            |
//!           agents ------+       loops, scheduler                everybody --> history --> checkers
//!             |
//!        fake kernels
//! ```
//!
//! What runs is the program's own: the store's committer over memory, the server's whole pipeline, all loops, the
//! scheduler, the caches of every client, and of the node its plans, statuses, adoption and reports. Here are only
//! the world around it, those who use it, and those who judge it. Nothing depends on this crate.

mod agent;
pub mod check;
mod dice;
mod disk;
mod entropy;
mod faults;
pub mod history;
mod kernel;
mod network;
mod observer;
mod plane;
mod run;
mod worker;
mod workload;

pub use run::{Faulty, Outcome, Run, run};
