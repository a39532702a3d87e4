//! Expiry of Events: an hour after it was last heard of, an Event goes (the time upstream's server keeps them).
//!
//! Upstream lets its storage drop them; here a timer per Event deletes it, and lives as long as the Event.

use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_kinds::views::Event;
use std::sync::Arc;
use std::time::Duration;

const KEPT: Duration = Duration::from_secs(3600);

/// Key: an Event.
pub struct EventExpiry;

impl Loop for EventExpiry {
    /// No controller of upstream does this; this account may delete whatever is of no more use.
    const NAME: &'static str = "generic-garbage-collector";
    const PART: &'static str = "event-expiry-controller";
    const WORKERS: usize = 2;
    type Seen = Arc<Event>;
    type Memory = ();

    fn on(on: &mut On) {
        on.own::<Event>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Arc<Event>>, Status> {
        Ok(cx.caches.of::<Event>().get(key))
    }

    fn plan(event: &Arc<Event>, _: &mut (), now: Time, out: &mut Changes) -> Next {
        let meta = &event.metadata;
        let series = event.series.as_ref().and_then(|series| series.last_observed_time);
        let times = [meta.creation_timestamp, event.last_timestamp, event.event_time, series];
        // Times of clients may be anything; what lies ahead of us counts as now.
        let heard = times.into_iter().flatten().map(|time| time.min(now)).max().unwrap_or(now);
        let end = heard + KEPT;
        if end > now {
            return Next::At(end);
        }
        out.delete(Event::RESOURCE, meta.key(), &meta.uid);
        Next::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_goes_an_hour_after_it_was_last_heard_of() {
        let plan = |last: &str| {
            let text = format!(
                r#"{{"metadata": {{"name": "e", "namespace": "n", "uid": "u", "creationTimestamp":
                "2026-01-01T00:00:00Z"}}, "lastTimestamp": {last}}}"#
            );
            let event = Arc::new(skiff_json::from_str(&text).expect("the case is a valid view"));
            let mut out = Changes::default();
            let now = "2026-01-01T01:00:00Z".parse().expect("a time");
            (EventExpiry::plan(&event, &mut (), now, &mut out), out.text())
        };
        assert_eq!(plan("null"), (Next::Wait, "delete events n/e uid=u\n".into()));
        let later = Next::At("2026-01-01T01:30:00Z".parse().expect("a time"));
        assert_eq!(plan("\"2026-01-01T00:30:00Z\""), (later, String::new()));
    }
}
