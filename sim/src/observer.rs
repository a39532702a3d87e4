//! Observers: clients that follow one resource each, as any client does: a whole state, then every event, on from
//! where a broken connection left off. What they see is taken down and later held against the log.

use crate::history::{History, Sort, Watched};
use crate::plane::storage;
use futures_util::StreamExt;
use http::Method;
use skiff_api::Status;
use skiff_api::view::Resource;
use skiff_api::wire::{Body, Frame, Payload, Stored};
use skiff_base::World;
use skiff_client::{Client, named};
use std::sync::Arc;
use std::time::Duration;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// Who follows what.
pub struct Observer {
    pub world: World,
    pub history: Arc<History>,
    pub client: Client,
    pub who: String,
    pub resource: Resource,
}

impl Observer {
    /// Until it is dropped.
    pub async fn live(self) {
        let mut from = None;
        loop {
            match self.follow(from).await {
                Ok(reached) => from = Some(reached),
                Err(status) if status.code == 410 => from = None,
                Err(_) => {}
            }
            self.world.sleep(PAUSE).await;
        }
    }

    /// One stretch, to its end; how far it went.
    async fn follow(&self, from: Option<u64>) -> Result<u64, Status> {
        let (from, state) = match from {
            Some(from) => (from, None),
            None => self.list().await?,
        };
        let at = {
            let resource = storage(self.resource);
            let who = self.who.clone();
            let watched = Watched { who, resource, from, state, events: Vec::new(), reached: from };
            let mut record = self.history.record();
            record.watched.push(watched);
            record.watched.len() - 1
        };
        let path = self.resource.path("", "", "");
        let query = format!(
            "watch=true&allowWatchBookmarks=true&resourceVersion={from}&timeoutSeconds=120"
        );
        let answer = self.client.send(Method::GET, &path, &query, "", Payload::None).await?;
        let Body::Watch(mut frames) = answer.body else {
            return Err(Status::internal("the answer is no watch"));
        };
        while let Some(frame) = frames.next().await {
            let (sort, stored) = match &frame {
                Frame::Added(stored) | Frame::Modified(stored) => (Sort::Put, stored),
                Frame::Deleted(stored) => (Sort::Gone, stored),
                Frame::Bookmark { revision, .. } => {
                    let watched = &mut self.history.record().watched[at];
                    watched.reached = watched.reached.max(*revision);
                    continue;
                }
                Frame::Error(status) => return Err(status.clone()),
            };
            let key = self.key(stored)?;
            let watched = &mut self.history.record().watched[at];
            watched.reached = watched.reached.max(stored.revision);
            watched.events.push((sort, key, stored.revision));
        }
        Ok(self.history.record().watched[at].reached)
    }

    /// The revision of a whole state, and the state.
    async fn list(&self) -> Result<(u64, Option<Vec<(String, u64)>>), Status> {
        let path = self.resource.path("", "", "");
        let answer = self.client.send(Method::GET, &path, "", "", Payload::None).await?;
        let Body::List(list) = &answer.body else {
            return Err(Status::internal("the answer is no list"));
        };
        let each = list.each().map(|stored| Ok((self.key(&stored)?, stored.revision)));
        let state = each.collect::<Result<_, Status>>()?;
        Ok((list.revision, Some(state)))
    }

    fn key(&self, stored: &Stored) -> Result<String, Status> {
        let key = named(stored).map_err(Status::internal)?;
        Ok(format!("{}/{}/{}", storage(self.resource), key.namespace, key.name))
    }
}
