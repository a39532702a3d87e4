//! The health check of gRPC (grpc.health.v1.Health/Check), spoken by hand: one message of one field
//! goes out, one comes back (gRPC over HTTP/2; gRPC health checking protocol).

use super::{ask_over, plain};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use skiff_kinds::views::pod::GrpcAction;

/// A healthy answer is a few bytes.
const ANSWER_MOST: usize = 4096;
const SERVING: u8 = 1;

/// Asks once.
pub async fn check(ip: &str, action: &GrpcAction) -> Result<(), String> {
    let address = format!("{ip}:{}", action.port);
    let stream = tokio::net::TcpStream::connect(&address).await.map_err(|e| {
        let why = plain(&e);
        format!(
            "error: this server does not implement the grpc health protocol \
                 (grpc.health.v1.Health): dial tcp {address}: connect: {why}"
        )
    })?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.map_err(say)?;
    let request = http::Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.37")
        .body(Full::new(Bytes::from(question(action.service.as_deref().unwrap_or("")))))
        .map_err(|e| e.to_string())?;
    let asked = async {
        let answer = sender.send_request(request).await.map_err(say)?;
        let head = answer.headers().clone();
        let whole = http_body_util::Limited::new(answer.into_body(), ANSWER_MOST);
        let whole = whole.collect().await.map_err(|e| e.to_string())?;
        let trailers = whole.trailers().cloned().unwrap_or_default();
        let text = |name: &str| {
            let value = trailers.get(name).or_else(|| head.get(name));
            value.and_then(|value| value.to_str().ok()).unwrap_or("").to_owned()
        };
        judge(&text("grpc-status"), &text("grpc-message"), &whole.to_bytes())
    };
    ask_over(connection, asked).await
}

/// A frame (not compressed, length) with the field `service` in it.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.extend([0x0a, service.len().min(127) as u8]);
        message.extend(service.bytes().take(127));
    }
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    frame
}

fn judge(status: &str, message: &str, body: &[u8]) -> Result<(), String> {
    match status {
        "0" | "" => {}
        "12" => {
            return Err(format!(
                "error: this server does not implement the grpc health protocol \
                 (grpc.health.v1.Health): {message}"
            ));
        }
        code => return Err(format!("error: health rpc probe failed: code {code}: {message}")),
    }
    match body.get(5..) {
        Some([0x08, SERVING, ..]) => Ok(()),
        Some([0x08, 2, ..]) => Err("service unhealthy (responded with \"NOT_SERVING\")".into()),
        _ => Err("service unhealthy (responded with \"UNKNOWN\")".into()),
    }
}

fn say(error: hyper::Error) -> String {
    error.to_string()
}
