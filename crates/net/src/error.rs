//! What can go wrong, named by what was attempted.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// Every fallible call of this crate answers with this.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed attempt. The text says what to do where there is something to do. `detail` is the
/// kernel's own reason, in brackets, or empty.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open network namespace {path}: {source}")]
    OpenNamespace { path: PathBuf, source: io::Error },
    #[error("create network namespace: {0} (this needs root)")]
    CreateNamespace(io::Error),
    #[error("enter network namespace: {0}")]
    EnterNamespace(io::Error),
    #[error("open netlink socket: {0}")]
    OpenSocket(io::Error),
    #[error("talk to the kernel over netlink: {0}")]
    Exchange(io::Error),
    #[error("read the kernel's answer: {0}")]
    Decode(&'static str),
    #[error("{what}: {source}{detail}")]
    Refused { what: String, source: io::Error, detail: String },
    #[error("set sysctl {name}: {source}")]
    Sysctl { name: String, source: io::Error },
    #[error("pod range {0} is too small; it needs at least 4 addresses")]
    RangeTooSmall(skiff_base::Cidr),
    #[error("no free address in {0}; delete pods or give the node a larger range")]
    RangeExhausted(skiff_base::Cidr),
    #[error("address {0} is already in use by another pod")]
    AddressTaken(IpAddr),
    #[error("address {0} is not in the node's pod range {1}")]
    AddressOutside(IpAddr, skiff_base::Cidr),
    #[error("host port {0} is already taken by another pod of this node")]
    HostPortTaken(String),
    #[error("host port {0} is taken by a program of this machine; stop it or take another port")]
    HostPortOfMachine(String),
    #[error("sandbox {0} is attached already")]
    AlreadyAttached(String),
    #[error("id {0:?} is unfit for a sandbox; use 1 to 64 of a-z A-Z 0-9 . _ -")]
    BadId(String),
    #[error("the node has no address; bring up an interface with an IPv4 address")]
    NoNodeAddress,
}

impl Error {
    /// The error number of a refusal, for callers that treat "exists" or "is gone" as done.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}
