//! HTTP requests to registries: one connection each, TLS by the system's certificate authorities,
//! redirects followed, every wait limited.
//!
//! A URL that a registry names (a redirect, a token server) is less than one that a user named: it
//! gets no secret of another host, leads to no service of this machine, and a request whose body is
//! a secret follows no redirect at all.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use skiff_base::{Tasks, World};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::Error;
use crate::registry::host::{self, is_loopback, is_near};

/// To connect, TLS included.
const CONNECT_TIME: Duration = Duration::from_secs(30);
/// To the head of an answer, and between two pieces of a body.
pub(crate) const STALL_TIME: Duration = Duration::from_secs(120);
/// Redirects of one request: registries redirect blobs once, to their storage.
const REDIRECTS_MAX: usize = 10;
/// Tries of a request that the server could not answer just now.
pub(crate) const TRIES: u32 = 3;
/// Before the second try; doubles.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// A request that can be sent again.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) accept: String,
    pub(crate) authorization: Option<String>,
    /// A form with a secret, for POST.
    pub(crate) body: String,
    /// The URL whose answer named this one.
    pub(crate) named_by: Option<String>,
}

impl Ask {
    pub(crate) fn new(method: Method, url: String) -> Ask {
        let accept = "*/*".to_owned();
        Ask { method, url, accept, authorization: None, body: String::new(), named_by: None }
    }

    pub(crate) fn status(&self, status: StatusCode) -> Error {
        Error::Status {
            method: self.method.to_string(),
            url: self.url.clone(),
            status: status.to_string(),
            code: status.as_u16(),
        }
    }

    fn failed(&self, why: impl std::fmt::Display) -> Error {
        // The method as Go's errors spell it.
        let name = self.method.as_str();
        let method = format!("{}{}", &name[..1], name[1..].to_lowercase());
        Error::Request { method, url: self.url.clone(), why: why.to_string() }
    }
}

/// Whether secrets may go to this URL.
pub(crate) fn is_safe(url: &str) -> bool {
    match host::parse(url).as_ref().and_then(|uri| uri.scheme_str()) {
        Some("https") => true,
        Some("http") => is_loopback(url),
        _ => false,
    }
}

type Sender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

/// Sends requests.
pub(crate) struct Client {
    world: World,
    ca_bundle: std::path::PathBuf,
    tls: OnceLock<Arc<ClientConfig>>,
    /// What drives the connections; they end with the client.
    connections: Tasks,
}

impl Client {
    pub(crate) fn new(world: World, ca_bundle: &Path) -> Client {
        Client {
            world,
            ca_bundle: ca_bundle.to_owned(),
            tls: OnceLock::new(),
            connections: Tasks::new(),
        }
    }

    /// Sends a request, again when the server is overloaded, and follows redirects.
    pub(crate) async fn send(&self, ask: &Ask) -> Result<Response<Incoming>, Error> {
        let mut wait = RETRY_AFTER;
        for _ in 1..TRIES {
            let response = self.follow(ask).await?;
            if !matches!(response.status().as_u16(), 408 | 429 | 500 | 502 | 503 | 504) {
                return Ok(response);
            }
            self.world.sleep(wait).await;
            wait *= 2;
        }
        self.follow(ask).await
    }

    /// Waits before another try of something larger than a request.
    pub(crate) async fn pause(&self) {
        self.world.sleep(RETRY_AFTER).await;
    }

    async fn follow(&self, first: &Ask) -> Result<Response<Incoming>, Error> {
        let mut ask = first.clone();
        for _ in 0..REDIRECTS_MAX {
            let response = self.once(&ask).await?;
            // Its challenge would be answered with what belongs to the registry.
            if response.status() == StatusCode::UNAUTHORIZED
                && origin(&ask.url) != origin(&first.url)
            {
                return Err(ask.failed("it was redirected there, and is asked for credentials"));
            }
            let location = response.headers().get(LOCATION);
            let (true, Some(location)) = (response.status().is_redirection(), location) else {
                return Ok(response);
            };
            let location = location.to_str().map_err(|_| ask.failed("a redirect is not text"))?;
            let next = absolute(&ask.url, location);
            if !ask.body.is_empty() {
                return Err(ask.failed(format!("it redirects to {next}: secrets stay here")));
            }
            if origin(&next) != origin(&ask.url) {
                ask.authorization = None;
            }
            if is_safe(&ask.url) && !is_safe(&next) {
                return Err(ask.failed(format!("it redirects to {next}, without TLS")));
            }
            ask.named_by.get_or_insert_with(|| first.url.clone());
            ask.url = next;
        }
        Err(first.failed("stopped after 10 redirects"))
    }

    async fn once(&self, ask: &Ask) -> Result<Response<Incoming>, Error> {
        let wrong = || ask.failed("it has to be a URL with a host, and no user before it");
        let uri = host::parse(&ask.url).ok_or_else(wrong)?;
        let host = uri.host().ok_or_else(wrong)?;
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::builder()
            .method(&ask.method)
            .uri(path)
            .header(HOST, uri.authority().map_or(host, |authority| authority.as_str()))
            .header(USER_AGENT, "skiff")
            .header(ACCEPT, &ask.accept);
        let request = match &ask.authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        };
        let request = match ask.body.is_empty() {
            true => request,
            false => request.header(CONTENT_TYPE, "application/x-www-form-urlencoded"),
        };
        let request = request
            .body(Full::new(Bytes::from(ask.body.clone())))
            .map_err(|error| ask.failed(error))?;
        let exchange = async {
            let connected = self.world.within(CONNECT_TIME, self.connect(ask, host, port, secure));
            connected
                .await
                .ok_or_else(|| ask.failed(format!("dial tcp {host}:{port}: i/o timeout")))?
        };
        let mut sender = exchange.await?;
        let answer = self.world.within(STALL_TIME, sender.send_request(request)).await;
        let answer = answer.ok_or_else(|| ask.failed("timeout awaiting response headers"))?;
        answer.map_err(|error| ask.failed(error))
    }

    async fn connect(
        &self,
        ask: &Ask,
        host: &str,
        port: u16,
        secure: bool,
    ) -> Result<Sender, Error> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let far_only = ask.named_by.as_deref().is_some_and(|by| !is_loopback(by));
        let found = tokio::net::lookup_host((bare, port)).await;
        let addresses: Vec<_> = found
            .map_err(|_| ask.failed(format!("dial tcp: lookup {bare}: no such host")))?
            .collect();
        let mut failure = ask.failed(format!("dial tcp: lookup {bare}: no such host"));
        for address in addresses {
            if far_only && is_near(address.ip()) {
                failure = ask.failed(format!("dial tcp {address}: a registry elsewhere named it"));
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) if secure => return self.secure(ask, bare, stream).await,
                Ok(stream) => return self.handshake(ask, TokioIo::new(stream)).await,
                Err(error) => {
                    let why = match error.kind() {
                        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                        _ => error.to_string(),
                    };
                    failure = ask.failed(format!("dial tcp {address}: connect: {why}"));
                }
            }
        }
        Err(failure)
    }

    async fn secure(&self, ask: &Ask, host: &str, stream: TcpStream) -> Result<Sender, Error> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| ask.failed(error))?;
        let connector = TlsConnector::from(self.tls()?);
        let stream = connector.connect(name, stream).await;
        let stream = stream.map_err(|error| ask.failed(why_no_tls(&error, &ask.url)))?;
        self.handshake(ask, TokioIo::new(stream)).await
    }

    async fn handshake<T>(&self, ask: &Ask, io: T) -> Result<Sender, Error>
    where
        T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let shaken = hyper::client::conn::http1::handshake(io).await;
        let (sender, connection) = shaken.map_err(|error| ask.failed(error))?;
        self.connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to a registry ended");
            }
        });
        Ok(sender)
    }

    /// The authorities are read when they are first needed: a node without registries needs none.
    fn tls(&self) -> Result<Arc<ClientConfig>, Error> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        let bad = |why: String| Error::ReadCertificates { path: self.ca_bundle.clone(), why };
        let mut roots = rustls::RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(&self.ca_bundle)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| bad(error.to_string()))?;
        roots.add_parsable_certificates(certificates);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::clone(self.tls.get_or_init(|| Arc::new(config))))
    }

    /// The next piece of a body; `None` at its end.
    pub(crate) async fn piece(
        &self,
        ask: &Ask,
        body: &mut Incoming,
    ) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = self.world.within(STALL_TIME, body.frame()).await;
            match frame.ok_or_else(|| ask.failed("no data for 120 seconds"))? {
                None => return Ok(None),
                Some(Err(error)) => return Err(ask.failed(error)),
                // Trailers are not data.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => return Ok(Some(bytes)),
                    Err(_) => continue,
                },
            }
        }
    }

    /// A whole body, up to a limit.
    pub(crate) async fn bytes(
        &self,
        ask: &Ask,
        response: Response<Incoming>,
        most: u64,
    ) -> Result<Vec<u8>, Error> {
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece(ask, &mut body).await? {
            if (bytes.len() + piece.len()) as u64 > most {
                return Err(ask.failed(format!("the answer is larger than {most} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

/// Scheme, host and port: what credentials belong to. What is no URL has none, and is not dialed.
fn origin(url: &str) -> Option<(String, String, Option<u16>)> {
    let uri = host::parse(url)?;
    let host = host::bare(&uri).to_ascii_lowercase();
    Some((uri.scheme_str()?.to_owned(), host, uri.port_u16()))
}

/// A registry without TLS is named as such (in the words of Go's clients), with what allows it.
fn why_no_tls(error: &std::io::Error, url: &str) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (inner, host::parse(url)) {
        (Some(rustls::Error::InvalidMessage(_)), Some(uri)) => format!(
            "http: server gave HTTP response to HTTPS client: if you trust the way to it, start Skiff with \
             --insecure-registry {}",
            uri.authority().map_or("", |authority| authority.as_str())
        ),
        _ => format!("tls: {error}"),
    }
}

/// The target of a redirect as a whole URL.
fn absolute(base: &str, location: &str) -> String {
    let scheme = base.split_once("://").map_or("https", |(scheme, _)| scheme);
    if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        let authority = host::parse(base).and_then(|uri| uri.authority().cloned());
        format!("{scheme}://{}{location}", authority.as_ref().map_or("", |one| one.as_str()))
    } else {
        let folder = base.rsplit_once('/').map_or(base, |(folder, _)| folder);
        format!("{folder}/{location}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_made_whole() {
        let base = "https://r.io/v2/a/blobs/x";
        for (location, wanted) in [
            ("http://other/x", "http://other/x"),
            ("//cdn/x", "https://cdn/x"),
            ("/y?z", "https://r.io/y?z"),
            ("y", "https://r.io/v2/a/blobs/y"),
        ] {
            assert_eq!(absolute(base, location), wanted);
        }
    }

    #[test]
    fn secrets_go_over_tls_or_stay_here() {
        for (url, wanted) in [
            ("https://r.io/", true),
            ("http://localhost:5000/v2", true),
            ("http://127.0.0.1", true),
            ("http://r.io/", false),
            ("http://localhost.r.io/", false),
            ("ftp://localhost", false),
            ("http://127.0.0.1:1@r.io/", false),
            ("https://127.0.0.1:1@r.io/", false),
            ("file:///etc/shadow", false),
        ] {
            assert_eq!(is_safe(url), wanted, "{url}");
        }
    }
}
