//! A lean client: HTTP/2 over TLS with the certificate of the kubeconfig, and nothing of Kubernetes.
//!
//! It must cost little beside the server that shares its machine: bodies are counted, not parsed, and windows are wide
//! enough that the server never waits for it.

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use skiff_json::Value;
use std::sync::Arc;
use tokio::net::TcpStream;

const WINDOW: u32 = (1 << 30) - 1;
const FRAME: u32 = 64 * 1024;

/// Method, path and the media type of the body, or, where there is none, of the answer (empty is JSON). A body in
/// protobuf is answered in protobuf.
pub type How<'a> = (Method, &'a str, &'a str);

/// Connections to the server that `$KUBECONFIG` names.
pub struct Connections {
    address: String,
    senders: Vec<SendRequest<Full<Bytes>>>,
    /// Whom the requests are made as: a user and his groups.
    user: Option<(String, &'static [&'static str])>,
}

impl Connections {
    pub async fn open(count: usize) -> Result<Connections> {
        let (address, tls) = kubeconfig()?;
        let host = address.rsplit_once(':').context("the server has no port")?.0.to_owned();
        let name = ServerName::try_from(host)?;
        let mut senders = Vec::new();
        for _ in 0..count {
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            let stream = tls.connect(name.clone(), stream).await.context("TLS")?;
            let (sender, connection) = Builder::new(TokioExecutor::new())
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .max_frame_size(FRAME)
                .handshake(TokioIo::new(stream))
                .await?;
            // It ends with the last sender.
            tokio::spawn(connection);
            senders.push(sender);
        }
        Ok(Connections { address, senders, user: None })
    }

    /// The same, with all requests made as somebody else.
    pub fn acting(self, user: &str, groups: &'static [&'static str]) -> Connections {
        Connections { user: Some((user.to_owned(), groups)), ..self }
    }

    /// Sends a request and waits for the head of its answer, which must be a success. `worker` chooses the connection.
    pub async fn send(&self, worker: usize, how: How<'_>, body: Bytes) -> Result<Incoming> {
        self.begin(worker, how, body).await?.await
    }

    /// Sends a request; the answer is waited for by whoever wants it.
    pub async fn begin(
        &self,
        worker: usize,
        how: How<'_>,
        body: Bytes,
    ) -> Result<impl Future<Output = Result<Incoming>> + use<>> {
        let path = how.1.to_owned();
        let response = self.start(worker, how, body).await?;
        Ok(async move {
            let response = response.await?;
            let status = response.status();
            if !status.is_success() {
                let body = response.into_body().collect().await?.to_bytes();
                bail!("{path}: {status}: {}", String::from_utf8_lossy(&body));
            }
            Ok(response.into_body())
        })
    }

    /// Sends a request and waits for its answer, whatever it is; the code.
    pub async fn ask(&self, worker: usize, how: How<'_>, body: Bytes) -> Result<u16> {
        let response = self.start(worker, how, body).await?.await?;
        let code = response.status().as_u16();
        drain(response.into_body()).await?;
        Ok(code)
    }

    /// The document at a path.
    pub async fn read(&self, path: &str) -> Result<Value> {
        let body = self.send(0, (Method::GET, path, ""), Bytes::new()).await?;
        Ok(skiff_json::from_slice(&body.collect().await?.to_bytes())?)
    }

    async fn start(
        &self,
        worker: usize,
        (method, path, type_): How<'_>,
        body: Bytes,
    ) -> Result<impl Future<Output = hyper::Result<Response<Incoming>>> + use<>> {
        let mut request =
            Request::builder().method(method).uri(format!("https://{}{path}", self.address));
        let accepted = match type_ {
            "" => "application/json",
            type_ if body.is_empty() || type_ == skiff_api::protobuf::MEDIA_TYPE => type_,
            _ => "application/json",
        };
        request = request.header(header::ACCEPT, accepted);
        if let Some((user, groups)) = &self.user {
            request = request.header("impersonate-user", user);
            for group in *groups {
                request = request.header("impersonate-group", *group);
            }
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, type_);
        }
        let mut sender = self.senders[worker % self.senders.len()].clone();
        sender.ready().await?;
        Ok(sender.send_request(request.body(Full::new(body))?))
    }
}

/// Reads a body to its end; its size.
pub async fn drain(mut body: Incoming) -> Result<usize> {
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        size += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(size)
}

/// Lines of a watch, as they come in.
pub struct Lines {
    body: Incoming,
    rest: Vec<u8>,
}

impl Lines {
    pub fn new(body: Incoming) -> Lines {
        Lines { body, rest: Vec::new() }
    }

    /// Calls `see` for every line, until the watch ends or `see` answers false.
    pub async fn each(mut self, mut see: impl FnMut(&[u8]) -> bool) -> Result<()> {
        while let Some(frame) = self.body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            self.rest.extend_from_slice(&data);
            let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            for line in self.rest[..whole].split(|byte| *byte == b'\n').filter(|l| !l.is_empty()) {
                if !see(line) {
                    return Ok(());
                }
            }
            self.rest.drain(..whole);
        }
        Ok(())
    }
}

/// Address and TLS settings of the current (and only) cluster and user.
fn kubeconfig() -> Result<(String, tokio_rustls::TlsConnector)> {
    let path = std::env::var("KUBECONFIG").context("$KUBECONFIG names the server")?;
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let config: Value = serde_saphyr::from_str(&text)?;
    let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
    let pem = |value: &Value| -> Result<Vec<u8>> {
        let text = value.as_str().context("the kubeconfig lacks a certificate or key")?;
        Ok(base64::engine::general_purpose::STANDARD.decode(text)?)
    };
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&pem(&cluster["certificate-authority-data"])?) {
        roots.add(root?)?;
    }
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&pem(&user["client-certificate-data"])?).collect();
    let key = PrivateKeyDer::from_pem_slice(&pem(&user["client-key-data"])?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain?, key)?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let server = cluster["server"].as_str().context("the kubeconfig names no server")?;
    let address = server.strip_prefix("https://").context("the server is not https")?;
    ensure!(!address.contains('/'), "the server's address has a path");
    Ok((address.to_owned(), Arc::new(tls).into()))
}
