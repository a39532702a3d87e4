//! Remote: calls of HTTP servers that the machine's owner names, or that a server so named names in turn. Each call
//! has a connection of its own, an end in time and in bytes, and follows no redirect. Never here: what is asked, and
//! what an answer means.

use crate::outbound::in_known_words;
use crate::identity::keys::Pair;
use crate::identity::keys::tls::{Trusted, trusting_client};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use skiff_api::wire::Duplex;
use skiff_base::{Tasks, World};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

/// The most of an answer that is read: a review is some kilobytes, a set of keys some tens.
const ANSWER_MOST: usize = 1 << 20;
/// Calls of one server at once; who comes later waits, within the time of the call.
const CALLS_MOST: usize = 128;

/// How one server, or those that it names, are called.
pub struct Client {
    world: World,
    tls: TlsConnector,
    /// Who the server has to be, where that is not the host of the URL.
    name: Option<ServerName<'static>>,
    authorization: Option<HeaderValue>,
    places: Semaphore,
}

/// How a client proves who it is, and whom it takes the server for.
pub struct Manner {
    pub trusted: Trusted,
    pub pair: Option<Pair>,
    pub name: Option<String>,
    pub authorization: Option<String>,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Client {
    /// # Errors
    /// When certificates, keys or names are none.
    pub fn new(manner: Manner, world: &World) -> Result<Client, String> {
        let config = trusting_client(&manner.trusted, manner.pair.as_ref(), world);
        let mut authorization = manner.authorization.map(HeaderValue::try_from).transpose();
        if let Ok(Some(value)) = &mut authorization {
            value.set_sensitive(true);
        }
        Ok(Client {
            world: world.clone(),
            tls: Arc::new(config.map_err(|error| error.to_string())?).into(),
            name: manner.name.map(ServerName::try_from).transpose().map_err(|e| e.to_string())?,
            authorization: authorization.map_err(|_| "the credential is no header".to_owned())?,
            places: Semaphore::new(CALLS_MOST),
        })
    }

    /// Posts a document.
    ///
    /// # Errors
    /// Why there is no answer, in the words of Go's client.
    pub async fn post(&self, url: &str, body: Bytes, within: Duration) -> Result<Reply, String> {
        let answer = self.world.within(within, self.answer(url, body)).await;
        let late = || Err("context deadline exceeded".to_owned());
        answer.unwrap_or_else(late).map_err(|why| format!("Post {url:?}: {why}"))
    }

    async fn answer(&self, url: &str, body: Bytes) -> Result<Reply, String> {
        let _place = self.places.acquire().await.map_err(|error| error.to_string())?;
        let uri: Uri = url.parse().map_err(|error| format!("parse {url:?}: {error}"))?;
        let authority = uri.authority().ok_or("no host in request URL")?;
        let stream = self.connect(&uri).await?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path)
            .header(HOST, authority.as_str())
            .header(USER_AGENT, "skiff")
            .header(ACCEPT, "application/json, */*")
            .header(CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let text = |error: hyper::Error| error.to_string();
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, driven) = handshake.map_err(text)?;
        // It ends with this call.
        let connection = Tasks::new();
        connection.spawn(async move {
            if let Err(error) = driven.await {
                tracing::debug!(%error, "a connection to a configured server ended");
            }
        });
        let (head, body) = sender.send_request(request).await.map_err(text)?.into_parts();
        let body = Limited::new(body, ANSWER_MOST).collect().await;
        let body = body.map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
            true => format!("the answer has more than {ANSWER_MOST} bytes"),
            false => error.to_string(),
        })?;
        Ok(Reply { status: head.status, body: body.to_bytes() })
    }

    async fn connect(&self, uri: &Uri) -> Result<Box<dyn Duplex>, String> {
        let host = uri.host().ok_or("no host in request URL")?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let secret = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            other => return Err(format!("unsupported protocol scheme {:?}", other.unwrap_or(""))),
        };
        let port = uri.port_u16().unwrap_or(if secret { 443 } else { 80 });
        let dialled = TcpStream::connect((host, port)).await;
        let stream = dialled
            .map_err(|error| format!("dial tcp {host}:{port}: {}", in_known_words(&error)))?;
        // The questions are small and wait for nothing.
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        if !secret {
            return Ok(Box::new(stream));
        }
        let name = match &self.name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?,
        };
        let stream = self.tls.connect(name, stream).await.map_err(|error| in_tls_words(&error))?;
        Ok(Box::new(stream))
    }
}

/// Why a server is not believed, in the words that operators look for.
fn in_tls_words(error: &std::io::Error) -> String {
    use rustls::{CertificateError, Error};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
                .into()
        }
        Some(Error::InvalidCertificate(why)) => {
            format!("tls: failed to verify certificate: x509: {why}")
        }
        _ => format!("tls: {error}"),
    }
}
