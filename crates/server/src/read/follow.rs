//! Feeds a follower from the store: how the server's own readers keep what they know current. The only place of the
//! server that watches for itself.

use skiff_api::follow::{Input, Start};
use skiff_base::{Time, World};
use skiff_store::{
    Currency, ListRequest, ReadError, Record, Revision, Scope, Store, Watch, WatchError, WatchItem,
    WatchRequest, WatchStart,
};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Somebody with a follower of records, by their keys in the store.
pub trait Fed: Send + Sync {
    /// What it keeps of a record.
    type Object: Send;
    /// The first part of the records' keys.
    fn prefix(&self) -> &str;
    /// # Errors
    /// Why the record cannot be read.
    fn read(&self, record: &Record) -> Result<Self::Object, String>;
    /// How long to wait before the next stream is begun.
    fn delay(&self) -> Duration;
    /// Where the stream that is now begun has to start.
    fn start(&self, now: Time) -> Start;
    fn take(&self, input: Input<Arc<str>, Self::Object>, now: Time);
}

/// Feeds it until the task is ended. A store that is opened again is looked at anew.
pub async fn feed<F: Fed>(fed: &F, store: &Arc<dyn Store>, world: &World) -> Infallible {
    loop {
        store.opened().await;
        world.sleep(fed.delay()).await;
        if let Err(error) = step(fed, store, world).await {
            tracing::debug!(prefix = fed.prefix(), %error, "a reader of the store begins anew");
        }
    }
}

/// Reads the whole state, or follows what changes until the stream ends.
///
/// # Errors
/// When the store has stopped.
pub async fn step<F: Fed>(
    fed: &F,
    store: &Arc<dyn Store>,
    world: &World,
) -> Result<(), ReadError> {
    let scope = Scope::prefix(fed.prefix());
    let end = match fed.start(world.now()) {
        Start::Whole => store.list(whole(scope)).await.map(|listed| {
            listed.records.iter().for_each(|record| fed.take(put(fed, record), world.now()));
            Input::Whole { revision: listed.revision.0, aside: Vec::new() }
        }),
        Start::After(revision) => {
            let start = WatchStart::After(Revision(revision));
            match store.watch(WatchRequest { scope, facet: None, start }) {
                Ok(watch) => follow(fed, watch, world).await,
                Err(error) => Err(error),
            }
        }
    };
    match end {
        Ok(end) => fed.take(end, world.now()),
        Err(error) => {
            fed.take(Input::Lost(error.to_string()), world.now());
            if matches!(error, ReadError::Stopped(_)) {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// All that is seen; what follows comes with the watch.
fn whole(scope: Scope) -> ListRequest {
    ListRequest { scope, currency: Currency::Seen, ..ListRequest::default() }
}

type Fodder<F> = Input<Arc<str>, <F as Fed>::Object>;

async fn follow<F: Fed>(fed: &F, mut watch: Watch, world: &World) -> Result<Fodder<F>, ReadError> {
    fed.take(Input::Opened, world.now());
    loop {
        let input = match watch.next().await {
            Some(Ok(WatchItem::Initial(record))) => put(fed, &record),
            Some(Ok(WatchItem::InitialEnd(Revision(revision)))) => {
                Input::Whole { revision, aside: Vec::new() }
            }
            Some(Ok(WatchItem::Progress(Revision(revision)))) => Input::Progress(revision),
            Some(Ok(WatchItem::Event(event))) => match &event.new {
                Some(record) => put(fed, record),
                None => Input::Gone { key: event.key.clone(), revision: event.revision.0 },
            },
            Some(Err(WatchError::Stopped(why))) => return Err(ReadError::Stopped(why)),
            Some(Err(slow)) => return Ok(Input::Lost(slow.to_string())),
            None => return Err(ReadError::Stopped("it is closed".into())),
        };
        fed.take(input, world.now());
    }
}

/// A record as it is since its revision.
pub fn put<F: Fed>(fed: &F, record: &Record) -> Fodder<F> {
    let object = fed.read(record);
    if let Err(why) = &object {
        tracing::error!(key = %record.key, why, "a stored object is unreadable, and is set aside");
    }
    Input::Put { key: record.key.clone(), revision: record.revision.0, object }
}
