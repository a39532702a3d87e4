//! Calls over real sockets, to a peer of the case's own.

use super::review::Reviewer;
use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use expect_test::expect;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use skiff_base::Tasks;
use skiff_json::json;
use skiff_store::{Facets, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

struct Bench {
    outbound: Outbound,
    store: Arc<dyn Store>,
    pem: String,
    port: u16,
    /// Connections that were made.
    connections: Arc<AtomicUsize>,
    _tasks: Tasks,
}

/// A peer that is certified for `name`, and answers by the path.
async fn bench(name: &str, local: Local) -> Bench {
    let key = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
    let pem = key.cert.pem();
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).map(|it| it.expect("PEM")).collect();
    let secret = PrivateKeyDer::from_pem_slice(key.signing_key.serialize_pem().as_bytes());
    let config =
        rustls::ServerConfig::builder_with_provider(crate::identity::keys::tls::provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, secret.expect("a key"))
            .expect("a pair");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (tasks, connections) = (Tasks::new(), Arc::new(AtomicUsize::new(0)));
    let (inner, counted) = (tasks.clone(), connections.clone());
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let acceptor = acceptor.clone();
            inner.spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream).await;
                }
            });
        }
    });
    let world = World::real();
    let clock = world.clone();
    let store = skiff_store::memory(skiff_store::Options::new(Arc::new(move || clock.uptime())));
    let rules = Rules { local, ..Rules::default() };
    let outbound = Outbound::new(world, store.clone(), rules);
    Bench { outbound, store, pem, port, connections, _tasks: tasks }
}

async fn answer(mut stream: impl Duplex) {
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    loop {
        while !seen.ends_with(b"}") {
            match stream.read(&mut piece).await {
                Ok(read) if read > 0 => seen.extend_from_slice(&piece[..read]),
                _ => return,
            }
        }
        let text = String::from_utf8_lossy(&seen).into_owned();
        seen.clear();
        let path = text.split(' ').nth(1).unwrap_or("").split('?').next().unwrap_or("");
        let (code, kind, body) = match path {
            "/close" => return,
            "/never" => return std::future::pending().await,
            "/junk" => {
                // What is written last is all that there is.
                let _ = stream.write_all(b"SSH-2.0-x\r\n").await;
                return;
            }
            "/500" => ("500 x", "text/plain", "boom \"x\"\n".to_owned()),
            "/404" => ("404 x", "text/plain", String::new()),
            "/302" => ("302 x\r\nlocation: /", "text/plain", String::new()),
            "/empty" => ("200 OK", "application/json", String::new()),
            "/html" => ("200 OK", "text/html", "<html>".into()),
            "/array" => ("200 OK", "application/json", "[1]".into()),
            "/big" => ("200 OK", "application/json", "1".repeat(5000)),
            "/status" => {
                let body =
                    json!({"kind": "Status", "status": "Failure", "message": "mine", "code": 418});
                ("418 x", "application/json", body.to_string())
            }
            _ => ("200 OK", "application/json", json!({"path": path}).to_string()),
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {code}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

impl Bench {
    fn url(&self, host: &str, path: &str) -> Value {
        let url = format!("https://{host}:{}{path}", self.port);
        json!({"url": url, "caBundle": STANDARD.encode(&self.pem)})
    }

    async fn ask(&self, client: &Value) -> String {
        let reviewer = match Reviewer::of(&self.outbound, client) {
            Ok(reviewer) => reviewer,
            Err(why) => return why,
        };
        let time = (Duration::from_millis(500), Some(Duration::from_secs(1)));
        match reviewer.ask(b"{}".to_vec(), time, 4096).await {
            Ok(value) => value.to_string(),
            Err(error) => {
                let why = error.why.replace(&format!(":{}", self.port), ":PORT");
                format!("{} {why}", error.code)
            }
        }
    }

    async fn put(&self, key: &str, object: Value, facets: Facets) {
        let body = object.to_string().into();
        let write = Write::Put { key: key.into(), expect: None, body, generation: 1, facets };
        self.store.commit(vec![write]).await.expect("it is written");
    }
}

use skiff_json::Value;

#[tokio::test]
async fn what_fails_is_told_in_known_words() {
    let bench = bench("localhost", Local::Allowed).await;
    let mut out = String::new();
    for path in [
        "", "/a/b", "/500", "/404", "/302", "/status", "/empty", "/html", "/array", "/big",
        "/close", "/never", "/junk",
    ] {
        out += &format!("{path:8}{}\n", bench.ask(&bench.url("localhost", path)).await);
    }
    let mut other = bench.url("127.0.0.1", "/");
    out += &format!("{:8}{}\n", "name", bench.ask(&other).await);
    other["caBundle"] = "".into();
    out += &format!("{:8}{}\n", "system", bench.ask(&other).await);
    other["caBundle"] = STANDARD.encode("nothing").into();
    out += &format!("{:8}{}\n", "bundle", bench.ask(&other).await);
    out +=
        &format!("{:8}{}\n", "nobody", bench.ask(&json!({"url": "https://127.0.0.1:1/x"})).await);
    expect![[r#"
                {"path":"/"}
        /a/b    {"path":"/a/b"}
        /500    500 an error on the server ("boom \"x\"") has prevented the request from succeeding
        /404    404 the server could not find the requested resource
        /302    302 the server responded with the status code 302 but did not return more information
        /status 418 mine
        /empty  503 0-length response with status code: 200 and content type: application/json
        /html   503 couldn't get version/kind; json parse error: json: cannot unmarshal string into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }
        /array  503 couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }
        /big    503 unexpected error when reading response body. Please retry. Original error: the answer is larger than 4096 bytes
        /close  503 Post "https://localhost:PORT/close?timeout=1s": EOF
        /never  503 Post "https://localhost:PORT/never?timeout=1s": context deadline exceeded
        /junk   503 Post "https://localhost:PORT/junk?timeout=1s": net/http: HTTP/1.x transport connection broken: invalid HTTP version parsed
        name    503 Post "https://127.0.0.1:PORT/?timeout=1s": tls: failed to verify certificate: x509: certificate is valid for localhost, not 127.0.0.1
        system  503 Post "https://127.0.0.1:PORT/?timeout=1s": tls: failed to verify certificate: x509: certificate signed by unknown authority
        bundle  503 Post "https://127.0.0.1:PORT/?timeout=1s": unable to load root certificates: unable to parse bytes as PEM block
        nobody  503 Post "https://127.0.0.1:1/x?timeout=1s": dial tcp 127.0.0.1:1: connect: connection refused
    "#]].assert_eq(&out);
}

#[tokio::test]
async fn connections_are_kept_and_spread() {
    let bench = bench("localhost", Local::Allowed).await;
    let client = bench.url("localhost", "/a");
    for _ in 0..5 {
        assert_eq!(bench.ask(&client).await, r#"{"path":"/a"}"#);
    }
    assert_eq!(bench.connections.load(Ordering::Relaxed), 1);
    // A path is no other peer.
    assert_eq!(bench.ask(&bench.url("localhost", "/b")).await, r#"{"path":"/b"}"#);
    assert_eq!(bench.connections.load(Ordering::Relaxed), 1);
    // One that is slow stands in nobody's way.
    let slow = bench.url("localhost", "/never");
    let (slow, quick) = tokio::join!(bench.ask(&slow), bench.ask(&client));
    assert!(slow.contains("context deadline exceeded"), "{slow}");
    assert_eq!(quick, r#"{"path":"/a"}"#);
}

#[tokio::test]
async fn this_machine_is_not_called_unless_it_is_allowed() {
    let bench = bench("localhost", Local::Refused).await;
    let said = bench.ask(&bench.url("localhost", "/")).await;
    assert!(said.contains(":PORT: address not allowed"), "{said}");
    assert_eq!(bench.connections.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn services_lead_to_their_ready_endpoints() {
    let bench = bench("web.n.svc", Local::Allowed).await;
    let client = |name: &str, port: u16| {
        json!({"service": {"namespace": "n", "name": name, "port": port, "path": "/p"},
               "caBundle": STANDARD.encode(&bench.pem)})
    };
    let mut out = format!("{}\n", bench.ask(&client("web", 443)).await);
    let spec = json!({"type": "ClusterIP", "ports": [{"name": "hook", "port": 443}, {"name": "x", "port": 1}]});
    let no_facets = || skiff_store::facets(Vec::new());
    bench.put("services/n/web", json!({"metadata": {}, "spec": spec}), no_facets()).await;
    let spec = json!({"type": "ExternalName", "externalName": "localhost"});
    bench.put("services/n/ext", json!({"metadata": {}, "spec": spec}), no_facets()).await;
    out += &format!("{}\n", bench.ask(&client("web", 443)).await);
    let endpoints = json!([{"addresses": ["127.0.0.2"], "conditions": {"ready": false}},
                           {"addresses": ["127.0.0.1"]}]);
    let slice = json!({"metadata": {}, "addressType": "IPv4", "endpoints": endpoints,
                       "ports": [{"name": "x", "port": 1}, {"name": "hook", "port": bench.port}]});
    let facets = skiff_store::facets(vec![("l:kubernetes.io/service-name".into(), "web".into())]);
    bench.put("endpointslices.discovery.k8s.io/n/web-1", slice, facets).await;
    for (name, port) in [("web", 443), ("web", 1), ("web", 2), ("ext", bench.port)] {
        out += &format!("{}\n", bench.ask(&client(name, port)).await);
    }
    expect![[r#"
        503 Post "https://web.n.svc:443/p?timeout=1s": service "web" not found
        503 Post "https://web.n.svc:443/p?timeout=1s": no endpoints available for service "web"
        {"path":"/p"}
        503 Post "https://web.n.svc:1/p?timeout=1s": dial tcp 127.0.0.1:1: connect: connection refused
        503 Post "https://web.n.svc:2/p?timeout=1s": no service port 2 found for service "web"
        503 Post "https://ext.n.svc:PORT/p?timeout=1s": tls: failed to verify certificate: x509: certificate is valid for web.n.svc, not ext.n.svc
    "#]].assert_eq(&out);
}
