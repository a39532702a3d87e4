//! Skiff's container runtime: sandboxes and containers from plain values, straight on the kernel.
//!
//! Three kinds of process share the work, all of them the same program, executed anew:
//!
//! - the **daemon** holds a [`client::Runtime`]: an async door that any task may use at once;
//! - one **supervisor** per machine ([`supervisor`]), single-threaded: it keeps the state, pumps
//!   logs and attached clients, and outlives the daemon;
//! - one **pod init** per sandbox ([`init`]): parent of every container of the pod; it holds the
//!   pod's namespaces and open streams, and writes starts and exits to disk, so that the
//!   supervisor's own death costs neither a container nor a line of a log.
//!
//! Where containers share process ids, their process 1 is one more, of a few instructions and with
//! no powers (`first`): nothing of the three above is in a container's sight.
//!
//! ```text
//! daemon --(length-prefixed JSON + descriptors)--> supervisor --> pod init --> container
//!          root/supervisor.sock                     state: root/sandboxes, root/containers
//! ```
//!
//! The values that go in are in [`spec`], those that come out in [`status`].
//!
//! What must never happen here: knowing a Kubernetes object; naming anything of the host that did
//! not come in through [`client::Config`]; waiting in the start path for what is not needed.

pub mod apparmor;
pub mod client;
pub mod container;
mod first;
pub mod init;
pub mod spec;
pub mod status;
pub mod stream;
pub mod supervisor;
mod sys;
mod wire;

/// First argument of the program when it is to be the supervisor.
pub const SUPERVISOR_WORD: &str = "supervisor";
/// First argument of the program when it is to be the init of a pod.
pub const INIT_WORD: &str = "pod-init";

/// `main` calls this before anything else, with the arguments after the program's name: if they
/// are those of a supervisor or a pod init, it becomes that and returns its exit code at the end.
pub fn reexec(args: &[String]) -> Option<i32> {
    match args.split_first() {
        Some((word, rest)) if word == SUPERVISOR_WORD => Some(supervisor::main(rest)),
        Some((word, rest)) if word == INIT_WORD => Some(init::main(rest)),
        _ => None,
    }
}

/// Everything that can go wrong, named by what was attempted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The supervisor could not be reached or started.
    #[error("cannot reach the supervisor at {path}: {source}")]
    Reach {
        /// Its socket.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke while a request was under way; its outcome is unknown: list and see.
    #[error("the supervisor went away while it worked on the request; list and try again")]
    Lost,
    /// There is no sandbox, container or exec of that name.
    #[error("{0} not found")]
    NotFound(String),
    /// The name is taken.
    #[error("{0} already exists")]
    Exists(String),
    /// The request does not fit the state that the thing is in.
    #[error("{0}")]
    State(String),
    /// A field of a spec is malformed or cannot be honoured on this machine.
    #[error("{0}")]
    Invalid(String),
    /// The container's program cannot be executed; the text is what users know from `exec`.
    #[error("{0}")]
    Exec(String),
    /// A system call failed; the text says which, on what, and why.
    #[error("{0}")]
    System(String),
}

/// What every call here returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Turns the error of a system call into ours, saying what was attempted.
fn failed(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Error {
    move |e| Error::System(format!("{what}: {e}"))
}
