//! Reach: asks an aggregated server for its discovery. That it answers is what makes it available, and what it answers
//! is what is shown of it: one question for both.

use super::found::{self, DOCUMENT_MOST, Found};
use super::headers::{outgoing, own};
use super::registered::Places;
use super::{Aggregator, Registered};
use crate::outbound::{Failure, Peer};
use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use http_body_util::Full;
use std::sync::Arc;
use std::time::Duration;

/// A server that is there answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

impl Aggregator {
    /// Asks the server that this APIService names, for five seconds at most.
    ///
    /// # Errors
    /// Why it is not available, as its condition says it.
    pub async fn reach(&self, name: &str) -> Result<(), String> {
        // As it is now: what is followed may be a moment behind.
        let Some(record) = self.store.get(&super::key(name)) else { return Ok(()) };
        let registered = Registered::read(&record.body, Arc::new(Places::new()))?;
        let Some(target) = &registered.target else { return Ok(()) };
        let peer = self.outbound.peer(target);
        let (path, until) = (registered.path(), self.world.uptime() + PATIENCE);
        let url = format!("https://{}{path}", target.place);
        let why = |why: String| format!("failing or missing response from {url}: {why}");
        let get = |failure: String| why(format!("Get {url:?}: {failure}"));
        let asked = self.world.within(PATIENCE, ask(&peer, &path)).await;
        let (code, body) = match asked {
            Some(Ok(answer)) => answer,
            Some(Err(failure)) => {
                self.learn(name, Err(failure.to_string()));
                return Err(get(failure.to_string()));
            }
            None => {
                self.learn(name, Err(Failure::Late.to_string()));
                let late = "(Client.Timeout exceeded while awaiting headers)";
                return Err(get(format!("{} {late}", Failure::Late)));
            }
        };
        if !(200..300).contains(&code) {
            self.learn(name, Err(format!("it answered {code}")));
            return Err(why(format!("bad status from {url}: {code}")));
        }
        // It is there. What of its document is not to be believed, or does not come in time, costs that.
        let left = until.saturating_sub(self.world.uptime());
        let found = self.world.within(left, self.read(&peer, &registered, body)).await;
        self.learn(name, found.unwrap_or_else(|| Err(Failure::Late.to_string())));
        Ok(())
    }

    async fn read(
        &self,
        peer: &Peer,
        registered: &Registered,
        body: crate::outbound::Reply,
    ) -> Result<Found, String> {
        let body = body.bytes(DOCUMENT_MOST).await.map_err(|failure| failure.to_string())?;
        let group_version = match &*registered.group {
            "" => registered.version.clone(),
            group => format!("{group}/{}", registered.version),
        };
        let mut found = found::read(&body, &group_version)?;
        // A server without such an index is as good as one that has it.
        if let Ok((200, index)) = ask(peer, "/openapi/v3").await
            && let Ok(index) = index.bytes(DOCUMENT_MOST).await
        {
            found.openapi = found::openapi(&index, &registered.path());
        }
        Ok(found)
    }
}

async fn ask(peer: &Peer, path: &str) -> Result<(u16, crate::outbound::Reply), Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static("kube-apiserver-aggregator"));
    let nowhere = |error: String| Failure::Nowhere(error);
    let mut request = http::Request::get(path)
        .body(Full::new(Bytes::new()))
        .map_err(|error| nowhere(error.to_string()))?;
    *request.headers_mut() =
        outgoing(&headers, &own(), false).map_err(|status| nowhere(status.message))?;
    let reply = peer.send(request).await?;
    Ok((reply.head.status.as_u16(), reply))
}
