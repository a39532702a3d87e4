//! TTL after finished: a Job that ended goes after as long as it asked for (KEP-592), its pods before it.

use crate::{Changes, Context, Loop, Next, On};
use skiff_api::Status;
use skiff_api::view::{Key, View};
use skiff_base::Time;
use skiff_client::DeleteOptions;
use skiff_kinds::views::Job;
use std::sync::Arc;
use std::time::Duration;

/// Key: a Job.
pub struct TtlAfterFinished;

impl Loop for TtlAfterFinished {
    const NAME: &'static str = "ttl-after-finished-controller";
    type Seen = Arc<Job>;
    type Memory = ();

    fn on(on: &mut On) {
        on.own::<Job>();
    }

    async fn observe(cx: &Context, key: &Key) -> Result<Option<Arc<Job>>, Status> {
        let job = cx.caches.of::<Job>().get(key);
        let ends = |job: &Arc<Job>| job.spec.ttl_seconds_after_finished.is_some();
        Ok(job.filter(ends).filter(|job| job.finished().is_some() && !job.metadata.deleting()))
    }

    fn plan(job: &Arc<Job>, _: &mut (), now: Time, out: &mut Changes) -> Next {
        let ended = job.finished().and_then(|it| it.last_transition_time);
        let (Some(ended), Some(ttl_s)) = (ended, job.spec.ttl_seconds_after_finished) else {
            return Next::Wait;
        };
        let end = ended.checked_add(Duration::from_secs(ttl_s)).unwrap_or(Time::MAX);
        if end > now {
            return Next::At(end);
        }
        // The revision says that nobody has given it more time since it was seen.
        let meta = &job.metadata;
        let options = DeleteOptions {
            uid: Some(meta.uid.clone()),
            revision: Some(meta.resource_version.clone()),
            propagation: Some("Foreground"),
            ..DeleteOptions::default()
        };
        out.delete_with(Job::RESOURCE, meta.key(), options);
        Next::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_json::json;

    #[test]
    fn a_job_goes_when_its_time_is_over() {
        let plan = |now: &str| {
            let job = json!({"metadata": {"name": "j", "namespace": "n", "uid": "u"},
                "spec": {"ttlSecondsAfterFinished": 60}, "status": {"conditions": [{"type": "Failed", "status": "True",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
            let job = Arc::new(skiff_json::from_value(job).expect("the case is a valid view"));
            let mut out = Changes::default();
            let now = now.parse().expect("a time");
            (TtlAfterFinished::plan(&job, &mut (), now, &mut out), out.text())
        };
        let end = Next::At("2026-01-01T00:01:00Z".parse().expect("a time"));
        assert_eq!(plan("2026-01-01T00:00:59Z"), (end, String::new()));
        assert_eq!(plan("2026-01-01T00:01:00Z"), (Next::Wait, "delete jobs n/j uid=u\n".into()));
    }
}
