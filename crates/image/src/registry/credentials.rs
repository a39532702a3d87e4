//! Credentials of registries, and Docker's config files that hold them (imagePullSecrets).
use crate::error::Error;
use crate::reference::Reference;

/// What to show a registry.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Credentials {
    Basic { username: String, password: String },
    /// An OAuth2 refresh token (`identitytoken`).
    Identity { token: String },
    /// A bearer token for the registry itself (`registrytoken`).
    Bearer { token: String },
}

/// The `auths` of a `.dockerconfigjson` (or a `.dockercfg`).
#[derive(Clone, Default)]
pub struct DockerConfig {}

impl DockerConfig {
    /// Reads a `.dockerconfigjson` (`{"auths": {...}}`) or a bare `.dockercfg`.
    pub fn parse(bytes: &[u8]) -> Result<DockerConfig, Error> { todo!() }
    /// The credentials for an image, the closest match first.
    pub fn lookup(&self, reference: &Reference) -> Vec<Credentials> { todo!() }
}
