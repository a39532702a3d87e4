//! TLS of a call: which authorities a peer must be certified by, and what is wrong with its certificate in the words of
//! Go's client, by which operators look for causes.

use super::{Failure, Inner, Speaks};
use crate::identity::keys::tls as own;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use skiff_api::wire::Duplex;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Who vouches for a peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Those whom this machine trusts.
    System,
    /// Those of a bundle (PEM), and nobody else.
    Bundle(Vec<u8>),
    /// Nobody needs to (`insecureSkipTLSVerify` of an APIService).
    Anybody,
}

/// Where distributions keep the authorities that the machine trusts.
const ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A connection that is secret, and whose peer is known.
pub struct Secret(TlsStream<TcpStream>);

impl Secret {
    pub fn speaks_two(&self) -> bool {
        self.0.get_ref().1.alpn_protocol() == Some(b"h2")
    }

    pub fn into_duplex(self) -> Box<dyn Duplex> {
        Box::new(self.0)
    }
}

/// How a peer is called, or why it cannot be.
pub(super) fn config(
    outbound: &Inner,
    trust: &Trust,
    speaks: Speaks,
) -> Result<Arc<ClientConfig>, String> {
    let (roots, bundle) = match trust {
        Trust::System => (outbound.roots.get_or_init(system).clone()?, Vec::new()),
        Trust::Bundle(pem) => {
            let bundle = certificates(pem);
            if bundle.is_empty() {
                let why = "unable to load root certificates: unable to parse bytes as PEM block";
                return Err(why.into());
            }
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(bundle.clone());
            (Arc::new(roots), bundle)
        }
        Trust::Anybody => (Arc::new(RootCertStore::empty()), Vec::new()),
    };
    let provider = own::provider();
    // Without any authority there is no such verifier, and nobody is certified.
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
    let anybody = *trust == Trust::Anybody;
    let verifier = Verifier { inner: inner.ok(), bundle, anybody, provider };
    let mut config = own::client_builder(&outbound.world)
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = match speaks {
        Speaks::One => vec![b"http/1.1".to_vec()],
        Speaks::Two => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}

fn system() -> Result<Arc<RootCertStore>, String> {
    let found = ROOTS.iter().find_map(|path| std::fs::read(path).ok());
    let pem = found.ok_or("this machine has no file of authorities that it trusts")?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&pem));
    Ok(Arc::new(roots))
}

/// The handshake; `name` is whom the certificate must be for.
pub async fn connect(
    stream: TcpStream,
    name: &str,
    config: Arc<ClientConfig>,
) -> Result<Secret, Failure> {
    stream.set_nodelay(true)?;
    let server = ServerName::try_from(name.to_owned());
    let server = server.map_err(|error| Failure::Tls(error.to_string()))?;
    let shaken = TlsConnector::from(config).connect(server, stream).await;
    shaken.map(Secret).map_err(|error| in_known_words(&error, name))
}

fn in_known_words(error: &io::Error, name: &str) -> Failure {
    let Some(wrong) = error.get_ref().and_then(|it| it.downcast_ref::<Error>()) else {
        return Failure::Broken;
    };
    Failure::Tls(match wrong {
        Error::InvalidCertificate(wrong) => {
            format!("tls: failed to verify certificate: x509: {}", certificate(wrong, name))
        }
        Error::InvalidMessage(_) => "tls: first record does not look like a TLS handshake".into(),
        Error::AlertReceived(alert) => format!("remote error: tls: {}", told(*alert)),
        other => format!("tls: {other}"),
    })
}

fn certificate(wrong: &CertificateError, name: &str) -> String {
    let for_others = |names: &[String]| match names {
        [] => "certificate is not valid for any names".to_owned(),
        names => {
            let names: Vec<_> = names.iter().map(|it| shown_name(it)).collect();
            format!("certificate is valid for {}, not {name}", names.join(", "))
        }
    };
    match wrong {
        CertificateError::UnknownIssuer => "certificate signed by unknown authority".into(),
        CertificateError::NotValidForNameContext { presented, .. } => for_others(presented),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "certificate has expired or is not yet valid: current time {} is after {}",
            moment(*time),
            moment(*not_after)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "certificate has expired or is not yet valid: current time {} is before {}",
            moment(*time),
            moment(*not_before)
        ),
        CertificateError::BadSignature => {
            "invalid signature: parent certificate cannot sign".into()
        }
        other => format!("{other:?}"),
    }
}

/// `DnsName("a")`, as the verifier shows a name, without what is around it.
fn shown_name(shown: &str) -> String {
    shown.split('"').nth(1).unwrap_or(shown).to_owned()
}

fn moment(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    skiff_base::Time::from_second(seconds).map_or_else(|_| String::new(), |it| it.to_string())
}

fn told(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::HandshakeFailure => "handshake failure".into(),
        AlertDescription::BadCertificate => "bad certificate".into(),
        AlertDescription::CertificateRequired => "certificate required".into(),
        AlertDescription::ProtocolVersion => "protocol version not supported".into(),
        AlertDescription::InternalError => "internal error".into(),
        AlertDescription::UnrecognisedName => "unrecognized name".into(),
        AlertDescription::NoApplicationProtocol => "no application protocol".into(),
        other => format!("{other:?}"),
    }
}

/// As Go's client decides: a certificate that stands in the bundle itself is trusted, though it is an authority's.
#[derive(Debug)]
struct Verifier {
    inner: Option<Arc<WebPkiServerVerifier>>,
    bundle: Vec<CertificateDer<'static>>,
    anybody: bool,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.anybody {
            return Ok(ServerCertVerified::assertion());
        }
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let Some(inner) = &self.inner else { return Err(unknown) };
        match inner.verify_server_cert(leaf, between, name, ocsp, now) {
            Err(_) if self.bundle.iter().any(|it| **it == **leaf) => {
                let parsed = rustls::server::ParsedCertificate::try_from(leaf)?;
                rustls::client::verify_server_name(&parsed, name)?;
                in_its_time(leaf, now)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, leaf, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, leaf, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn in_its_time(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, parsed) = X509Certificate::from_der(leaf)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let at = |time: i64| {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(time.max(0).unsigned_abs()))
    };
    let not_before = at(parsed.validity().not_before.timestamp());
    let not_after = at(parsed.validity().not_after.timestamp());
    let wrong = match now {
        now if now < not_before => CertificateError::NotValidYetContext { time: now, not_before },
        now if now > not_after => CertificateError::ExpiredContext { time: now, not_after },
        _ => return Ok(()),
    };
    Err(Error::InvalidCertificate(wrong))
}
