//! Pods that a Job held until it would have counted them, when there is no such Job any more, or it has ended: they are
//! let go, or they could never be deleted.

use super::job::{FINALIZER, let_go};
use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, Meta, Owner, View};
use skiff_base::Time;
use skiff_client::Caches;
use skiff_kinds::views::{Job, Pod};
use std::sync::Arc;

/// Key: a pod.
pub struct JobPods;

impl Loop for JobPods {
    const NAME: &'static str = "job-controller";
    const PART: &'static str = "job-pods-controller";
    const WORKERS: usize = 16;
    type Seen = Arc<Pod>;
    type Memory = ();

    fn on(on: &mut On) {
        on.map::<Pod>(|pod, caches| {
            let stray = held(&pod.metadata) && !counted_later(&pod.metadata, caches);
            stray.then(|| pod.metadata.key()).into_iter().collect()
        });
        on.map::<Job>(|job, caches| {
            if cares(caches.of::<Job>().get(&job.metadata.key()).as_deref(), &job.metadata.uid) {
                return Vec::new();
            }
            let pods = caches.of::<Pod>().find("owner", &job.metadata.uid);
            pods.iter().filter(|it| held(&it.metadata)).map(|it| it.metadata.key()).collect()
        });
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Arc<Pod>>, Status> {
        let Some(pod) = cx.caches.of::<Pod>().get(key) else { return Ok(None) };
        if !held(&pod.metadata) || counted_later(&pod.metadata, &cx.caches) {
            return Ok(None);
        }
        let Some(owner) = pod.metadata.controller() else { return Ok(Some(pod)) };
        if !is_job(owner) {
            return Ok(None);
        }
        // Asked live: a cache may be behind, and a pod that was let go is never counted.
        let job = cx.live::<Job>(&Key::new(&key.namespace, &owner.name)).await?;
        Ok((!cares(job.as_deref(), &owner.uid)).then_some(pod))
    }

    fn plan(pod: &Arc<Pod>, _: &mut (), _: Time, out: &mut Changes) -> Next {
        out.push(let_go(pod));
        Next::Wait
    }
}

fn held(meta: &Meta) -> bool {
    meta.finalizers.iter().any(|it| it == FINALIZER)
}

fn is_job(owner: &Owner) -> bool {
    owner.kind == "Job" && owner.api_version == Job::RESOURCE.api_version()
}

/// Whether this Job is there, and it or whoever it is left to will count its pods.
fn cares(job: Option<&Job>, uid: &str) -> bool {
    let own = job.filter(|job| job.metadata.uid == uid);
    own.is_some_and(|job| job.elsewhere() || job.finished().is_none())
}

/// Whether a pod has a Job that will count it.
fn counted_later(meta: &Meta, caches: &Caches) -> bool {
    let Some(owner) = meta.controller().filter(|owner| is_job(owner)) else { return false };
    let job = caches.of::<Job>().get(&Key::new(&meta.namespace, &owner.name));
    cares(job.as_deref(), &owner.uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn a_job_cares_until_it_ended() {
        let job = |status: skiff_json::Value| -> Job {
            let job = json!({"metadata": {"uid": "u"}, "status": status});
            skiff_json::from_value(job).expect("the case is a valid view")
        };
        let ended = job(json!({"conditions": [{"type": "Complete", "status": "True"}]}));
        assert!(cares(Some(&job(json!({}))), "u"));
        assert!(!cares(Some(&job(json!({}))), "another"));
        assert!(!cares(Some(&ended), "u"));
        assert!(!cares(None, "u"));
    }
}
