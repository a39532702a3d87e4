//! Webhook: audit events as lists to a server that the machine's owner names. Lists go one after the other, so that
//! they arrive in order, and a server that is slow or away costs no more than the queue of its sink; what it does not
//! take after some tries is lost, and counted.

use super::sink::{Entry, Sink};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use skiff_base::{Lock, World};
use std::sync::Arc;
use std::time::Duration;

/// Tries of one list, and the growth of the pauses between them (upstream's backoff of webhooks).
const TRIES: u32 = 5;
const GROWTH: f64 = 1.5;
/// A pause is longer by up to a fifth, so that several servers do not come back at once.
const JITTER: f64 = 0.2;
/// Lists that are larger in bytes are split, when nothing else is said; upstream's bound.
pub const LIST_BYTES: usize = 10 << 20;

/// Sends one body, and says why it was not taken.
pub type Post = Box<dyn Fn(Bytes) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// How lists are sent.
pub struct Webhook {
    pub post: Post,
    /// The first pause after a list was not taken.
    pub backoff: Duration,
    /// Lists a second, and how many at once after a rest.
    pub throttle: Option<(f64, u32)>,
    pub world: World,
}

/// Sends what the sink has, until its part is stopped.
pub async fn run(sink: Arc<Sink>, webhook: Arc<Webhook>) {
    let burst = webhook.throttle.map_or(0, |(_, burst)| burst);
    let bucket = Lock::new((f64::from(burst), webhook.world.uptime()));
    loop {
        let entries = sink.take(&webhook.world).await;
        webhook.turn(&bucket).await;
        let sent = webhook.send(list(&entries)).await;
        sink.settle(entries, sent);
    }
}

impl Webhook {
    /// Waits for the next turn: a bucket of tokens that fills evenly.
    async fn turn(&self, bucket: &Lock<(f64, Duration)>) {
        let Some((each_s, burst)) = self.throttle else { return };
        let pause = {
            let (tokens, at) = &mut *bucket.lock();
            let now = self.world.uptime();
            *tokens = (*tokens + (now - *at).as_secs_f64() * each_s).min(burst.into());
            *at = now;
            *tokens -= 1.0;
            (*tokens < 0.0).then(|| Duration::from_secs_f64(-*tokens / each_s))
        };
        if let Some(pause) = pause {
            self.world.sleep(pause).await;
        }
    }

    async fn send(&self, list: Bytes) -> Result<(), String> {
        let mut pause = self.backoff;
        for _ in 1..TRIES {
            match (self.post)(list.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => tracing::debug!(%error, "a list of audit events was not taken"),
            }
            let jitter = self.world.below(1_000) as f64 / 1_000.0 * JITTER;
            self.world.sleep(pause.mul_f64(1.0 + jitter)).await;
            pause = pause.mul_f64(GROWTH);
        }
        (self.post)(list).await
    }
}

/// An EventList. Its events do not say what they are.
fn list(entries: &[Entry]) -> Bytes {
    const HEAD: &[u8] = b"{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",";
    let size: usize = entries.iter().map(|entry| entry.line.len()).sum();
    let mut out = Vec::with_capacity(size + 80);
    out.extend_from_slice(
        b"{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"metadata\":{},\"items\":[",
    );
    for (at, entry) in entries.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"{" } else { b",{" });
        out.extend_from_slice(entry.line.strip_prefix(HEAD).unwrap_or(&entry.line[1..]));
    }
    out.extend_from_slice(b"]}");
    out.into()
}

#[cfg(test)]
mod tests {
    use super::super::event::{Event, Format};
    use super::super::policy::Stage;
    use super::super::sink::{Batch, Fate, Manner, Mode, Patience};
    use super::*;
    use skiff_json::Value;

    fn sink(mode: Mode, events: usize) -> Arc<Sink> {
        let batch = Batch { events, bytes: LIST_BYTES, wait: Duration::from_secs(30) };
        let (name, format, event_most) = ("webhook", Format::Json, None);
        Arc::new(Sink::new(Manner { name, mode, format, event_most, events_most: 10, batch }))
    }

    /// A server that refuses so many lists, and keeps the others with the seconds at which they came.
    fn server(world: &World, refuses: usize) -> (Post, Arc<Lock<Vec<(u64, Value)>>>) {
        let (kept, left) = (Arc::new(Lock::new(Vec::new())), Arc::new(Lock::new(refuses)));
        let (keeps, world) = (kept.clone(), world.clone());
        let post: Post = Box::new(move |body| {
            let (keeps, left, world) = (keeps.clone(), left.clone(), world.clone());
            Box::pin(async move {
                let refused = {
                    let mut left = left.lock();
                    let refused = *left > 0;
                    *left = left.saturating_sub(1);
                    refused
                };
                if refused {
                    return Err("not now".to_owned());
                }
                let list = skiff_json::from_slice(&body).expect("JSON");
                keeps.lock().push((world.uptime().as_secs(), list));
                Ok(())
            })
        });
        (post, kept)
    }

    async fn told(
        refuses: usize,
        mode: Mode,
        throttle: Option<(f64, u32)>,
    ) -> (Vec<(u64, usize)>, u64) {
        let world = World::seeded(1);
        let (post, kept) = server(&world, refuses);
        let backoff = Duration::from_secs(10);
        let webhook = Arc::new(Webhook { post, backoff, throttle, world: world.clone() });
        let sink = sink(mode, 2);
        let tasks = skiff_base::Tasks::new();
        tasks.spawn(run(sink.clone(), webhook));
        let event = Event::default();
        let mut waits = Vec::new();
        for _ in 0..3 {
            waits.extend(sink.tell(&event, Stage::Panic, world.now(), Patience::Waits));
        }
        for wait in waits {
            assert_eq!(wait.await, Ok(Fate::Kept));
        }
        // Everything has had its time.
        world.sleep(Duration::from_secs(600)).await;
        let lists = kept.lock();
        let sizes = lists.iter().map(|(at, list)| {
            assert_eq!(list["kind"], "EventList");
            assert!(list["items"][0].get("kind").is_none() && list["items"][0]["stage"] == "Panic");
            (*at, list["items"].as_array().expect("a list").len())
        });
        (sizes.collect(), sink.losses()[2].1)
    }

    #[tokio::test(start_paused = true)]
    async fn lists_are_full_or_late_and_tried_again_until_they_are_lost() {
        assert_eq!(told(0, Mode::Batch, None).await, (vec![(0, 2), (30, 1)], 0));
        let (sizes, lost) = told(1, Mode::Batch, None).await;
        assert_eq!((sizes.len(), lost), (2, 0));
        assert!((10..=12).contains(&sizes[0].0), "{sizes:?}");
        // All tries of the first list: its events are lost, and the next one is taken.
        let (sizes, lost) = told(5, Mode::Batch, None).await;
        assert_eq!((sizes.len(), sizes[0].1, lost), (1, 1, 2));
        let (sizes, _) = told(0, Mode::Batch, Some((0.01, 1))).await;
        assert_eq!(sizes, [(0, 2), (100, 1)]);
        let (sizes, lost) = told(0, Mode::Blocking, None).await;
        assert_eq!((sizes.iter().map(|it| it.1).sum::<usize>(), lost), (3, 0));
    }
}
