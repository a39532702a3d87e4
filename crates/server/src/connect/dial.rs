//! One HTTP/1.1 request to a node or a pod, and its answer as a stream.
//!
//! Each request has a connection of its own: streams last, and the others are rare. Its task ends
//! with the answer. Never here: who is called, and why.

use super::target::Node;
use crate::authorize::node;
use crate::outbound;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use skiff_api::wire::Duplex;
use skiff_base::{Tasks, World};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio_rustls::TlsConnector;

/// Connecting and the TLS handshake together; a node that is up answers within milliseconds.
const CONNECT: Duration = Duration::from_secs(10);
/// A refusal's text is read up to this size.
const TEXT_MOST: usize = 64 * 1024;

/// How nodes, and pods that speak TLS, are called.
#[derive(Clone)]
pub struct Nodes {
    node: TlsConnector,
    pod: TlsConnector,
}

impl Nodes {
    /// `config` trusts the cluster's authority and shows the certificate of the server as a client.
    pub fn new(config: &ClientConfig) -> Nodes {
        let mut node = config.clone();
        // An upgrade needs HTTP/1.1.
        node.alpn_protocols = vec![b"http/1.1".to_vec()];
        let provider = config.crypto_provider().clone();
        // The certificate of a pod is its own affair: the caller named the pod, and reaches it.
        let mut pod = config.clone();
        pod.alpn_protocols.clone_from(&node.alpn_protocols);
        pod.dangerous().set_certificate_verifier(Arc::new(Anybody(provider)));
        pod.client_auth_cert_resolver = Arc::new(NoCertificate);
        Nodes { node: Arc::new(node).into(), pod: Arc::new(pod).into() }
    }
}

/// Whom to call.
pub enum Callee {
    /// A node's own API: it must show that it is this node.
    Node(Node),
    Plain(SocketAddr),
    /// The same over TLS.
    Secret(SocketAddr),
}

/// `host:port`
impl fmt::Display for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Callee::Node(Node { address, port, .. }) if address.contains(':') => {
                write!(f, "[{address}]:{port}")
            }
            Callee::Node(Node { address, port, .. }) => write!(f, "{address}:{port}"),
            Callee::Plain(address) | Callee::Secret(address) => write!(f, "{address}"),
        }
    }
}

/// An answer whose body has not been read.
pub struct Called {
    pub head: http::response::Parts,
    pub body: Incoming,
    /// Drives the connection for as long as the body is wanted.
    connection: Tasks,
}

/// Sends a request and waits for the head of the answer.
pub async fn call(
    nodes: &Nodes,
    world: &World,
    callee: &Callee,
    request: http::Request<Full<Bytes>>,
) -> io::Result<Called> {
    let late = || Err(io::Error::other(format!("dial tcp {callee}: i/o timeout")));
    let stream = world.within(CONNECT, connect(nodes, callee)).await.unwrap_or_else(late)?;
    over(stream, request).await
}

/// The same over a connection that is there, and is this request's own.
pub async fn over(
    stream: Box<dyn Duplex>,
    request: http::Request<Full<Bytes>>,
) -> io::Result<Called> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, driven) = handshake.map_err(io::Error::other)?;
    let connection = Tasks::new();
    connection.spawn(async move {
        if let Err(error) = driven.with_upgrades().await {
            tracing::debug!(%error, "a connection of a request ended");
        }
    });
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let (head, body) = response.into_parts();
    Ok(Called { head, body, connection })
}

async fn connect(nodes: &Nodes, callee: &Callee) -> io::Result<Box<dyn Duplex>> {
    Ok(match callee {
        Callee::Node(node) => {
            let stream = tcp((&*node.address, node.port), callee).await?;
            let name = ServerName::try_from(node.name.clone()).map_err(io::Error::other)?;
            let stream = nodes.node.connect(name, stream).await?;
            is_node(stream.get_ref().1, &node.name)?;
            Box::new(stream)
        }
        Callee::Plain(address) => Box::new(tcp(address, callee).await?),
        Callee::Secret(address) => {
            let name = ServerName::IpAddress(address.ip().into());
            Box::new(nodes.pod.connect(name, tcp(address, callee).await?).await?)
        }
    })
}

async fn tcp(address: impl ToSocketAddrs, callee: &Callee) -> io::Result<TcpStream> {
    let dialled = TcpStream::connect(address).await;
    let stream = dialled.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("dial tcp {callee}: {}", outbound::in_known_words(&error)),
        )
    })?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whoever may write a Node chooses where this server, with all its rights, turns to. So it asks
/// nothing of a peer whose certificate does not make it this very node (as those of the signer
/// `kubernetes.io/kubelet-serving` do): the API server's own may name the same machine, but no node.
fn is_node(session: &rustls::ClientConnection, name: &str) -> io::Result<()> {
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    let user = leaf.and_then(|leaf| crate::identity::keys::tls::user(leaf));
    if user.is_some_and(|user| node::name(&user) == Some(name)) {
        return Ok(());
    }
    Err(io::Error::other(format!("tls: the peer is not node {name}")))
}

impl Called {
    /// The body, piece by piece.
    pub fn pieces(self) -> BoxStream<'static, io::Result<Bytes>> {
        let body = self.body.into_data_stream().map(|piece| piece.map_err(io::Error::other));
        let connection = self.connection;
        stream::unfold((body, connection), |(mut body, connection)| async move {
            let piece = body.next().await?;
            Some((piece, (body, connection)))
        })
        .boxed()
    }

    /// The body of a refusal, as text without its last line break.
    pub async fn text(self) -> String {
        match Limited::new(self.body, TEXT_MOST).collect().await {
            Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim_end().to_owned(),
            Err(error) => format!("the answer could not be read: {error}"),
        }
    }

    /// The connection after a 101, both ways until both have ended.
    pub async fn splice(self, client: Box<dyn Duplex>) -> io::Result<()> {
        let response = http::Response::from_parts(self.head, self.body);
        let upgraded = hyper::upgrade::on(response).await.map_err(io::Error::other)?;
        let (mut client, mut other) = (client, TokioIo::new(upgraded));
        tokio::io::copy_bidirectional(&mut client, &mut other).await?;
        Ok(())
    }
}

/// Takes any certificate, but still checks that the peer holds its key.
#[derive(Debug)]
pub(crate) struct Anybody(pub Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A pod is not shown who the server is to nodes.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
