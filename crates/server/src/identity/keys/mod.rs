//! Keys: the certificates and keys of one cluster, kept below one folder as PEM files that only
//! their owner reads.
//!
//! A cluster trusts one certificate authority. It signs a certificate for each party: the server
//! proves by its own that it is the server (so all its names and addresses stand in it), a client
//! proves by its own which user it is: the common name is the user, the organization is a group
//! (documentation page "Authenticating", X509 client certificates). Service accounts carry tokens
//! instead, signed by a key of their own ([`signing`]).
//!
//! Opening makes what is missing and re-issues what is about to expire, belongs to another
//! authority or lacks a wanted name; what is still good stays byte for byte. A private key never
//! leaves the folder but through this value.

mod issue;
pub mod sign;
pub mod signing;
pub mod tls;

pub use issue::life;
use issue::{Authority, Leaf};
use sign::Signer;
use signing::SigningKey;
use skiff_base::{World, disk};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The names that every server certificate carries: how pods call the server.
pub const SERVICE_NAMES: [&str; 5] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
];

/// The name that aggregated servers take the word of.
pub const FRONT_PROXY: &str = "front-proxy-client";

/// What the certificates are for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Further names of the server.
    pub names: Vec<String>,
    /// Its addresses: those it listens on and the address of the `kubernetes` Service.
    pub addresses: Vec<IpAddr>,
    /// The node of this machine.
    pub node: String,
    pub node_addresses: Vec<IpAddr>,
}

/// A certificate and its private key, as PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// All keys of one cluster.
pub struct Keys {
    authority: Authority,
    /// The server's own certificate.
    pub serving: Pair,
    /// `kubernetes-admin` of `system:masters`: what the kubeconfig of the cluster's owner holds.
    pub admin: Pair,
    /// `system:node:NAME` of `system:nodes`.
    pub node: Pair,
    /// What the node's own API shows to callers.
    pub node_serving: Pair,
    /// Who the server is when it calls a node.
    pub kubelet_client: Pair,
    /// Signs and checks the tokens of service accounts.
    pub signing: SigningKey,
    /// Who the server is when it calls an aggregated server, and speaks for a user there.
    pub front_proxy: Pair,
    /// Who vouches for that (PEM): an authority of its own, for whoever it certifies may name any user.
    pub front_proxy_ca: String,
}

/// Why the keys could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("cannot use {path}: {source}; check who owns the folder and whether the disk is full")]
    File { path: PathBuf, source: std::io::Error },
    #[error(
        "{path} holds no usable key or certificate ({why}): restore it, or delete it for a new one"
    )]
    Unreadable { path: PathBuf, why: String },
    #[error("cannot issue the certificate of {subject}: {why}")]
    Issue { subject: String, why: String },
    #[error("cannot set up TLS: {why}")]
    Tls { why: String },
}

impl Keys {
    /// Reads the keys below `folder`; makes or re-issues what is missing or stale.
    ///
    /// A key on P-256 takes tens of microseconds, so they are made one after another: threads would
    /// cost more.
    pub fn open(folder: &Path, wanted: &Wanted, world: &World) -> Result<Keys, KeysError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| KeysError::File { path: folder.into(), source })?;
        let files = Files { folder };
        let authority = files.authority("ca", "kubernetes", world)?;
        let front = files.authority("front-proxy-ca", "front-proxy-ca", world)?;
        let signing = files.signing()?;
        let leaf = |name, leaf: Leaf| files.leaf(name, &leaf, &authority, world);
        let node = format!("system:node:{}", wanted.node);
        let names = SERVICE_NAMES.iter().map(|n| (*n).to_owned()).chain(wanted.names.clone());
        Ok(Keys {
            serving: leaf(
                "apiserver",
                Leaf::server("kube-apiserver", names, with_loopback(&wanted.addresses)),
            )?,
            admin: leaf("admin", Leaf::client("kubernetes-admin", "system:masters"))?,
            node: leaf("kubelet-client", Leaf::client(&node, "system:nodes"))?,
            node_serving: leaf(
                "kubelet",
                node_leaf(
                    &wanted.node,
                    [wanted.node.clone(), "localhost".into()],
                    with_loopback(&wanted.node_addresses),
                ),
            )?,
            kubelet_client: leaf(
                "apiserver-kubelet-client",
                Leaf::client("kube-apiserver-kubelet-client", "system:masters"),
            )?,
            signing,
            front_proxy: files.leaf(FRONT_PROXY, &Leaf::client(FRONT_PROXY, ""), &front, world)?,
            front_proxy_ca: front.certificate().to_owned(),
            authority,
        })
    }

    /// The certificate that clients trust, as PEM (`ca.crt`).
    pub fn ca_pem(&self) -> &str {
        self.authority.certificate()
    }

    /// What signs tokens, and what signs for those who make their keys themselves: for `most` at the longest.
    pub fn signers(self, most: Duration) -> (SigningKey, Signer) {
        (self.signing, Signer::new(self.authority, most))
    }
}

/// The serving certificate of a node.
fn node_leaf(node: &str, names: impl IntoIterator<Item = String>, addresses: Vec<IpAddr>) -> Leaf {
    Leaf::server(&format!("system:node:{node}"), names, addresses).of("system:nodes")
}

fn with_loopback(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let loopback = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
    addresses.iter().copied().chain(loopback).collect()
}

/// The folder, file by file.
struct Files<'a> {
    folder: &'a Path,
}

impl Files<'_> {
    fn authority(&self, file: &str, name: &str, world: &World) -> Result<Authority, KeysError> {
        let (cert_file, key_file) = (format!("{file}.crt"), format!("{file}.key"));
        if let (Some(certificate), Some(key)) = (self.read(&cert_file)?, self.read(&key_file)?) {
            let unreadable =
                |why| KeysError::Unreadable { path: self.folder.join(&cert_file), why };
            return Authority::read(Pair { certificate, key }).map_err(unreadable);
        }
        let authority = Authority::make(name, world)?;
        self.write(&key_file, authority.key())?;
        self.write(&cert_file, authority.certificate())?;
        Ok(authority)
    }

    fn signing(&self) -> Result<SigningKey, KeysError> {
        let pem = match self.read("sa.key")? {
            Some(pem) => pem,
            None => {
                let (key, public) = issue::key_pair().map_err(|why| KeysError::Issue {
                    subject: "the key of service accounts".into(),
                    why,
                })?;
                self.write("sa.key", &key)?;
                self.write("sa.pub", &public)?;
                key
            }
        };
        SigningKey::from_pem(&pem)
            .map_err(|why| KeysError::Unreadable { path: self.folder.join("sa.key"), why })
    }

    fn leaf(
        &self,
        name: &str,
        leaf: &Leaf,
        authority: &Authority,
        world: &World,
    ) -> Result<Pair, KeysError> {
        let (cert_file, key_file) = (format!("{name}.crt"), format!("{name}.key"));
        if let (Some(certificate), Some(key)) = (self.read(&cert_file)?, self.read(&key_file)?) {
            let pair = Pair { certificate, key };
            if authority.still_good(&pair, leaf, world) {
                return Ok(pair);
            }
        }
        let pair = authority.issue(leaf, world)?;
        // The key goes first: a crash in between leaves a pair that does not match, which is
        // re-issued.
        self.write(&key_file, &pair.key)?;
        self.write(&cert_file, &pair.certificate)?;
        Ok(pair)
    }

    fn read(&self, name: &str) -> Result<Option<String>, KeysError> {
        let path = self.folder.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(KeysError::File { path, source }),
        }
    }

    /// Replaces a file as a whole: readers see the old text or the new one.
    fn write(&self, name: &str, text: &str) -> Result<(), KeysError> {
        let path = self.folder.join(name);
        let written = disk::replace(&path, text.as_bytes(), 0o600);
        written.map_err(|source| KeysError::File { path, source })
    }
}

#[cfg(test)]
mod tests;
