//! TLS as the server and its clients use it: who is trusted, what is shown, which protocols are
//! offered; and the user that a client's certificate names. Time comes from the World, so that
//! certificates expire on virtual time too.

use super::{Keys, KeysError, Pair};
use crate::identity::authenticate::authenticated;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::{ResolvesClientCert, Resumption, WantsClientCert};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert, WantsServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, SignatureScheme, WantsVerifier,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use skiff_api::wire::User;
use skiff_base::{RwLock, World};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The attribute of a subject that carries a user's uid (KEP-4412; private enterprise number
/// 57683).
const UID_OID: &str = "1.3.6.1.4.1.57683.2";

/// What servers offer, best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

impl Keys {
    /// The API server's side: shows `serving`, asks for a client certificate and takes none, too.
    pub fn server_config(&self, world: &World) -> Result<Arc<ServerConfig>, KeysError> {
        server_config(self.ca_pem(), &self.serving, world)
    }

    /// The side of a client that trusts this cluster, and shows `pair` when there is one.
    pub fn client_config(
        &self,
        pair: Option<&Pair>,
        world: &World,
    ) -> Result<Arc<ClientConfig>, KeysError> {
        client_config(self.ca_pem(), pair, world)
    }

    /// The `user` entry of a kubeconfig, as a JSON (hence YAML) map.
    pub fn kubeconfig_user(pair: &Pair) -> skiff_json::Value {
        skiff_json::json!({
            "client-certificate-data": STANDARD.encode(&pair.certificate),
            "client-key-data": STANDARD.encode(&pair.key),
        })
    }

    /// The `cluster` entry of a kubeconfig.
    pub fn kubeconfig_cluster(&self, server: &str) -> skiff_json::Value {
        skiff_json::json!({
            "certificate-authority-data": STANDARD.encode(self.ca_pem()),
            "server": server,
        })
    }
}

/// A server that shows `pair` and checks client certificates against `ca` (PEM).
pub fn server_config(ca: &str, pair: &Pair, world: &World) -> Result<Arc<ServerConfig>, KeysError> {
    let (chain, key) = decode(pair)?;
    let mut config = server(ca, world)?.with_single_cert(chain, key).map_err(wrong)?;
    config.alpn_protocols = protocols();
    Ok(Arc::new(config))
}

/// A client that trusts `ca` (PEM) and shows `pair`, or nothing.
pub fn client_config(
    ca: &str,
    pair: Option<&Pair>,
    world: &World,
) -> Result<Arc<ClientConfig>, KeysError> {
    let mut config = showing(client(ca, world)?, pair)?;
    config.alpn_protocols = protocols();
    Ok(Arc::new(config))
}

/// A certificate that is renewed while it is shown: handshakes from then on take the new one. Before the first there is
/// none.
#[derive(Debug, Default)]
pub struct Shown(RwLock<Option<Arc<CertifiedKey>>>);

impl Shown {
    pub fn renew(&self, pair: &Pair) -> Result<(), KeysError> {
        let (chain, key) = decode(pair)?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(wrong)?;
        *self.0.write() = Some(Arc::new(key));
        Ok(())
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().clone()
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.read().clone()
    }

    fn has_certs(&self) -> bool {
        self.0.read().is_some()
    }
}

/// A server that shows what is shown just now, and checks client certificates against `ca` (PEM).
pub fn renewed_server(
    ca: &str,
    shown: Arc<Shown>,
    world: &World,
) -> Result<Arc<ServerConfig>, KeysError> {
    let mut config = server(ca, world)?.with_cert_resolver(shown);
    config.alpn_protocols = protocols();
    Ok(Arc::new(config))
}

/// A client that trusts `ca` (PEM) and shows what is shown just now.
pub fn renewed_client(
    ca: &str,
    shown: Arc<Shown>,
    world: &World,
) -> Result<Arc<ClientConfig>, KeysError> {
    let mut config = client(ca, world)?.with_client_cert_resolver(shown);
    config.alpn_protocols = protocols();
    // A resumed session would go on as whoever it was begun as.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn protocols() -> Vec<Vec<u8>> {
    PROTOCOLS.iter().map(|p| p.to_vec()).collect()
}

fn server(
    ca: &str,
    world: &World,
) -> Result<ConfigBuilder<ServerConfig, WantsServerCert>, KeysError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider())
        .allow_unauthenticated()
        .build()
        .map_err(wrong)?;
    let builder = ServerConfig::builder_with_details(provider(), Arc::new(Clock(world.clone())));
    let builder = builder.with_safe_default_protocol_versions().map_err(wrong)?;
    Ok(builder.with_client_cert_verifier(verifier))
}

fn client(
    ca: &str,
    world: &World,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, KeysError> {
    Ok(client_builder(world)?.with_root_certificates(roots(ca)?))
}

/// A client of whom it is not said yet whom it trusts.
pub fn client_builder(
    world: &World,
) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, KeysError> {
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(Clock(world.clone())));
    builder.with_safe_default_protocol_versions().map_err(wrong)
}

/// Whose certificates a client takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trusted {
    /// Those of these authorities (PEM), and nobody else's.
    Of(String),
    /// Those of the authorities that the machine trusts, in this file.
    System(PathBuf),
    /// Anybody's.
    Anybody,
}

/// Where distributions keep the authorities that the machine trusts.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

impl Trusted {
    /// Those whom this machine trusts; where it has no such file, the first one is missed.
    pub fn system() -> Trusted {
        let found = SYSTEM.iter().find(|file| Path::new(file).exists());
        Trusted::System(found.unwrap_or(&SYSTEM[0]).into())
    }
}

/// Whether these are authorities at all (PEM).
///
/// # Errors
/// What is wrong with them.
pub fn check_authorities(ca: &str) -> Result<(), String> {
    match roots(ca) {
        Ok(roots) if roots.is_empty() => {
            Err("data does not contain any valid RSA or ECDSA certificates".to_owned())
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// What a client shows: `pair`, or nothing.
///
/// # Errors
/// When the pair is none.
pub fn showing(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    pair: Option<&Pair>,
) -> Result<ClientConfig, KeysError> {
    match pair {
        None => Ok(builder.with_no_client_auth()),
        Some(pair) => {
            let (chain, key) = decode(pair)?;
            builder.with_client_auth_cert(chain, key).map_err(wrong)
        }
    }
}

/// The user that a verified client certificate names: the common name, the organizations as groups.
/// `None` when it names nobody, which makes the caller anonymous.
pub fn user(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().last()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|o| Some(o.as_str().ok()?.to_owned()));
    let uid = subject
        .iter_attributes()
        .find(|a| a.attr_type().to_id_string() == UID_OID)
        .and_then(|a| a.as_str().ok());
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    let credential = format!("X509SHA256={}", skiff_base::id::hex(digest.as_ref()));
    let mut groups: Vec<String> = groups.collect();
    authenticated(&name, &mut groups);
    (!name.is_empty()).then(|| User {
        groups,
        uid: uid.unwrap_or("").to_owned(),
        extra: vec![(crate::identity::token::CREDENTIAL_ID.to_owned(), vec![credential])],
        name,
    })
}

/// The World as TLS sees it.
#[derive(Clone)]
struct Clock(World);

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// The cryptography that all of it uses.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(ca: &str) -> Result<RootCertStore, KeysError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.map_err(wrong)?).map_err(wrong)?;
    }
    Ok(roots)
}

type Decoded = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn decode(pair: &Pair) -> Result<Decoded, KeysError> {
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(wrong)?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(wrong)?;
    Ok((chain, key))
}

fn wrong(error: impl std::fmt::Display) -> KeysError {
    KeysError::Tls { why: error.to_string() }
}
