//! pods/proxy, services/proxy and nodes/proxy: any HTTP request to a pod, to an endpoint of a
//! service or to a node, by its name (documentation page "Access Services Running on Clusters").
//!
//! The body of the answer passes through; redirects, and links inside pages, are led through the proxy as well.

use super::dial::{self, Callee};
use super::links::links;
use super::rewrite::{self, HOP_BY_HOP, Named};
use super::{stream, target};
use crate::Server;
use crate::outbound::is_forbidden;
use crate::request::Request;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, once};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::Full;
use skiff_api::Status;
use skiff_api::kind::Proxied;
use skiff_api::object::Object;
use skiff_api::wire::{Answer, Body, Call, Payload};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A page is held whole while its links are changed.
const PAGE_MOST: usize = 4 << 20;

type Pieces = BoxStream<'static, io::Result<Bytes>>;

/// Serves one request.
pub async fn proxy(
    server: &Arc<Server>,
    request: &Request,
    what: Proxied,
    call: Call,
) -> Result<Answer, Status> {
    let resource = &request.resource;
    let Some(named) = Named::parse(&resource.name) else {
        let why = format!("invalid {} request \"{}\"", resource.plural, resource.name);
        return Err(Status::bad_request(why));
    };
    let namespaced = request.kind.namespaced();
    let tail = rewrite::tail(&call.path, namespaced).to_owned();
    // A page at the root would resolve its relative links one level too high.
    let reads = matches!(call.method, Method::GET | Method::HEAD);
    if tail.is_empty() && reads && call.upgrade.is_none() {
        return moved(&call);
    }
    let callee = match what {
        Proxied::Pod => pod(server, request, &named).await?,
        Proxied::Service => service(server, request, &named).await?,
        Proxied::Node => node(server, request, &named).await?,
    };
    forward(server, request, call, callee, &tail).await
}

fn moved(call: &Call) -> Result<Answer, Status> {
    let query = if call.query.is_empty() { String::new() } else { format!("?{}", call.query) };
    let to = HeaderValue::from_str(&format!("{}/{query}", call.path)).map_err(Status::internal)?;
    let mut answer = Answer::text(StatusCode::MOVED_PERMANENTLY, "");
    answer.headers.insert(header::LOCATION, to);
    Ok(answer)
}

fn callee(https: bool, address: SocketAddr) -> Callee {
    if https { Callee::Secret(address) } else { Callee::Plain(address) }
}

async fn pod(server: &Server, request: &Request, named: &Named<'_>) -> Result<Callee, Status> {
    let namespace = &request.resource.namespace;
    let pod = target::object(server, request, "pods", namespace, named.name).await?;
    let containers = pod.list("spec.containers");
    let ports = containers.iter().filter_map(|c| c["ports"].as_array()).flatten();
    let port = match (named.port, named.port.parse::<u16>()) {
        ("", _) => ports.into_iter().find_map(|port| port["containerPort"].as_u64()),
        (_, Ok(number)) => Some(u64::from(number)),
        (name, Err(_)) => {
            let mut ports = ports.into_iter();
            ports.find(|port| port["name"] == name).and_then(|port| port["containerPort"].as_u64())
        }
    };
    let default = if named.https { 443 } else { 80 };
    let port = match port {
        Some(port) => u16::try_from(port).map_err(Status::internal)?,
        None if named.port.is_empty() => default,
        None => {
            let why = format!("no port {} in pod {}", named.port, named.name);
            return Err(Status::bad_request(why));
        }
    };
    let address = of_pod(pod.text("status.podIP"), port)?;
    Ok(callee(named.https, address))
}

/// The address to dial: pods and nodes say their own, so what means this machine, or reaches no
/// further than a wire, is no target of a proxy.
fn proxyable(address: SocketAddr) -> Result<SocketAddr, Status> {
    match is_forbidden(address.ip()) {
        true => Err(not_allowed()),
        false => Ok(address),
    }
}

fn not_allowed() -> Status {
    Status::bad_request("address not allowed")
}

/// The address of a pod or an endpoint, which is never a name.
fn of_pod(address: &str, port: u16) -> Result<SocketAddr, Status> {
    let address: IpAddr = address.parse().map_err(|_| not_allowed())?;
    proxyable((address, port).into())
}

/// A node may be known by a name alone. It is looked up once: what is judged is what is dialled.
async fn of_node(host: &str, port: u16) -> Result<SocketAddr, Status> {
    let found = tokio::net::lookup_host((host, port)).await;
    let mut found = found.map_err(|error| stream::unreached(format!("lookup {host}: {error}")))?;
    proxyable(found.next().ok_or_else(not_allowed)?)
}

async fn service(server: &Server, request: &Request, named: &Named<'_>) -> Result<Callee, Status> {
    let none = || {
        let why = format!("no endpoints available for service \"{}\"", request.resource.name);
        Status::unavailable(why)
    };
    let namespace = &request.resource.namespace;
    let service = match target::object(server, request, "services", namespace, named.name).await {
        Err(status) if status.code == 404 => return Err(none()),
        other => other?,
    };
    let Some(port) = port_name(&service, named.port) else {
        let why =
            format!("no service port \"{}\" found for service \"{}\"", named.port, named.name);
        return Err(Status::unavailable(why));
    };
    let found = target::endpoints(server, request, &service, &port).await?;
    if found.is_empty() {
        return Err(none());
    }
    let chosen =
        usize::try_from(server.world.below(found.len() as u64)).map_err(Status::internal)?;
    let (address, port) = &found[chosen];
    Ok(callee(named.https, of_pod(address, *port)?))
}

/// The name of the port that is meant: by name, by number, or the only one.
fn port_name(service: &Object, wanted: &str) -> Option<String> {
    let ports = service.list("spec.ports");
    let name = |port: &skiff_json::Value| port["name"].as_str().unwrap_or("").to_owned();
    if wanted.is_empty() {
        return match ports {
            [only] => Some(name(only)),
            _ => ports.iter().map(name).find(|name| name.is_empty()),
        };
    }
    let number: Option<u64> = wanted.parse().ok();
    let by_number = |port: &&skiff_json::Value| number.is_some() && port["port"].as_u64() == number;
    let found = ports.iter().find(|port| name(port) == wanted);
    found.or_else(|| ports.iter().find(by_number)).map(name)
}

async fn node(server: &Server, request: &Request, named: &Named<'_>) -> Result<Callee, Status> {
    let node = target::node(server, request, named.name).await?;
    let port = match named.port {
        "" => node.port,
        text => text.parse().map_err(|_| {
            Status::bad_request(format!("invalid node request \"{}\"", request.resource.name))
        })?,
    };
    let address = of_node(&node.address, port).await?;
    if port == node.port {
        return Ok(Callee::Node(target::Node { address: address.ip().to_string(), ..node }));
    }
    Ok(callee(named.https, address))
}

async fn forward(
    server: &Arc<Server>,
    request: &Request,
    mut call: Call,
    callee: Callee,
    tail: &str,
) -> Result<Answer, Status> {
    let upgrade = call.upgrade.take();
    let host = callee.to_string();
    let uri = match &*call.query {
        "" => format!("/{}", tail.trim_start_matches('/')),
        query => format!("/{}?{query}", tail.trim_start_matches('/')),
    };
    let body = match &request.payload {
        Payload::None => Bytes::new(),
        Payload::Bytes(bytes) => bytes.clone(),
        Payload::Tree(tree) => tree.to_string().into(),
    };
    let mut asked = http::Request::builder().method(&call.method).uri(uri).body(Full::new(body));
    if let Ok(asked) = &mut asked {
        let mut headers = pass_on(&call.headers);
        if upgrade.is_some() {
            let both = [header::CONNECTION, header::UPGRADE];
            for (name, value) in both.iter().filter_map(|n| Some((n, call.headers.get(n)?))) {
                headers.insert(name, value.clone());
            }
        }
        // A page has to be readable here.
        headers.remove(header::ACCEPT_ENCODING);
        headers.insert(header::HOST, HeaderValue::from_str(&host).map_err(Status::internal)?);
        *asked.headers_mut() = headers;
    }
    let asked = asked.map_err(Status::internal)?;
    let called = dial::call(&server.nodes, &server.world, &callee, asked).await;
    let called = called
        .map_err(|error| Status::unavailable(format!("error trying to reach service: {error}")))?;
    if called.head.status == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody asked: what follows would be no answer of HTTP.
        let Some(upgrade) = upgrade else {
            let why = "error trying to reach service: it changed the protocol unasked";
            return Err(Status::unavailable(why));
        };
        let headers = called.head.headers.clone();
        return Ok(stream::upgraded(upgrade, called, headers));
    }
    let mut headers = pass_on(&called.head.headers);
    let prefix = call.path.strip_suffix(tail).unwrap_or(&call.path);
    let to = headers.get(header::LOCATION).and_then(|to| to.to_str().ok());
    if let Some(to) = to.map(|to| rewrite::location(to, prefix, &host)) {
        headers.insert(header::LOCATION, HeaderValue::from_str(&to).map_err(Status::internal)?);
    }
    let status = called.head.status;
    let is_page = is_page(&headers);
    let mut pieces = called.pieces();
    if is_page {
        let prefix = prefix.to_owned();
        headers.remove(header::CONTENT_LENGTH);
        pieces = page(pieces, move |link| rewrite::location(link, &prefix, &host)).await?;
    }
    let mut answer = Answer::new(status, Body::Stream(pieces));
    answer.headers = headers;
    Ok(answer)
}

fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    kind.eq_ignore_ascii_case("text/html") && !headers.contains_key(header::CONTENT_ENCODING)
}

/// Leads the links of a page through the proxy; a page that is too long passes as it is.
async fn page(mut pieces: Pieces, moved: impl Fn(&str) -> String) -> Result<Pieces, Status> {
    let mut begun = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| Status::unavailable(error.to_string()))?;
        begun.extend_from_slice(&piece);
        if begun.len() > PAGE_MOST {
            let begun = once(async { Ok(Bytes::from(begun)) });
            return Ok(begun.chain(pieces).boxed());
        }
    }
    let page = Bytes::from(links(&begun, moved));
    Ok(once(async { Ok(page) }).boxed())
}

/// All headers but those of one connection, which are known or named as such.
pub fn pass_on(headers: &HeaderMap) -> HeaderMap {
    let mut out = headers.clone();
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|it| it.to_str().ok());
    for name in named.flat_map(|names| names.split(',')).map(str::trim).chain(HOP_BY_HOP) {
        out.remove(name);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn ports_of_services_are_found_by_name_and_number() {
        let service = |ports| Object::new(json!({"spec": {"ports": ports}}));
        let two = service(json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]));
        let found = |service: &Object, wanted: &str| port_name(service, wanted);
        assert_eq!(found(&two, "b"), Some("b".into()));
        assert_eq!(found(&two, "80"), Some("a".into()));
        assert_eq!(found(&two, "82"), None);
        assert_eq!(found(&two, ""), None);
        assert_eq!(found(&service(json!([{"name": "a", "port": 80}])), ""), Some("a".into()));
        assert_eq!(found(&service(json!([{"port": 80}])), ""), Some("".into()));
    }

    #[tokio::test]
    async fn addresses_that_mean_the_server_itself_are_refused() {
        let refused =
            |found: Result<SocketAddr, Status>| found.is_err_and(|it| it == not_allowed());
        for address in ["10.0.0.1", "203.0.113.9", "fd00::1", "2001:db8::1", "64:ff9b::a00:1"] {
            let of_node = of_node(address, 80).await;
            assert_eq!(of_pod(address, 80), of_node);
            assert_eq!(of_node.map(|it| it.ip().to_string()).as_deref(), Ok(address));
        }
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "0.0.0.0",
            "0.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:7f00:1",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::169.254.169.254",
            "2002:7f00:1::",
            // Spellings and names that are looked up, and mean the machine itself.
            "localhost",
            "127.1",
            "0177.0.0.1",
            "2130706433",
            "0x7f000001",
            "fe80::1%lo",
        ] {
            assert!(refused(of_pod(address, 80)), "{address}");
            assert!(refused(of_node(address, 80).await), "{address}");
        }
        // Only nodes may be known by a name.
        for address in ["", "name", "example.org"] {
            assert!(refused(of_pod(address, 80)), "{address}");
        }
    }

    #[test]
    fn headers_of_one_connection_stay_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("connection", "close, X-Mine"), ("x-mine", "1"), ("te", "1"), ("x", "1")]
        {
            headers.append(name, HeaderValue::from_static(value));
        }
        let left = pass_on(&headers);
        assert_eq!(left.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["x"]);
    }
}
