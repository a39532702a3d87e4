//! Exec, attach and port-forward: the server finds the node, forwards the handshake, and
//! copies bytes both ways. What they mean is between the client and the node.

use super::dial::{self, Called, Callee};
use super::target::{self, Node};
use crate::Server;
use crate::request::Request;
use crate::request::url::Query;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::Full;
use skiff_api::Status;
use skiff_api::wire::{Answer, Body, Call, Upgrade, encode};
use std::sync::Arc;

/// What is spoken inside a connection of SPDY.
const STREAM_PROTOCOL: header::HeaderName =
    header::HeaderName::from_static("x-stream-protocol-version");
/// The headers of a handshake that are forwarded. Extensions are not: nobody here compresses.
const HANDSHAKE: [header::HeaderName; 6] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    STREAM_PROTOCOL,
];

/// pods/exec and pods/attach.
pub async fn remote(server: &Arc<Server>, request: &Request, call: Call) -> Result<Answer, Status> {
    let pod = target::pod(server, request).await?;
    let container = target::container(&pod, request.query.get("container"))?;
    let node = target::node_of(server, request, &pod).await?.ok_or_else(|| no_host(pod.name()))?;
    let query = remote_query(&request.query);
    let what = &request.resource.subresource;
    let path = format!("/{what}/{}/{}/{container}?{query}", pod.namespace(), pod.name());
    hand_over(server, call, node, path).await
}

/// pods/portforward.
pub async fn forward(
    server: &Arc<Server>,
    request: &Request,
    call: Call,
) -> Result<Answer, Status> {
    let pod = target::pod(server, request).await?;
    let node = target::node_of(server, request, &pod).await?.ok_or_else(|| no_host(pod.name()))?;
    let ports: Vec<_> =
        request.query.all("ports").map(|port| format!("port={}", encode(port))).collect();
    let path = format!("/portForward/{}/{}?{}", pod.namespace(), pod.name(), ports.join("&"));
    hand_over(server, call, node, path).await
}

fn no_host(pod: &str) -> Status {
    Status::bad_request(format!("pod {pod} does not have a host assigned"))
}

/// The options of exec and attach, in the kubelet's words.
fn remote_query(query: &Query) -> String {
    let mut out = String::new();
    for (ours, theirs) in
        [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")]
    {
        if query.flag(ours) {
            out += &format!("{theirs}=1&");
        }
    }
    for word in query.all("command") {
        out += &format!("command={}&", encode(word));
    }
    out.pop();
    out
}

/// Forwards the handshake, whatever protocol it is for; after it, the connection. The node knows
/// which it speaks: a client that falls back to another hears of a node that cannot be reached.
async fn hand_over(
    server: &Arc<Server>,
    mut call: Call,
    node: Node,
    path: String,
) -> Result<Answer, Status> {
    let Some(upgrade) = call.upgrade.take() else {
        return Err(Status::bad_request("Upgrade request required"));
    };
    let mut forwarded = http::Request::get(path).header(header::HOST, &node.name);
    for name in HANDSHAKE {
        for value in call.headers.get_all(&name) {
            forwarded = forwarded.header(&name, value);
        }
    }
    let forwarded = forwarded.body(Full::new(Bytes::new())).map_err(Status::internal)?;
    let called = dial::call(&server.nodes, &server.world, &Callee::Node(node), forwarded).await;
    let called = called.map_err(|error| unreached(format!("error dialing backend: {error}")))?;
    if called.head.status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(called).await);
    }
    let mut headers = HeaderMap::new();
    let passed = [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_ACCEPT];
    for name in passed.into_iter().chain([header::SEC_WEBSOCKET_PROTOCOL, STREAM_PROTOCOL]) {
        if let Some(value) = called.head.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    Ok(upgraded(upgrade, called, headers))
}

/// 101, and then bytes both ways.
pub fn upgraded(upgrade: Upgrade, called: Called, headers: HeaderMap) -> Answer {
    let run = async move {
        let spliced = match upgrade.await {
            Ok(client) => called.splice(client).await,
            Err(error) => Err(error),
        };
        if let Err(error) = spliced {
            tracing::debug!(%error, "an upgraded connection broke off");
        }
    };
    let mut answer = Answer::new(StatusCode::SWITCHING_PROTOCOLS, Body::Upgraded(Box::pin(run)));
    answer.headers = headers;
    answer
}

/// A node that gives no answer; upstream's error has no reason.
pub fn unreached(why: String) -> Status {
    Status::new(500, "", why)
}

/// A node's refusal as one of ours.
pub async fn refusal(called: Called) -> Status {
    let code = called.head.status;
    let text = called.text().await;
    match code {
        StatusCode::BAD_REQUEST => Status::bad_request(text),
        StatusCode::NOT_FOUND => Status::new(404, "NotFound", text),
        StatusCode::FORBIDDEN => Status::new(403, "Forbidden", text),
        StatusCode::UNAUTHORIZED => {
            Status::internal(format!("the node does not accept the server's certificate: {text}"))
        }
        _ => Status::internal(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_told_to_the_node_in_its_words() {
        let query = Query::parse(
            "container=a&command=sh&command=-c&command=a%26b%20c&stdin=true&stdout=true&tty=false",
        );
        assert_eq!(
            remote_query(&query),
            "input=1&output=1&command=sh&command=-c&command=a%26b%20c"
        );
        assert_eq!(remote_query(&Query::parse("")), "");
    }
}
