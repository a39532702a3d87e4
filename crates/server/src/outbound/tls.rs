//! TLS of a call: which authorities a peer must be certified by, and what is wrong with its certificate in the words of
//! Go's client, by which operators look for causes.

use super::{Failure, Inner, Speaks};
use crate::connect::dial::Anybody;
use crate::identity::keys::KeysError;
use crate::identity::keys::tls::{self as own, Trusted};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How a peer is called, or why it cannot be.
pub(super) fn config(
    outbound: &Inner,
    trusted: &Trusted,
    speaks: Speaks,
) -> Result<Arc<ClientConfig>, String> {
    let (roots, bundle) = match trusted {
        Trusted::System(file) => (outbound.system(file)?, Vec::new()),
        Trusted::Of(pem) => {
            let bundle = certificates(pem.as_bytes());
            if bundle.is_empty() {
                let why = "unable to load root certificates: unable to parse bytes as PEM block";
                return Err(why.into());
            }
            (Arc::new(authorities(bundle.clone())), bundle)
        }
        Trusted::Anybody => (Arc::new(RootCertStore::empty()), Vec::new()),
    };
    let provider = own::provider();
    let known = Anybody(provider.clone());
    let verifier: Arc<dyn ServerCertVerifier> = match trusted {
        Trusted::Anybody => Arc::new(known),
        Trusted::System(_) | Trusted::Of(_) => {
            let inner = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
            // Without any authority there is no such verifier, and nobody is certified.
            Arc::new(Verifier { inner: inner.ok(), bundle, known })
        }
    };
    let words = |error: KeysError| error.to_string();
    let builder = own::client_builder(&outbound.world).map_err(words)?.dangerous();
    let builder = builder.with_custom_certificate_verifier(verifier);
    let mut config = own::showing(builder, outbound.as_whom.pair.as_ref()).map_err(words)?;
    config.alpn_protocols = match speaks {
        Speaks::Plain | Speaks::One => vec![b"http/1.1".to_vec()],
        Speaks::Two => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}

/// One that is not understood is nobody's authority.
fn authorities(certificates: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    roots
}

impl Inner {
    /// The authorities that this machine trusts, as they were when first needed.
    fn system(&self, file: &Path) -> Result<Arc<RootCertStore>, String> {
        let mut known = self.system.lock();
        if let Some((of, roots)) = &*known
            && of == file
        {
            return Ok(roots.clone());
        }
        let pem = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let roots = Arc::new(authorities(certificates(&pem)));
        *known = Some((file.to_owned(), roots.clone()));
        Ok(roots)
    }
}

/// The handshake; `name` is whom the certificate must be for.
pub async fn connect(
    stream: TcpStream,
    name: &str,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, Failure> {
    let server = ServerName::try_from(name.to_owned());
    let server = server.map_err(|error| Failure::Tls(error.to_string()))?;
    let shaken = TlsConnector::from(config).connect(server, stream).await;
    shaken.map_err(|error| in_known_words(&error, name))
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
    /// Checks that a peer holds the key of its certificate.
    known: Anybody,
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
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let Some(inner) = &self.inner else { return Err(unknown) };
        match inner.verify_server_cert(leaf, between, name, ocsp, now) {
            Err(_) if self.bundle.iter().any(|it| **it == **leaf) => {
                let parsed = rustls::server::ParsedCertificate::try_from(leaf)?;
                rustls::client::verify_server_name(&parsed, name)?;
                in_its_time(leaf, now)?;
                Ok(ServerCertVerified::assertion())
            }
            // An authority that vouches for itself is one that nobody knows, whatever else it may not do.
            Err(_) if vouches_for_itself(leaf) => Err(unknown),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.known.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.known.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.known.supported_verify_schemes()
    }
}

fn vouches_for_itself(leaf: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(leaf).is_ok_and(|(_, it)| it.issuer() == it.subject())
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
