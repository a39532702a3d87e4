//! Stale disruptions: a pod that says that it is about to be disturbed, and then is not, says so no more after a while.

use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::time::{Precision, format};
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_client::PatchKind;
use skiff_json::json;
use skiff_kinds::views::Pod;
use std::sync::Arc;
use std::time::Duration;

/// So long a pod may say it without going.
const STALE: Duration = Duration::from_secs(120);
const TARGET: &str = "DisruptionTarget";

/// Key: a Pod.
pub struct StaleDisruptions;

impl Loop for StaleDisruptions {
    const NAME: &'static str = "disruption-controller";
    const PART: &'static str = "stale-disruptions";
    type Seen = Arc<Pod>;
    type Memory = ();

    fn on(on: &mut On) {
        on.map::<Pod>(|pod, _| match since(pod) {
            Some(_) => vec![pod.metadata.key()],
            None => Vec::new(),
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Arc<Pod>>, Status> {
        Ok(cx.caches.of::<Pod>().get(key).filter(|pod| since(pod).is_some()))
    }

    fn plan(pod: &Arc<Pod>, (): &mut (), now: Time, out: &mut Changes) -> Next {
        let due = since(pod).map_or(now, |since| since + STALE);
        if due > now {
            return Next::At(due);
        }
        let mut says = json!({"type": TARGET, "status": "False", "reason": null, "message": null,
            "lastTransitionTime": format(now, Precision::Seconds)});
        if pod.status.observed_generation != 0 {
            says["observedGeneration"] = json!(pod.metadata.generation);
        }
        let body = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [says]}});
        out.patch(PatchKind::Strategic, Pod::RESOURCE, pod.metadata.key(), "status", body);
        Next::Wait
    }
}

/// Since when a pod that stays says that it will be disturbed. What a node says of itself is its own.
fn since(pod: &Pod) -> Option<Time> {
    let says = pod.status.condition(TARGET).filter(|it| it.status == "True")?;
    let stays = !pod.metadata.deleting() && !pod.ended();
    (stays && says.reason != "TerminationByKubelet").then_some(says.last_transition_time?)
}
