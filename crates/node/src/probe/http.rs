//! A GET as probes and hooks send it: certificates are not verified, redirects within the host
//! are answers enough (API reference: HTTPGetAction).

use super::{ask_over, plain, port, tls};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use skiff_kinds::views::pod::{Container, HttpGetAction};

/// Of a body only the beginning is read.
const BODY_MOST: usize = 10 * 1024;

/// The address that is asked.
pub fn url(action: &HttpGetAction, container: &Container, ip: &str) -> Option<String> {
    let port = port(&action.port, container)?;
    let scheme = if action.scheme == "HTTPS" { "https" } else { "http" };
    let host = if action.host.is_empty() { ip } else { &action.host };
    let slash = if action.path.starts_with('/') { "" } else { "/" };
    Some(format!("{scheme}://{host}:{port}{slash}{}", action.path))
}

/// The body of the answer; a status of 400 and more is an error.
pub async fn get(action: &HttpGetAction, container: &Container, ip: &str) -> Result<Bytes, String> {
    let url = url(action, container, ip).ok_or("the port is not known")?;
    let uri: http::Uri = url.parse().map_err(|e| format!("Get {url:?}: {e}"))?;
    let failed = |why: String| format!("Get {url:?}: {why}");
    let address = uri.authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
    let stream = tokio::net::TcpStream::connect(&address)
        .await
        .map_err(|e| failed(format!("dial tcp {address}: connect: {}", plain(&e))))?;
    let answer = match action.scheme == "HTTPS" {
        true => send(tls::wrap(stream).await.map_err(failed)?, action, &uri).await,
        false => send(stream, action, &uri).await,
    };
    let (status, body) = answer.map_err(failed)?;
    match status {
        200..=399 => Ok(body),
        status => Err(format!("HTTP probe failed with statuscode: {status}")),
    }
}

async fn send(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin,
    action: &HttpGetAction,
    uri: &http::Uri,
) -> Result<(u16, Bytes), String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(say)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = http::Request::get(path);
    let named = |name: &str| action.http_headers.iter().any(|h| h.name.eq_ignore_ascii_case(name));
    for header in &action.http_headers {
        request = request.header(&header.name, &header.value);
    }
    for (name, value) in [
        ("Host", uri.authority().map_or("", |a| a.as_str())),
        ("User-Agent", "kube-probe/1.37"),
        ("Accept", "*/*"),
        ("Connection", "close"),
    ] {
        if !named(name) {
            request = request.header(name, value);
        }
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
    let asked = async {
        let answer = sender.send_request(request).await.map_err(say)?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        let mut kept = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(Some(data)) = frame.map(|frame| frame.into_data().ok()) else { break };
            kept.extend_from_slice(&data);
            if kept.len() > BODY_MOST {
                break;
            }
        }
        Ok((status, kept.into()))
    };
    ask_over(connection, asked).await
}

fn say(error: hyper::Error) -> String {
    error.to_string()
}
