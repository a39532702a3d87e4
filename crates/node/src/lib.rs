//! The node: it runs the pods that are bound to it, and says how they are.
//!
//! ```text
//! watch of pods --> one worker per pod: facts -> pod/plan.rs (pure) -> actions --> runtime, network,
//!                      ^                                                              images, volumes
//!                      +---- outcomes, exits, probe results <---------------------------+
//!                   pod/status.rs (pure) --> one write of the status when it has changed
//! ```
//!
//! Read in this order: [`pod::seen`] (the facts), [`pod::plan`] (the logic), [`pod::worker`] (the
//! loop), `pod/act*.rs` (what is done). [`container`] says what the runtime is asked for, [`volumes`]
//! what a container sees, [`register`] what the node says of itself, [`logs`] how logs are read,
//! [`api`] what others may ask of it, [`services`] where connections to services go, [`rules`] that
//! nobody takes the packet rules away.
//!
//! What must never happen here: logic outside of the pure files; waiting for a status or an event to
//! be stored while a pod starts; polling.

pub mod admit;
pub mod api;
pub mod container;
pub mod hooks;
pub mod logs;
pub mod machine;
mod node;
pub mod pod;
pub mod probe;
mod qos;
pub mod register;
pub mod report;
pub mod rim;
pub mod rules;
pub mod services;
pub mod sources;
pub mod streams;
pub mod volumes;
mod watches;

pub use node::{Config, Equipment, Node, Reach};
pub use rim::Threads;

/// What can go wrong when a node is set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder of the node cannot be made.
    #[error("make the folder {path}: {source}")]
    MakeFolder { path: std::path::PathBuf, source: std::io::Error },
    /// The folder of all pods cannot be read.
    #[error("find what is left of pods in {path}: {source}")]
    FindPods { path: std::path::PathBuf, source: std::io::Error },
    /// The machine does not say what it has.
    #[error("read what the machine has from {path}: {source}")]
    ReadMachine { path: &'static str, source: std::io::Error },
    /// The runtime does not answer.
    #[error("ask the runtime: {0}")]
    AskRuntime(#[from] skiff_runtime::Error),
}
