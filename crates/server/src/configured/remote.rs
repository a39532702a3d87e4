//! Remote: calls of HTTP servers that the machine's owner names, or that a server so named names in turn. Each call
//! has an end in time and in bytes, and follows no redirect. Never here: what is asked, and what an answer means.

use crate::identity::keys::Pair;
use crate::outbound::{AsWhom, Outbound, Place, Speaks, Target, Trusted};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use skiff_base::World;
use std::time::Duration;

/// The most of an answer that is read: a review is some kilobytes, a set of keys some tens.
const ANSWER_MOST: usize = 1 << 20;

/// How one server, or those that it names, are called.
pub struct Client {
    world: World,
    outbound: Outbound,
    trusted: Trusted,
    authorization: Option<HeaderValue>,
}

/// How a client proves who it is, and whom it takes the server for.
pub struct Manner {
    pub trusted: Trusted,
    pub pair: Option<Pair>,
    /// Who the server has to be, where that is not the host of the URL.
    pub name: Option<String>,
    pub authorization: Option<String>,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Client {
    /// # Errors
    /// When certificates, keys or the credential are none.
    pub fn new(manner: Manner, world: &World) -> Result<Client, String> {
        let Manner { trusted, pair, name, authorization } = manner;
        let mut authorization = authorization.map(HeaderValue::try_from).transpose();
        if let Ok(Some(value)) = &mut authorization {
            value.set_sensitive(true);
        }
        let outbound = Outbound::trusted(world.clone(), AsWhom { pair, name });
        outbound.check(&trusted)?;
        let authorization = authorization.map_err(|_| "the credential is no header".to_owned())?;
        Ok(Client { world: world.clone(), outbound, trusted, authorization })
    }

    /// Asks for a document.
    ///
    /// # Errors
    /// Why there is no answer, in the words of Go's client.
    pub async fn get(&self, url: &str, within: Duration) -> Result<Reply, String> {
        self.call(Method::GET, url, Bytes::new(), within).await
    }

    /// Posts a document.
    ///
    /// # Errors
    /// Why there is no answer, in the words of Go's client.
    pub async fn post(&self, url: &str, body: Bytes, within: Duration) -> Result<Reply, String> {
        self.call(Method::POST, url, body, within).await
    }

    async fn call(
        &self,
        method: Method,
        url: &str,
        body: Bytes,
        within: Duration,
    ) -> Result<Reply, String> {
        let verb = if method == Method::GET { "Get" } else { "Post" };
        let answer = self.world.within(within, self.answer(method, url, body)).await;
        let late = || Err("context deadline exceeded".to_owned());
        answer.unwrap_or_else(late).map_err(|why| format!("{verb} {url:?}: {why}"))
    }

    async fn answer(&self, method: Method, url: &str, body: Bytes) -> Result<Reply, String> {
        let uri: Uri = url.parse().map_err(|error| format!("parse {url:?}: {error}"))?;
        let speaks = match uri.scheme_str() {
            Some("https") => Speaks::One,
            Some("http") => Speaks::Plain,
            other => return Err(format!("unsupported protocol scheme {:?}", other.unwrap_or(""))),
        };
        let place = Place::of_url(&uri).ok_or("no host in request URL")?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let host = authority.rsplit('@').next().unwrap_or(authority);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder()
            .method(&method)
            .uri(path)
            .header(HOST, host)
            .header(USER_AGENT, "skiff")
            .header(ACCEPT, "application/json, */*");
        if method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let target = Target { place, trusted: self.trusted.clone(), speaks };
        let reply = self.outbound.peer(&target).send(request).await;
        let reply = reply.map_err(|failure| failure.to_string())?;
        let (status, headers) = (reply.head.status, reply.head.headers.clone());
        let body = reply.bytes(ANSWER_MOST).await.map_err(|failure| failure.to_string())?;
        Ok(Reply { status, headers, body })
    }
}
