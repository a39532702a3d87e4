//! Feeds a follower from the API: begins watches where it has to, and hands it what they bring. The only place of the
//! client that reads a watch.

use crate::Client;
use futures_util::StreamExt;
use http::Method;
use serde::Deserialize;
use skiff_api::Status;
use skiff_api::follow::{Input, Start};
use skiff_api::view::{Key, View};
use skiff_api::wire::{Body, Frame, Payload, Stored};
use skiff_base::{Time, World, fault};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Somebody with a follower.
pub trait Fed: Send + Sync {
    /// Who it is, among those that follow one resource.
    const READER: &'static str;
    /// What it keeps of an object.
    type Object: Send;

    /// # Errors
    /// Why the object cannot be read.
    fn read(&self, stored: &Stored) -> Result<(Key, Self::Object), String>;
    /// How long to wait before the next stream is begun.
    fn delay(&self) -> Duration;
    /// Where the stream that is now begun has to start.
    fn start(&self, now: Time) -> Start;
    fn take(&self, input: Input<Arc<Key>, Self::Object>, now: Time);
    /// Resolves when what is known has to be read anew, with the reason.
    fn doubted(&self) -> impl Future<Output = &'static str> + Send {
        std::future::pending()
    }
}

/// Feeds it until the task is ended. `query` narrows what is followed (`&fieldSelector=...`), or is empty.
pub async fn feed<F: Fed>(
    fed: &F,
    client: &Client,
    world: &World,
    path: &str,
    query: &str,
) -> std::convert::Infallible {
    loop {
        world.sleep(fed.delay()).await;
        let from = match fed.start(world.now()) {
            Start::Whole => "sendInitialEvents=true&resourceVersionMatch=NotOlderThan".to_owned(),
            Start::After(revision) => format!("resourceVersion={revision}"),
        };
        let all = format!("watch=true&allowWatchBookmarks=true&{from}{query}");
        let end = match client.send(Method::GET, path, &all, "", Payload::None).await {
            _ if fault::fails(format_args!("watch/{}", last(path))) => {
                Input::Broke("the fault that a test asked for".into())
            }
            Ok(answer) => match answer.body {
                Body::Watch(frames) => follow(fed, frames, last(path), world).await,
                _ => Input::Broke(format!("the answer to {path} is no watch")),
            },
            Err(status) if status.code == 410 => Input::Lost(status.message),
            Err(status) => Input::Broke(status.message),
        };
        if let Input::Broke(why) | Input::Lost(why) = &end {
            tracing::debug!(path, why, "a watch broke");
        }
        fed.take(end, world.now());
    }
}

/// The resource that a path of a collection names.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

type Frames = futures_util::stream::BoxStream<'static, Frame>;

/// One stream, to its end.
async fn follow<F: Fed>(
    fed: &F,
    mut frames: Frames,
    plural: &str,
    world: &World,
) -> Input<Arc<Key>, F::Object> {
    fed.take(Input::Opened, world.now());
    let doubted = std::pin::pin!(fed.doubted());
    let mut doubted = futures_util::FutureExt::fuse(doubted);
    loop {
        let frame = tokio::select! {
            biased;
            why = &mut doubted => return Input::Lost(why.into()),
            frame = frames.next() => frame,
        };
        fault::point(format_args!("{}/{plural}", F::READER));
        let input = match frame {
            None => return Input::Ended,
            Some(Frame::Added(stored) | Frame::Modified(stored)) => put(fed, &stored),
            Some(Frame::Deleted(stored)) => named(&stored).map(|key| {
                let revision = stored.revision;
                Input::Gone { key: Arc::new(key), revision }
            }),
            Some(Frame::Bookmark { revision, initial_end: Some(aside), .. }) => {
                let aside = aside.iter().map(|place| Arc::new(key_of(place))).collect();
                Ok(Input::Whole { revision, aside })
            }
            Some(Frame::Bookmark { revision, initial_end: None, .. }) => {
                Ok(Input::Progress(revision))
            }
            // What a stream refuses in the middle it would refuse again from the same place.
            Some(Frame::Error(status)) => Err(status.message),
        };
        match input {
            Ok(input) => fed.take(input, world.now()),
            Err(why) => return Input::Lost(why),
        }
    }
}

fn put<F: Fed>(fed: &F, stored: &Stored) -> Result<Input<Arc<Key>, F::Object>, String> {
    let revision = stored.revision;
    Ok(match fed.read(stored) {
        Ok((key, object)) => Input::Put { key: Arc::new(key), revision, object: Ok(object) },
        Err(why) => {
            let key = named(stored)?;
            tracing::warn!(%key, why, "an object cannot be read, and is set aside");
            Input::Put { key: Arc::new(key), revision, object: Err(why) }
        }
    })
}

/// The key of an object, whatever else of it can be read.
///
/// # Errors
/// Why not even that can be.
pub fn named(stored: &Stored) -> Result<Key, String> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Names,
    }
    #[derive(Deserialize)]
    struct Names {
        name: String,
        #[serde(default)]
        namespace: String,
    }
    let object: Object = skiff_json::from_slice(&stored.body)
        .map_err(|error| format!("an object without a name: {error}"))?;
    Ok(Key { namespace: object.metadata.namespace, name: object.metadata.name })
}

/// `namespace/name`, or the name of what lies in no namespace.
fn key_of(place: &str) -> Key {
    match place.split_once('/') {
        Some((namespace, name)) => Key::new(namespace, name),
        None => Key::new("", place),
    }
}

/// A view of a stored object, with its key.
pub(crate) fn view<V: View>(stored: &Stored) -> Result<(Key, V), String> {
    let object: V = crate::decode(stored).map_err(|status: Status| status.message)?;
    Ok((object.meta().key(), object))
}
