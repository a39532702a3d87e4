//! Cluster DNS: names of services, of their endpoints and of pods, for everybody in the cluster.
//!
//! ```text
//! Services, EndpointSlices, Namespaces -> follow.rs -> zone.rs (pure: what a name leads to)
//! query --> server.rs --> answer.rs --> of the cluster: zone.rs
//!                                  \--> any other name: forward.rs asks the machine's resolvers
//! ```
//! The names are those of the specification "Kubernetes DNS-Based Service Discovery" 1.1.0; search
//! lists and `ndots` are the client's affair.
//!
//! Never here: a write to the API but the one that says where this server listens
//! ([`publish`]); an answer from a state that has not been seen whole.

pub mod answer;
pub mod fair;
pub mod follow;
pub mod forward;
pub mod publish;
pub mod server;
pub mod zone;

/// What can go wrong when the server is set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("listen for DNS on {address}: {source}; is another DNS server running there?")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    #[error("say where cluster DNS listens: {0}")]
    Publish(#[from] skiff_api::Status),
}
