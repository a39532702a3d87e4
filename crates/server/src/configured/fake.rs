//! A server that a file names, for tests: it answers what the test says, over TLS or without.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls_pki_types::PrivatePkcs8KeyDer;
use skiff_api::wire::Duplex;
use skiff_base::{Lock, Tasks};
use skiff_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Status and body for a path; the body of a redirect is where it leads.
type Answers = BTreeMap<String, (u16, String)>;

pub struct Fake {
    pub url: String,
    /// PEM; empty without TLS.
    pub authority: String,
    answers: Arc<Lock<Answers>>,
    asked: Arc<Lock<Vec<(String, Value)>>>,
    _tasks: Tasks,
}

impl Fake {
    pub async fn secret() -> Fake {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("made");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .expect("a pair");
        Fake::start(Some(Arc::new(config)), made.cert.pem()).await
    }

    pub async fn plain() -> Fake {
        Fake::start(None, String::new()).await
    }

    async fn start(tls: Option<Arc<rustls::ServerConfig>>, authority: String) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().expect("bound"));
        let tasks = Tasks::new();
        let (answers, asked) = (Arc::new(Lock::default()), Arc::new(Lock::default()));
        let own = (answers.clone(), asked.clone(), tasks.clone());
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, asked, tls) = (own.0.clone(), own.1.clone(), tls.clone());
                own.2.spawn(async move {
                    let stream: Box<dyn Duplex> = match tls {
                        None => Box::new(stream),
                        Some(tls) => {
                            match tokio_rustls::TlsAcceptor::from(tls).accept(stream).await {
                                Ok(stream) => Box::new(stream),
                                Err(_) => return,
                            }
                        }
                    };
                    let answer = |request| answer(answers.clone(), asked.clone(), request);
                    let service = hyper::service::service_fn(answer);
                    let server = hyper::server::conn::http1::Builder::new();
                    _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Fake { url, authority, answers, asked, _tasks: tasks }
    }

    pub fn answers(&self, path: &str, status: u16, body: impl ToString) {
        self.answers.lock().insert(path.to_owned(), (status, body.to_string()));
    }

    /// Never answers there again.
    pub fn silent(&self, path: &str) {
        self.answers.lock().remove(path);
    }

    /// What was asked since the last time, with the bodies.
    pub fn asked(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.asked.lock())
    }
}

/// One without an answer never gets one.
async fn answer(
    answers: Arc<Lock<Answers>>,
    asked: Arc<Lock<Vec<(String, Value)>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    asked.lock().push((path.clone(), skiff_json::from_slice(&body).unwrap_or_default()));
    let found = answers.lock().get(&path).cloned();
    let Some((status, body)) = found else { std::future::pending().await };
    let mut response = Response::new(Full::new(body.clone().into()));
    if (300..400).contains(&status) {
        let to = http::HeaderValue::try_from(body).expect("a header");
        response.headers_mut().insert("location", to);
    }
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Files of one test, gone with it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let folder =
            std::env::temp_dir().join(format!("skiff-configured-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("made");
        Folder(folder)
    }

    pub fn path(&self) -> String {
        self.0.display().to_string()
    }

    pub fn write(&self, name: &str, text: &Value) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text.to_string()).expect("written");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("it is ours");
    }
}

/// One that names a server alone.
pub fn kubeconfig(url: &str) -> Value {
    json!({
        "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    })
}
