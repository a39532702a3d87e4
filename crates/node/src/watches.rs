//! Changes of config maps and secrets that pods on this node use: one watch for each object, shared
//! by all pods that use it, ended with the last of them (node authorization lets a node see no
//! others).

use crate::rim::Rim;
use crate::sources::Names;
use futures_util::StreamExt;
use http::Method;
use skiff_api::Status;
use skiff_api::view::{Resource, View};
use skiff_api::wire::{Body, Frame, Payload};
use skiff_base::Backoff;
use skiff_kinds::views::{ConfigMap, Secret};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::watch;

const RETRY: Backoff = Backoff { first: Duration::from_millis(200), most: Duration::from_secs(30) };

type Object = (Resource, String, String);

/// The watches of the node. Cheap to clone.
#[derive(Clone, Default)]
pub struct Watches(Arc<Mutex<HashMap<Object, Weak<watch::Sender<u64>>>>>);

/// What one pod uses; changes while it is held are seen.
pub struct Watched {
    changes: Vec<(Arc<watch::Sender<u64>>, watch::Receiver<u64>)>,
}

impl Watched {
    /// Waits for the next change of any of the objects.
    pub async fn changed(&mut self) {
        let all = self.changes.iter_mut().map(|(_, changes)| Box::pin(changes.changed()));
        let all: Vec<_> = all.collect();
        match all.is_empty() {
            true => std::future::pending().await,
            // The sender is held beside the receiver, so this is a change and no error.
            false => drop(futures_util::future::select_all(all).await),
        }
    }
}

impl Watches {
    /// Begins to watch what a pod uses.
    pub fn watch(&self, rim: &Arc<Rim>, namespace: &str, names: &Names) -> Watched {
        let maps = names.config_maps.iter().map(|name| (ConfigMap::RESOURCE, name));
        let secrets = names.secrets.iter().map(|name| (Secret::RESOURCE, name));
        let one = |(resource, name): (Resource, &String)| {
            self.one(rim, (resource, namespace.to_owned(), name.clone()))
        };
        Watched { changes: maps.chain(secrets).map(one).collect() }
    }

    fn one(
        &self,
        rim: &Arc<Rim>,
        object: Object,
    ) -> (Arc<watch::Sender<u64>>, watch::Receiver<u64>) {
        let mut all = self.0.lock().expect("no holder of this lock panics");
        if let Some(sender) = all.get(&object).and_then(Weak::upgrade) {
            let receiver = sender.subscribe();
            return (sender, receiver);
        }
        all.retain(|_, sender| sender.strong_count() > 0);
        let sender = Arc::new(watch::channel(0).0);
        all.insert(object.clone(), Arc::downgrade(&sender));
        rim.tasks.spawn(follow(rim.clone(), object, Arc::downgrade(&sender)));
        let receiver = sender.subscribe();
        (sender, receiver)
    }
}

async fn follow(rim: Arc<Rim>, object: Object, sender: Weak<watch::Sender<u64>>) {
    let mut failures = 0;
    while sender.strong_count() > 0 {
        match pass(&rim, &object, &sender).await {
            Ok(()) => failures = 0,
            Err(status) => {
                failures += 1;
                tracing::debug!(name = object.2, %status, "a watch ended");
            }
        }
        rim.world.sleep(RETRY.delay(failures.max(1))).await;
    }
}

/// One watch; it ends when nobody cares any more.
async fn pass(rim: &Rim, object: &Object, sender: &Weak<watch::Sender<u64>>) -> Result<(), Status> {
    let (resource, namespace, name) = object;
    let path = resource.path(namespace, "", "");
    let query = format!(
        "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&\
         allowWatchBookmarks=true&fieldSelector=metadata.name%3D{name}"
    );
    let answer = rim.client.send(Method::GET, &path, &query, "", Payload::None).await?;
    let Body::Watch(mut frames) = answer.body else {
        return Err(Status::internal(format!("the answer to {path} is no watch")));
    };
    let closed = sender.upgrade().map(|sender| sender.subscribe());
    let Some(mut closed) = closed else { return Ok(()) };
    loop {
        let frame = tokio::select! {
            biased;
            () = wait_closed(&mut closed) => return Ok(()),
            frame = frames.next() => frame,
        };
        let revision = match frame {
            None => return Ok(()),
            Some(Frame::Error(status)) => return Err(status),
            Some(Frame::Added(stored) | Frame::Modified(stored) | Frame::Deleted(stored)) => {
                stored.revision
            }
            Some(_) => continue,
        };
        let Some(sender) = sender.upgrade() else { return Ok(()) };
        sender.send_if_modified(|seen| std::mem::replace(seen, revision) != revision);
    }
}

/// Returns when every sender has been dropped: no pod uses the object.
async fn wait_closed(receiver: &mut watch::Receiver<u64>) {
    while receiver.changed().await.is_ok() {}
}
