//! Follows the roles and bindings of the store into the index: one task for each of the four kinds,
//! each change at its own cost. It only copies; what the rules mean is the index's affair.

use super::index::{Index, Sort};
use skiff_store::{
    ListRequest, ReadError, Revision, Scope, Store, WatchError, WatchItem, WatchRequest, WatchStart,
};
use std::sync::{Arc, RwLock};

const UNPOISONED: &str = "no holder of this lock panics";

/// Reads all objects of one kind into the index; the revision is where a watch goes on.
pub async fn load(
    store: &Arc<dyn Store>,
    sort: Sort,
    index: &RwLock<Index>,
) -> Result<Revision, ReadError> {
    let scope = Scope::prefix(sort.storage());
    let listed = store.list(ListRequest { scope, ..ListRequest::default() }).await?;
    let mut index = index.write().expect(UNPOISONED);
    index.clear(sort);
    for record in &listed.records {
        set(&mut index, sort, &record.key, Some(&record.body));
    }
    Ok(listed.revision)
}

/// Keeps the index up to date until the store ends.
pub async fn follow(
    store: Arc<dyn Store>,
    sort: Sort,
    index: Arc<RwLock<Index>>,
    mut from: Revision,
) {
    loop {
        let (scope, start) = (Scope::prefix(sort.storage()), WatchStart::After(from));
        let ended = match store.watch(WatchRequest { scope, facet: None, start }) {
            Err(error @ ReadError::Stopped(_)) => return stopped(sort, &error),
            // The place has been compacted away: begin anew.
            Err(_) => true,
            Ok(mut watch) => loop {
                match watch.next().await {
                    Some(Ok(WatchItem::Event(event))) => {
                        let body = event.new.as_ref().map(|record| &record.body[..]);
                        set(&mut index.write().expect(UNPOISONED), sort, &event.key, body);
                    }
                    Some(Ok(_)) => {}
                    Some(Err(WatchError::TooSlow { .. })) => break true,
                    Some(Err(error)) => return stopped(sort, &error),
                    None => break false,
                }
            },
        };
        if !ended {
            return;
        }
        match load(&store, sort, &index).await {
            Ok(revision) => from = revision,
            Err(error) => return stopped(sort, &error),
        }
    }
}

fn stopped(sort: Sort, error: &dyn std::error::Error) {
    tracing::warn!(?sort, %error, "roles and bindings are followed no longer");
}

/// Puts one object into the index, or takes it out. What cannot be read grants nothing.
fn set(index: &mut Index, sort: Sort, key: &str, body: Option<&[u8]>) {
    fn read<T: serde::de::DeserializeOwned>(key: &str, body: Option<&[u8]>) -> Option<T> {
        match serde_json::from_slice(body?) {
            Ok(read) => Some(read),
            Err(error) => {
                tracing::error!(key, %error, "a stored object is unreadable");
                None
            }
        }
    }
    let mut parts = key.splitn(3, '/').skip(1);
    let (Some(namespace), Some(name)) = (parts.next(), parts.next()) else { return };
    match sort {
        Sort::Role | Sort::ClusterRole => index.set_role(namespace, name, read(key, body)),
        Sort::RoleBinding | Sort::ClusterRoleBinding => {
            index.set_binding(namespace, name, read(key, body));
        }
    }
}
